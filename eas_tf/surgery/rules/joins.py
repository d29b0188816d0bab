"""Rules of layers with several inputs."""

from collections.abc import Sequence

import numpy as np

from eas_tf.errors import UnsupportedLayer
from eas_tf.surgery.channel_map import ChannelMap
from eas_tf.surgery.coupling import Channels, Coupling
from eas_tf.surgery.node import Node
from eas_tf.surgery.rules.rule import Rule, channel_count, rule, widened


class Join(Rule):
    """Value by value: each channel of one input meets the same channel of the others, or a single one."""

    def channels(self, node: Node, incoming: Sequence[Channels], coupling: Coupling) -> Channels:
        """Those of the inputs, tied together; a single channel that is broadcast is fixed."""
        count = channel_count(node)
        full = [channels for channels in incoming if len(channels) == count]
        for channels in incoming:
            if len(channels) != count:
                coupling.fix(channels, UnsupportedLayer(f"{node.name!r} broadcasts its single channel to {count}"))
        coupling.tie(node.name, full, _unlike(node))
        return full[0]

    def rewrite(self, node: Node, incoming: Sequence[ChannelMap | None], outgoing: ChannelMap | None) -> Node:
        """A join has nothing of its own."""
        return widened(node, outgoing)

    def non_negative(self, node: Node, incoming: Sequence[bool]) -> bool:
        """If no input is negative, or one of a maximum; a difference may be."""
        return node.layer != "Subtract" and (any if node.layer == "Maximum" else all)(incoming)


def _unlike(node: Node) -> UnsupportedLayer:
    return UnsupportedLayer(f"{node.name!r} joins channels of a depth multiplier with others, which have another order")


rule("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")(Join)


@rule("Concatenate")
class _Concatenate(Join):
    """Side by side (Eq. 4), or one after the other along another axis."""

    def channels(self, node: Node, incoming: Sequence[Channels], coupling: Coupling) -> Channels:
        if node.config["axis"] not in (-1, len(node.shape)):
            return super().channels(node, incoming, coupling)
        runs = {channels.run for channels in incoming}
        if len(runs) > 1:
            return self.stop(node, incoming, coupling, _unlike(node))
        return Channels(np.concatenate([channels.strands for channels in incoming]), runs.pop())
