"""Rules of layers and operations with several inputs."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from eas_tf.errors import UnsupportedLayer
from eas_tf.surgery.channel_map import ChannelMap
from eas_tf.surgery.coupling import Channels, Coupling
from eas_tf.surgery.node import Node, Slot
from eas_tf.surgery.rules.rule import Rule, channel_count, operation_rules, rule, widened


class Join(Rule):
    """Value by value: each channel of one input meets the same channel of the others, or a single one.

    An input may be a constant: a number, or an array that is the same in each call. A variable of the user's, to which
    values may be assigned, may hold a single one only.
    """

    def channels(self, node: Node, incoming: Sequence[Channels], coupling: Coupling) -> Channels:
        """Those of the inputs, tied together; a single channel that is broadcast is fixed."""
        count = channel_count(node)
        full = [channels for channels in incoming if len(channels) == count]
        if not full or not _are_aligned(node, incoming):
            return super().channels(node, incoming, coupling)
        for channels in incoming:
            if len(channels) != count:
                coupling.fix(channels, UnsupportedLayer(f"{node.name!r} broadcasts its single channel to {count}"))
        coupling.tie(node.name, full, _unlike(node))
        return full[0]

    def rewrite(self, node: Node, incoming: Sequence[ChannelMap | None], outgoing: ChannelMap | None) -> Node:
        """Repeat the channels of constants. A join has nothing else of its own."""
        joined = widened(node, outgoing)
        if outgoing is None or node.call is None:
            return joined

        def repeated(operand: Any) -> Any:
            if _is_variable(operand):
                return operand
            array = np.asarray(operand)
            return outgoing.select(array) if array.ndim and array.shape[-1] == channel_count(node) > 1 else operand

        return joined.changed(call=_with_constants(node, repeated))

    def non_negative(self, node: Node, incoming: Sequence[bool]) -> bool:
        """If no input is negative, or one of a maximum; a difference or a quotient may be."""
        if node.layer in ("Subtract", "Divide", "TrueDivide"):
            return False
        signs = [*incoming, *map(_is_never_negative, _constants(node))]
        return (any if node.layer == "Maximum" else all)(signs)


def _operands(node: Node) -> list[Any]:
    """Slots and constants, in order. A layer takes them in one list, an operation as arguments of its own."""
    arguments, keywords = node.call or ((), {})
    operands = [*arguments, *keywords.values()]
    return list(operands[0]) if operands and issubclass(node.kind, keras.layers.Layer) else operands


def _is_variable(operand: Any) -> bool:
    return hasattr(operand, "assign")


def _is_never_negative(constant: Any) -> bool:
    return not _is_variable(constant) and bool(np.all(np.asarray(constant) >= 0))


def _constants(node: Node) -> Iterator[Any]:
    return (operand for operand in _operands(node) if not isinstance(operand, Slot))


def _with_constants(node: Node, change: Callable[[Any], Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The call of a node with other constants."""

    def changed(operand: Any) -> Any:
        if isinstance(operand, list | tuple) and issubclass(node.kind, keras.layers.Layer):
            return [changed(each) for each in operand]
        return operand if isinstance(operand, Slot) else change(operand)

    arguments, keywords = node.call or ((), {})
    return tuple(map(changed, arguments)), {key: changed(operand) for key, operand in keywords.items()}


def _are_aligned(node: Node, incoming: Sequence[Channels]) -> bool:
    """Whether the last axes of all inputs are channels that meet each other.

    Layers align inputs by their batch axes, operations by their last ones.
    """
    ranks, least = [len(each.shape) for each in incoming], 2 if issubclass(node.kind, keras.layers.Layer) else 0
    for constant in _constants(node):
        if _is_variable(constant):
            constant = np.broadcast_to(0, constant.shape)
            if constant.size > 1:
                return False
        array = np.asarray(constant)
        if array.dtype.kind not in "biufV" or not least <= array.ndim <= 1 + len(node.shape):
            return False
    return least > 0 or min(ranks) > 0 or max(ranks) == 0


def _unlike(node: Node) -> UnsupportedLayer:
    return UnsupportedLayer(f"{node.name!r} joins channels of a depth multiplier with others, which have another order")


rule("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")(Join)
operation_rules("keras.src.ops.numpy", Join(), "Add", "Subtract", "Multiply", "Divide", "TrueDivide")
operation_rules("keras.src.ops.numpy", Join(), "Maximum", "Minimum", "NotEqual")


@rule("Concatenate")
class _Concatenate(Join):
    """Side by side (Eq. 4), or one after the other along another axis."""

    def channels(self, node: Node, incoming: Sequence[Channels], coupling: Coupling) -> Channels:
        if not self._is_of_channels(node):
            return super().channels(node, incoming, coupling)
        parts = [
            incoming[operand.index] if isinstance(operand, Slot) else _given(operand, node, coupling)
            for operand in _operands(node) or map(Slot, range(len(incoming)))
        ]
        runs = {channels.run for channels in parts}
        if len(runs) > 1:
            return self.stop(node, incoming, coupling, _unlike(node))
        return Channels(np.concatenate([channels.strands for channels in parts]), runs.pop())

    def rewrite(self, node: Node, incoming: Sequence[ChannelMap | None], outgoing: ChannelMap | None) -> Node:
        return widened(node, outgoing) if self._is_of_channels(node) else super().rewrite(node, incoming, outgoing)

    def _is_of_channels(self, node: Node) -> bool:
        return node.config["axis"] in (-1, len(node.shape))


def _given(constant: Any, node: Node, coupling: Coupling) -> Channels:
    """The channels of a constant, which stay what they are."""
    return coupling.fixed(np.shape(constant)[-1], UnsupportedLayer(f"they are a constant that {node.name!r} takes"))
