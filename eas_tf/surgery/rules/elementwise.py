"""Rules of layers that work on each channel by itself, and of those that would if replicas did not count twice."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from eas_tf.errors import EASError, IllegalTransformation, UnsupportedLayer
from eas_tf.surgery.channel_map import ChannelMap
from eas_tf.surgery.coupling import Channels, Coupling
from eas_tf.surgery.node import Node
from eas_tf.surgery.rules.rule import Rule, channel_count, is_rectified, register_all, rule, why_mixing, widened


class PerChannel(Rule):
    """A layer with one input that works on each channel by itself, and on all channels in the same way.

    Its weights are those arrays whose last axis is the channels; any other array stays as it is.

    Args:
        keeps_sign: Whether values that are not negative stay so.
    """

    def __init__(self, *, keeps_sign: bool = False) -> None:
        self._keeps_sign = keeps_sign

    def channels(self, node: Node, incoming: Sequence[Channels], coupling: Coupling) -> Channels:
        """Those of the input, unless `why_not` finds a reason."""
        why = self.why_not(node)
        if why is None and len(incoming) == 1 and len(incoming[0]) == channel_count(node):
            return incoming[0]
        return super().channels(node, incoming, coupling) if why is None else self.stop(node, incoming, coupling, why)

    def why_not(self, node: Node) -> EASError | None:
        """Why this layer, configured as it is, cannot bear replicas."""
        return None

    def rewrite(self, node: Node, incoming: Sequence[ChannelMap | None], outgoing: ChannelMap | None) -> Node:
        """Repeat the weights of each channel."""
        if outgoing is None:
            return node
        old = channel_count(node)
        weights = tuple(outgoing.select(w) if w.shape[-1:] == (old,) else w for w in node.weights)
        return widened(node, outgoing).changed(weights=weights)

    def non_negative(self, node: Node, incoming: Sequence[bool]) -> bool:
        """If the layer keeps the sign, and its input is not negative."""
        return self._keeps_sign and all(incoming)


_POOLS = ["MaxPooling", "AveragePooling", "GlobalMaxPooling", "GlobalAveragePooling"]
_POOLS += ["AdaptiveMaxPooling", "AdaptiveAveragePooling", "ZeroPadding", "Cropping", "SpatialDropout"]
register_all(PerChannel(keeps_sign=True), *(f"{pool}{rank}D" for pool in _POOLS for rank in (1, 2, 3)))
register_all(PerChannel(keeps_sign=True), "UpSampling1D", "UpSampling3D", "CenterCrop", "Identity", "RepeatVector")
register_all(PerChannel(keeps_sign=True), "ActivityRegularization", "Masking")
register_all(PerChannel(), "LeakyReLU", "ELU", "GaussianDropout", "GaussianNoise")


@rule("UpSampling2D", "Resizing")
class _Interpolation(PerChannel):
    def non_negative(self, node: Node, incoming: Sequence[bool]) -> bool:
        """Cubic interpolation swings below the values between which it lies, and padding may be negative."""
        padded = node.config.get("pad_to_aspect_ratio") and node.config["fill_value"] < 0
        return all(incoming) and node.config["interpolation"] in ("nearest", "bilinear") and not padded


@rule("InputLayer")
class _Input(PerChannel):
    def channels(self, node: Node, incoming: Sequence[Channels], coupling: Coupling) -> Channels:
        """Those of the tensor that a model within the model receives; those of the whole model's input are given."""
        if incoming and len(incoming[0].shape) != len(node.shape):
            why = UnsupportedLayer(f"{node.name!r} takes them in another shape, which Keras makes without saying so")
            return self.stop(node, incoming, coupling, why)
        if incoming:
            return incoming[0]
        return coupling.fixed(channel_count(node), IllegalTransformation("its channels are tied to a model's input"))

    def non_negative(self, node: Node, incoming: Sequence[bool]) -> bool:
        return bool(incoming) and all(incoming)


@rule("ReLU", "Activation")
class _Activation(PerChannel):
    def why_not(self, node: Node) -> EASError | None:
        return why_mixing(node)

    def non_negative(self, node: Node, incoming: Sequence[bool]) -> bool:
        """A ReLU without a slope."""
        if node.layer == "ReLU":
            return not node.config["negative_slope"] and node.config["threshold"] >= 0
        return is_rectified(node)


