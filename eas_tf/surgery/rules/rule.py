"""What a rule is, and which rule a layer class has."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from eas_tf.errors import EASError, IllegalTransformation, InvalidConfiguration, UnsupportedLayer
from eas_tf.surgery.channel_map import ChannelMap
from eas_tf.surgery.coupling import Channels, Coupling
from eas_tf.surgery.node import Node

#: Activations that work on each value by itself. What is not named here may compare or combine channels.
_ELEMENTWISE = frozenset(
    [
        *("celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh"),
        *("leaky_relu", "linear", "log_sigmoid", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink"),
        *("softplus", "softsign", "sparse_plus", "sparse_sigmoid", "squareplus", "swish", "tanh", "tanh_shrink"),
        "threshold",
    ]
)


class Rule:
    """How channels pass through the layers of a class. This one lets none pass."""

    def channels(self, node: Node, incoming: Sequence[Channels], coupling: Coupling) -> Channels:
        """The channels of the layer's output, given those of its inputs.

        Here what replicas must not do is told to the coupling: with `fix`, `tie` and `group`.
        """
        if issubclass(node.kind, keras.layers.Layer):
            what, hint = "layer", ", or add a rule with eas_tf.surgery.register_rule"
        else:
            what, hint = "operation", ""
        why = UnsupportedLayer(
            f"surgery has no rule for how replicated channels pass through {node.name!r}, a {node.layer} {what}; widen "
            f"another layer{hint}"
        )
        return self.stop(node, incoming, coupling, why)

    def rewrite(self, node: Node, incoming: Sequence[ChannelMap | None], outgoing: ChannelMap | None) -> Node:
        """The layer with replicated channels. A map is None where the channels are what they were."""
        raise UnsupportedLayer(
            f"The rule of {node.name!r}, a {node.layer} layer, lets channels pass, but has no rewrite."
        )

    def non_negative(self, node: Node, incoming: Sequence[bool]) -> bool:
        """Whether the layer's output is never negative, given whether its inputs never are."""
        return False

    def stop(self, node: Node, incoming: Sequence[Channels], coupling: Coupling, why: EASError) -> Channels:
        """Let no replicas in, nor out."""
        for channels in incoming:
            coupling.fix(channels, why)
        return coupling.fixed(channel_count(node), why)


_RULES: dict[type, Rule] = {}
_OPERATIONS: dict[tuple[str, str], Rule] = {}


def register_rule(layer_class: type[keras.layers.Layer], rule: Rule) -> None:
    """Tell surgery how channels pass through a layer class, instead of what it knew before.

    Raises:
        InvalidConfiguration: If the first is no layer class, or the second no rule.

    Example:
        A layer of one's own that works on each channel by itself:

        >>> import keras
        >>> from eas_tf.surgery import PerChannel
        >>> class Scale(keras.layers.Layer):
        ...     def build(self, shape):
        ...         self.scale = self.add_weight(shape=shape[-1:], initializer="ones")
        ...
        ...     def call(self, inputs):
        ...         return inputs * self.scale
        >>> register_rule(Scale, PerChannel())
    """
    if not (isinstance(layer_class, type) and issubclass(layer_class, keras.layers.Layer)):
        raise InvalidConfiguration(f"A rule is for a class of Keras layers. Received: {layer_class!r}")
    if not isinstance(rule, Rule):
        raise InvalidConfiguration(f"A rule is an instance of eas_tf.surgery.Rule. Received: {rule!r}")
    _RULES[layer_class] = rule


def rule(*layer_names: str) -> Callable[[Callable[[], Rule]], Any]:
    """Register an instance of the decorated class for these layers of Keras."""

    def register(make: Callable[[], Rule]) -> Callable[[], Rule]:
        register_all(make(), *layer_names)
        return make

    return register


def register_all(the_rule: Rule, *layer_names: str) -> None:
    """Register one rule for several layers of Keras."""
    for name in layer_names:
        _RULES[getattr(keras.layers, name)] = the_rule


def operation_rules(module: str, the_rule: Rule, *names: str) -> None:
    """Register one rule for several operations of Keras that are no layers, by the names of their classes."""
    for name in names:
        _OPERATIONS[module, name] = the_rule


def rule_of(node: Node) -> Rule:
    """The rule of a node's class, which lets nothing pass if there is none or if channels are not last."""
    if node.config.get("data_format") == "channels_first":
        return _ChannelsFirst()
    return _RULES.get(node.kind) or _OPERATIONS.get((node.kind.__module__, node.layer), _NO_RULE)


_NO_RULE = Rule()


class _ChannelsFirst(Rule):
    def channels(self, node: Node, incoming: Sequence[Channels], coupling: Coupling) -> Channels:
        why = UnsupportedLayer(f"{node.name!r}, a {node.layer} layer, has channels first; surgery needs them last")
        return self.stop(node, incoming, coupling, why)


def channel_count(node: Node) -> int:
    """The length of the last axis of a node's output; 1 where it has none, or an unknown one."""
    return (node.shape[-1] or 1) if node.shape else 1


def activation_of(node: Node) -> Any:
    """The name of a layer's activation; something else if it is none of Keras's."""
    return node.config.get("activation") or "linear"


def is_rectified(node: Node) -> bool:
    """Whether a layer's activation lets no negative value out."""
    return activation_of(node) in ("relu", "relu6")


def why_mixing(node: Node) -> EASError | None:
    """Why a layer's activation cannot bear replicas; None if it works on each value by itself."""
    activation = activation_of(node)
    if isinstance(activation, str) and activation in _ELEMENTWISE:
        return None
    if isinstance(activation, str) and hasattr(keras.activations, activation):
        return IllegalTransformation(
            f"{node.name!r} has the activation {activation}, in which replicas count twice; widen a layer below"
        )
    return UnsupportedLayer(
        f"{node.name!r} has an activation of its own, which may combine channels; make it a layer of a class that you "
        "register a rule for"
    )


def widened(node: Node, outgoing: ChannelMap | None, **config: Any) -> Node:
    """The node with an output whose channels, and whose moments, are replicated by a map."""
    if outgoing is None:
        return node.changed(config=config)
    moments = node.moments and node.moments[outgoing.source]
    return node.changed(shape=(*node.shape[:-1], len(outgoing.source)), moments=moments, config=config)
