"""Net2Wider on a trained network: EAS paper, section "Net2Wider Operation", Eqs. 1 to 3."""

from typing import Any, get_args

import keras
import numpy as np

from eas_tf.errors import IllegalTransformation, InvalidConfiguration, UnsupportedLayer
from eas_tf.surgery.channel_map import ChannelMap, SymmetryBreaking
from eas_tf.surgery.graph import LayerGraph, Node
from eas_tf.surgery.rules import rule_for, widened

#: Standard deviation of the noise on replicas, relative to that of the kernel (the paper's code).
NOISE = 1e-2

#: The configuration key that holds the width of each layer class which can be widened.
_WIDTH_KEYS = {"Conv2D": "filters", "Dense": "units"}

#: Activations that compare or combine channels, so that replicas would change what they give.
_MIXING = ("softmax", "log_softmax", "sparsemax", "glu")


def widen(
    model: keras.Model,
    layer: str,
    units: int,
    *,
    rng: np.random.Generator,
    symmetry_breaking: SymmetryBreaking = "shares",
) -> keras.Model:
    """A new model with the same outputs, in which one layer has more filters or units.

    Args:
        model: A functional or sequential model. It is not changed.
        layer: The name of a Conv2D or Dense layer.
        units: Its new number of filters or units.
        rng: Draws which channels are replicated, and with which shares.
        symmetry_breaking: "shares" keeps the function exactly; "noise" is the paper's, and changes it a little.

    Raises:
        IllegalTransformation: If the layer cannot be widened to that.
        UnsupportedLayer: If the new channels would reach a layer without a rule.

    Example:
        >>> wider = widen(model, "conv_3", 96, rng=np.random.default_rng(0))  # doctest: +SKIP
    """
    graph = LayerGraph.from_keras(model)
    return widen_graph(graph, layer, units, rng=rng, symmetry_breaking=symmetry_breaking).to_keras()


def widen_graph(
    graph: LayerGraph, name: str, width: int, *, rng: np.random.Generator, symmetry_breaking: SymmetryBreaking
) -> LayerGraph:
    """`widen` on a graph: layer `name` gets `width` channels, and what consumes them is rewritten.

    Raises:
        InvalidConfiguration: If there is no such way of breaking symmetry.
        IllegalTransformation: If there is no such layer, it is not narrower, or its channels are the graph's output.
        UnsupportedLayer: If the layer is grouped or has channels first, or the new channels would reach a layer without
            a rule.
    """
    if symmetry_breaking not in get_args(SymmetryBreaking):
        raise InvalidConfiguration(f'Symmetry is broken by "shares" or "noise". Received: {symmetry_breaking!r}')
    if name not in graph or graph[name].layer not in _WIDTH_KEYS:
        names = [node.name for node in graph.nodes if node.layer in _WIDTH_KEYS]
        raise IllegalTransformation(f"The layers that can be widened are {', '.join(names)}. Received: {name!r}")
    node = graph[name]
    _check_channels_are_independent(node)
    drawn = ChannelMap.draw(node.weights[0].shape[-1], width, rng=rng, equal_shares=symmetry_breaking == "noise")
    changed = {name: _widened_layer(node, drawn, rng if symmetry_breaking == "noise" else None)}
    pending: list[tuple[str, ChannelMap]] = [(name, drawn)]
    while pending:
        source, channel_map = pending.pop()
        if source in graph.outputs:
            raise IllegalTransformation(f"Layer {name!r} cannot be widened: its channels are an output of the model.")
        for consumer in graph.consumers(source):
            changed[consumer.name], outgoing = rule_for(consumer)(consumer, channel_map)
            if outgoing is not None:
                pending.append((consumer.name, outgoing))
    return graph.replaced(changed)


def _check_channels_are_independent(node: Node) -> None:
    activation = node.config["activation"]
    if activation in _MIXING:
        raise IllegalTransformation(
            f"Layer {node.name!r} ends in the activation {activation}, whose sum would count replicas twice."
        )
    if not isinstance(activation, str):
        raise UnsupportedLayer(f"Layer {node.name!r} has an activation of its own: make it a layer after this one.")
    if node.config.get("groups", 1) > 1:
        raise UnsupportedLayer(f"{node.name!r} is a grouped convolution, whose replicas would see other channels.")
    if node.config.get("data_format") == "channels_first":
        raise UnsupportedLayer(f"{node.name!r} has channels first; surgery works on channels last.")


def _widened_layer(node: Node, drawn: ChannelMap, noise: np.random.Generator | None) -> Node:
    """Eq. 2: the new kernel `[..., in, new]` repeats the old one's filters."""
    kernel, *bias = map(drawn.select, node.weights)
    if noise is not None:
        std = NOISE * node.weights[0].std()
        kernel = kernel + np.where(drawn.is_replica, noise.normal(0, std, kernel.shape), 0).astype(kernel.dtype)
    config: dict[str, Any] = {_WIDTH_KEYS[node.layer]: len(drawn.source)}
    return widened(node, drawn, weights=(kernel, *bias), config=config)
