"""Rules of layers that make channels of their own: convolutions, dense layers, embeddings."""

from collections.abc import Sequence

import numpy as np

from eas_tf.errors import EASError, UnsupportedLayer
from eas_tf.surgery.channel_map import ChannelMap
from eas_tf.surgery.coupling import Channels, Coupling
from eas_tf.surgery.node import Node
from eas_tf.surgery.rules.rule import Rule, channel_count, is_rectified, register_all, rule, why_mixing, widened


class Maker(Rule):
    """A layer that makes channels of its own from those of its one input, by a kernel `[..., in, out]`.

    The values are linear in the kernel, up to an activation that works on each by itself. The other weights are those
    arrays whose last axis is the layer's channels, such as a bias; any other array stays as it is.

    Args:
        width_key: The entry of the layer's configuration that is the number of its channels.
        kernel: The number of the kernel in the layer's `get_weights()`.
        axis: The axis of the kernel that is the layer's channels: -1, or -2 for a kernel `[..., out, in]`.
    """

    def __init__(self, width_key: str, *, kernel: int = 0, axis: int = -1) -> None:
        self.width_key, self.kernel, self.axis = width_key, kernel, axis

    def channels(self, node: Node, incoming: Sequence[Channels], coupling: Coupling) -> Channels:
        """New ones, which grow evenly if the layer has groups, as those of its input then do."""
        if len(incoming) != 1:
            return super().channels(node, incoming, coupling)
        made = self.new_channels(node, coupling)
        coupling.group(node.name, incoming[0], node.config.get("groups", 1))
        coupling.group(node.name, made, node.config.get("groups", 1))
        return made

    def new_channels(self, node: Node, coupling: Coupling) -> Channels:
        """The layer's channels, fixed if its activation combines them, or if this rule does not describe the layer."""
        made = coupling.new(channel_count(node))
        why = self._why_wrong(node) or why_mixing(node)
        if why:
            coupling.fix(made, why)
        return made

    def _why_wrong(self, node: Node) -> EASError | None:
        width, count = node.config.get(self.width_key), channel_count(node)
        kernel = node.weights[self.kernel].shape if self.kernel < len(node.weights) else ()
        if width == count and len(kernel) > 1 and kernel[self.axis] == count:
            return None
        return UnsupportedLayer(
            f"the rule of {node.name!r}, a {node.layer}, does not describe it: {self.width_key!r} in its get_config(), "
            f"and axis {self.axis} of weight {self.kernel} of its get_weights(), must be the number of its channels, "
            f"{count}. Received: {width!r}, and a weight of shape {kernel}"
        )

    def rewrite(self, node: Node, incoming: Sequence[ChannelMap | None], outgoing: ChannelMap | None) -> Node:
        """Take the replicas of the input by their shares, and repeat the layer's channels (Eqs. 2 and 3)."""
        weights, old = list(node.weights), channel_count(node)
        if incoming[0]:
            groups, inputs = node.config.get("groups", 1), -3 - self.axis
            weights[self.kernel] = _absorbed(weights[self.kernel], incoming[0], groups, inputs)
        if outgoing is None:
            return node.changed(weights=tuple(weights))
        for number, weight in enumerate(weights):
            axis = self.axis if number == self.kernel else -1
            if number == self.kernel or weight.shape[-1:] == (old,):
                weights[number] = outgoing.select(weight, axis)
        return widened(node, outgoing, **{self.width_key: len(outgoing.source)}).changed(weights=tuple(weights))

    def with_noise(self, node: Node, outgoing: ChannelMap, spread: float, rng: np.random.Generator) -> Node:
        """The rewritten node with normal noise on its replicas, `spread` standard deviations of the old kernel."""
        kernel = node.weights[self.kernel]
        first = np.flatnonzero(~outgoing.is_replica)
        shape = [1] * kernel.ndim
        shape[self.axis] = -1
        noise = rng.normal(0, spread * np.take(kernel, first, self.axis).std(), kernel.shape)
        weights = list(node.weights)
        weights[self.kernel] = kernel + np.where(outgoing.is_replica.reshape(shape), noise, 0).astype(kernel.dtype)
        return node.changed(weights=tuple(weights))

    def non_negative(self, node: Node, incoming: Sequence[bool]) -> bool:
        """After a ReLU."""
        return is_rectified(node)


def _absorbed(kernel: np.ndarray, incoming: ChannelMap, groups: int, axis: int) -> np.ndarray:
    """A kernel whose `axis` is its inputs, or one `[..., in / groups, out]`, group by group of inputs and outputs."""
    if groups == 1:
        return incoming.absorb(kernel, axis)
    inputs = kernel.shape[-2]
    parts = zip(
        np.split(kernel, groups, -1), np.split(incoming.source, groups), np.split(incoming.share, groups), strict=True
    )
    return np.concatenate([ChannelMap(source % inputs, share).absorb(part) for part, source, share in parts], -1)


register_all(Maker("filters"), "Conv1D", "Conv2D", "Conv3D")
register_all(Maker("filters", axis=-2), "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
register_all(Maker("units"), "Dense")


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
