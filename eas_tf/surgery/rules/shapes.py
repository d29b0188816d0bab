"""Rules of layers that move values to other places."""

from collections.abc import Sequence

import numpy as np

from eas_tf.errors import UnsupportedLayer
from eas_tf.surgery.channel_map import ChannelMap
from eas_tf.surgery.coupling import Channels, Coupling
from eas_tf.surgery.node import Node
from eas_tf.surgery.rules.rule import Rule, channel_count, rule, widened


@rule("Flatten", "Reshape")
class _Reshape(Rule):
    """The last axis takes in the channels of one position, or of several: all of the first, then all of the second."""

    def channels(self, node: Node, incoming: Sequence[Channels], coupling: Coupling) -> Channels:
        before, after = len(incoming[0]), node.shape[-1] if node.shape else None
        if after is None or after % before:
            why = UnsupportedLayer(
                f"{node.name!r}, a {node.layer} layer, puts the {before} channels into an axis of length {after}, of "
                "which they are no part; surgery needs them to stay last"
            )
            return self.stop(node, incoming, coupling, why)
        return Channels(np.tile(incoming[0].strands, after // before), incoming[0].run)

    def rewrite(self, node: Node, incoming: Sequence[ChannelMap | None], outgoing: ChannelMap | None) -> Node:
        if outgoing is None or node.layer == "Flatten" or node.config["target_shape"][-1] == -1:
            return widened(node, outgoing)
        target = [*node.config["target_shape"][:-1], len(outgoing.source)]
        return widened(node, outgoing, target_shape=target)

    def non_negative(self, node: Node, incoming: Sequence[bool]) -> bool:
        return all(incoming)


@rule("Permute")
class _Permute(Rule):
    """Channels that are the last axis before and after."""

    def channels(self, node: Node, incoming: Sequence[Channels], coupling: Coupling) -> Channels:
        if node.config["dims"][-1] == len(node.shape):
            return incoming[0]
        why = UnsupportedLayer(f"{node.name!r} moves the channels away from the last axis, where surgery needs them")
        for channels in incoming:
            coupling.fix(channels, why)
        return coupling.fixed(channel_count(node), why)

    def rewrite(self, node: Node, incoming: Sequence[ChannelMap | None], outgoing: ChannelMap | None) -> Node:
        return widened(node, outgoing)

    def non_negative(self, node: Node, incoming: Sequence[bool]) -> bool:
        return all(incoming)