@rule("PReLU")
class _PReLU(PerChannel):
    """A slope for each position and channel, where the axis is not shared."""

    def rewrite(self, node: Node, incoming: Sequence[ChannelMap | None], outgoing: ChannelMap | None) -> Node:
        shared = node.config["shared_axes"] or []
        if outgoing and len(node.shape) in shared:
            return widened(node, outgoing)
        return super().rewrite(node, incoming, outgoing)


@rule("Softmax")
class _Softmax(PerChannel):
    def why_not(self, node: Node) -> EASError | None:
        if _has_channels(node.config["axis"], node):
            return IllegalTransformation(
                f"its channels would reach the softmax {node.name!r}, whose sum counts replicas twice; widen a layer "
                "below"
            )
        return None


class _Dropout(PerChannel):
    def rewrite(self, node: Node, incoming: Sequence[ChannelMap | None], outgoing: ChannelMap | None) -> Node:
        """The shape of the noise may name the channels."""
        dropped = super().rewrite(node, incoming, outgoing)
        noise = node.config["noise_shape"]
        if outgoing and noise and noise[-1] not in (None, 1):
            return dropped.changed(config={"noise_shape": [*noise[:-1], len(outgoing.source)]})
        return dropped


register_all(_Dropout(keeps_sign=True), "Dropout")
register_all(_Dropout(), "AlphaDropout")


@rule("BatchNormalization")
class _BatchNormalization(PerChannel):
    def why_not(self, node: Node) -> EASError | None:
        if node.config["axis"] in (-1, len(node.shape)):
            return None
        return UnsupportedLayer(
            f"{node.name!r} normalises axis {node.config['axis']}, not the channels, which are last"
        )


@rule("LayerNormalization", "RMSNormalization", "UnitNormalization")
class _OverChannels(PerChannel):
    def why_not(self, node: Node) -> EASError | None:
        if _has_channels(node.config["axis"], node):
            return _statistics(node)
        if node.layer == "UnitNormalization":
            return None
        return UnsupportedLayer(f"surgery has no rule for {node.name!r}, which normalises axis {node.config['axis']}")


@rule("GroupNormalization")
class _GroupNormalization(PerChannel):
    """Statistics of a single channel do not change; those of a group would."""

    def why_not(self, node: Node) -> EASError | None:
        alone = node.config["groups"] in (-1, channel_count(node)) and node.config["axis"] in (-1, len(node.shape))
        return None if alone else _statistics(node)

    def rewrite(self, node: Node, incoming: Sequence[ChannelMap | None], outgoing: ChannelMap | None) -> Node:
        normalised = super().rewrite(node, incoming, outgoing)
        return normalised.changed(config={"groups": channel_count(normalised)})


def _statistics(node: Node) -> EASError:
    return UnsupportedLayer(
        f"{node.name!r}, a {node.layer} layer, takes statistics over channels, which replicas would change; widen a "
        "layer whose channels do not reach it"
    )


def _has_channels(axis: Any, node: Node) -> bool:
    axes = axis if isinstance(axis, list | tuple) else [axis]
    return any(each in (-1, len(node.shape)) for each in axes)


@rule("Rescaling", "Normalization")
class _Given(PerChannel):
    """Numbers in the configuration, either for all channels or one for each."""

    _KEYS = ("scale", "offset", "mean", "variance")

    def why_not(self, node: Node) -> EASError | None:
        axis = node.config.get("axis", ())
        axes = axis if isinstance(axis, list | tuple) else () if axis is None else (axis,)
        if all(each in (-1, len(node.shape)) for each in axes):
            return None
        return UnsupportedLayer(f"{node.name!r} normalises axis {axis}, for which surgery has no rule")

    def rewrite(self, node: Node, incoming: Sequence[ChannelMap | None], outgoing: ChannelMap | None) -> Node:
        rewritten = super().rewrite(node, incoming, outgoing)
        if outgoing is None:
            return rewritten
        given = {key: _array(node.config[key]) for key in self._KEYS if node.config.get(key) is not None}
        old = channel_count(node)
        repeated = {
            key: outgoing.select(value).tolist()
            for key, value in given.items()
            if value.shape[-1:] == (old,) and value.ndim
        }
        return rewritten.changed(config=repeated)


def _array(value: Any) -> np.ndarray:
    """A number, a list, or an array as a configuration has it."""
    if isinstance(value, Mapping):
        return keras.ops.convert_to_numpy(keras.saving.deserialize_keras_object(dict(value)))
    return np.asarray(value)
