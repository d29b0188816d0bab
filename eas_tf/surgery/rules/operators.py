"""Rules of functions on Keras tensors, such as `keras.ops.relu(x)`; those of several tensors are in `joins`.

Keras makes an operation of each, of a class that it does not show. These classes are known here by their module and
name, and refused like any other where Keras has moved or renamed them.
"""

from collections.abc import Sequence

from eas_tf.errors import IllegalTransformation
from eas_tf.surgery.channel_map import ChannelMap
from eas_tf.surgery.coupling import Channels, Coupling
from eas_tf.surgery.node import Node
from eas_tf.surgery.rules.elementwise import PerChannel
from eas_tf.surgery.rules.rule import Rule, channel_count, operation_rules


class _Function(PerChannel):
    """Of one tensor, value by value."""

    def channels(self, node: Node, incoming: Sequence[Channels], coupling: Coupling) -> Channels:
        if node.call is None:
            return super().channels(node, incoming, coupling)
        return Rule.channels(self, node, incoming, coupling)

    def non_negative(self, node: Node, incoming: Sequence[bool]) -> bool:
        return node.layer in ("Relu", "Relu6") or super().non_negative(node, incoming)


class _AnyChannel(Rule):
    """Whether anything is true in a step's channels: so masks are made, and replicas change nothing."""

    def channels(self, node: Node, incoming: Sequence[Channels], coupling: Coupling) -> Channels:
        if node.config["axis"] == -1 and not node.config["keepdims"]:
            return coupling.fixed(channel_count(node), IllegalTransformation(f"{node.name!r} is a mask"))
        return super().channels(node, incoming, coupling)

    def rewrite(self, node: Node, incoming: Sequence[ChannelMap | None], outgoing: ChannelMap | None) -> Node:
        return node


operation_rules("keras.src.ops.numpy", _AnyChannel(), "Any")
operation_rules("keras.src.ops.numpy", _Function(), "Negative", "Tanh", "Exp", "Sin", "Cos")
operation_rules("keras.src.ops.numpy", _Function(keeps_sign=True), "Absolute", "Square", "Sqrt", "Log1p")
operation_rules(
    "keras.src.ops.nn", _Function(), "Relu", "Relu6", "Sigmoid", "Silu", "Softplus", "Softsign", "Elu", "Selu"
)
operation_rules("keras.src.ops.nn", _Function(), "Celu", "Gelu", "LeakyRelu", "HardSigmoid", "HardSilu", "HardTanh")
