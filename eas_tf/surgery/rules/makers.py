"""Rules of layers that make channels of their own: convolutions, dense layers, embeddings."""

from collections.abc import Sequence

import numpy as np

from eas_tf.errors import UnsupportedLayer
from eas_tf.surgery.channel_map import ChannelMap
from eas_tf.surgery.coupling import Channels, Coupling
from eas_tf.surgery.node import Node
from eas_tf.surgery.rules.rule import Maker, Rule, is_rectified, register_all, rule, why_mixing, widened


class _Kernel(Maker):
    """A kernel `[..., in, out]` and a bias `[out]`. The replicas' inputs are taken by their shares (Eqs. 2 and 3)."""

    def channels(self, node: Node, incoming: Sequence[Channels], coupling: Coupling) -> Channels:
        made = self.new_channels(node, coupling)
        coupling.group(node.name, incoming[0], node.config.get("groups", 1))
        coupling.group(node.name, made, node.config.get("groups", 1))
        return made

    def rewrite(self, node: Node, incoming: Sequence[ChannelMap | None], outgoing: ChannelMap | None) -> Node:
        kernel, *bias = node.weights
        if incoming[0]:
            kernel = _absorbed(kernel, incoming[0], node.config.get("groups", 1))
        if outgoing is None:
            return node.changed(weights=(kernel, *bias))
        weights = (outgoing.select(kernel), *map(outgoing.select, bias))
        return widened(node, outgoing, **{self.width_key: len(outgoing.source)}).changed(weights=weights)


def _absorbed(kernel: np.ndarray, incoming: ChannelMap, groups: int) -> np.ndarray:
    """A kernel `[..., in / groups, out]`, group by group of inputs and outputs."""
    if groups == 1:
        return incoming.absorb(kernel)
    inputs = kernel.shape[-2]
    parts = zip(
        np.split(kernel, groups, -1), np.split(incoming.source, groups), np.split(incoming.share, groups), strict=True
    )
    return np.concatenate([ChannelMap(source % inputs, share).absorb(part) for part, source, share in parts], -1)


register_all(_Kernel("filters"), "Conv1D", "Conv2D", "Conv3D")
register_all(_Kernel("units"), "Dense")


@rule("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
class _Transposed(Maker):
    """A kernel `[..., out, in]` and a bias `[out]`."""

    def __init__(self) -> None:
        super().__init__("filters", axis=-2)

    def channels(self, node: Node, incoming: Sequence[Channels], coupling: Coupling) -> Channels:
        return self.new_channels(node, coupling)

    def rewrite(self, node: Node, incoming: Sequence[ChannelMap | None], outgoing: ChannelMap | None) -> Node:
        kernel, *bias = node.weights
        if incoming[0]:
            kernel = incoming[0].absorb(kernel, -1)
        if outgoing is None:
            return node.changed(weights=(kernel, *bias))
        weights = (outgoing.select(kernel, -2), *map(outgoing.select, bias))
        return widened(node, outgoing, filters=len(outgoing.source)).changed(weights=weights)


@rule("SeparableConv1D", "SeparableConv2D")
class _Separable(Maker):
    """A depthwise kernel `[..., in, m]`, a pointwise one `[..., in * m, out]` and a bias `[out]`."""

    def __init__(self) -> None:
        super().__init__("filters", kernel=1)

    def channels(self, node: Node, incoming: Sequence[Channels], coupling: Coupling) -> Channels:
        return self.new_channels(node, coupling)

    def rewrite(self, node: Node, incoming: Sequence[ChannelMap | None], outgoing: ChannelMap | None) -> Node:
        depthwise, pointwise, *bias = node.weights
        if incoming[0]:
            pointwise = _in_runs(incoming[0], depthwise.shape[-1]).absorb(pointwise)
            depthwise = incoming[0].select(depthwise, -2)
        if outgoing is None:
            return node.changed(weights=(depthwise, pointwise, *bias))
        weights = (depthwise, outgoing.select(pointwise), *map(outgoing.select, bias))
        return widened(node, outgoing, filters=len(outgoing.source)).changed(weights=weights)


def _in_runs(channel_map: ChannelMap, run: int) -> ChannelMap:
    """The map of channels in runs, one run for each channel of a map."""
    source = channel_map.source[:, None] * run + np.arange(run)
    return ChannelMap(source.ravel(), np.repeat(channel_map.share, run))


@rule("DepthwiseConv1D", "DepthwiseConv2D")
class _Depthwise(Rule):
    """A kernel `[..., in, m]` and a bias `[in * m]`: m channels from each one, which stay a run."""

    def channels(self, node: Node, incoming: Sequence[Channels], coupling: Coupling) -> Channels:
        why = why_mixing(node)
        if why:
            return self.stop(node, incoming, coupling, why)
        return Channels(incoming[0].strands, incoming[0].run * node.config["depth_multiplier"])

    def rewrite(self, node: Node, incoming: Sequence[ChannelMap | None], outgoing: ChannelMap | None) -> Node:
        if incoming[0] is None or outgoing is None:
            return node
        kernel, *bias = node.weights
        weights = (incoming[0].select(kernel, -2), *map(outgoing.select, bias))
        return widened(node, outgoing).changed(weights=weights)

    def non_negative(self, node: Node, incoming: Sequence[bool]) -> bool:
        return is_rectified(node)


@rule("Embedding")
class _Embedding(Maker):
    """A table `[words, out]`; what comes in are numbers of words."""

    def __init__(self) -> None:
        super().__init__("output_dim")

    def channels(self, node: Node, incoming: Sequence[Channels], coupling: Coupling) -> Channels:
        why = UnsupportedLayer(f"{node.name!r} looks up its inputs as words, which cannot be shared out")
        for channels in incoming:
            coupling.fix(channels, why)
        return self.new_channels(node, coupling)

    def rewrite(self, node: Node, incoming: Sequence[ChannelMap | None], outgoing: ChannelMap | None) -> Node:
        if outgoing is None:
            return node
        weights = tuple(map(outgoing.select, node.weights))
        return widened(node, outgoing, output_dim=len(outgoing.source)).changed(weights=weights)
