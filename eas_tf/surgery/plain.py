"""Plain networks as layer graphs, and their transformations carried out on trained weights."""

from collections import Counter
from collections.abc import Sequence
from math import prod
from typing import Any

import keras
import numpy as np

from eas_tf.architecture import Conv, Dense, Layer, Net2Deeper, Net2Wider, PlainCNN, Pool, Shape, Softmax
from eas_tf.surgery.channel_map import SymmetryBreaking
from eas_tf.surgery.deepen import deepen_graph
from eas_tf.surgery.graph import LayerGraph
from eas_tf.surgery.node import Node
from eas_tf.surgery.parts import (
    FLOAT,
    IMAGES,
    LOGITS,
    classifier,
    convolution,
    entrance,
    linked,
    normalised,
    unlinked,
    zeros,
)
from eas_tf.surgery.widen import widen_graph


def lower(architecture: PlainCNN, mean: Sequence[float], std: Sequence[float]) -> LayerGraph:
    """The layer graph of a plain network; see `eas_tf.surgery.lower`."""
    before = entrance(architecture.input_shape, mean, std)
    nodes: list[Node] = []
    flat = False
    for index, (layer, name) in enumerate(zip(architecture.layers, _names(architecture), strict=True)):
        if isinstance(layer, Dense | Softmax) and not flat:
            flat = True
            flatten = keras.layers.Flatten(name="flatten", **IMAGES)
            nodes.append(unlinked(flatten, (prod(architecture.shape_before(index)),)))
        nodes.extend(_chain(layer, architecture.shape_before(index), name))
    return LayerGraph((*before, *linked(nodes, before[-1].name)), (nodes[-1].name,))


def _widened(
    graph: LayerGraph,
    architecture: PlainCNN,  # noqa: ARG001 - the graph says all
    move: Net2Wider,
    *,
    rng: np.random.Generator,
    symmetry_breaking: SymmetryBreaking,
) -> LayerGraph:
    """The graph of `architecture` with one wider layer."""
    name = _main_nodes(graph)[move.layer].name
    return widen_graph(graph, name, move.width, rng=rng, symmetry_breaking=symmetry_breaking)


def _deepened(
    graph: LayerGraph,
    architecture: PlainCNN,
    move: Net2Deeper,
    *,
    rng: np.random.Generator,
    symmetry_breaking: SymmetryBreaking,
) -> LayerGraph:
    """The graph of `architecture` with one more layer, the identity."""
    index, child = move.index_in(architecture), move.apply(architecture)
    after = _input_of_layer(graph, index, move)
    chain = _chain(child.layers[index], child.shape_before(index), "inserted")
    return deepen_graph(graph, after, chain, rng=rng, symmetry_breaking=symmetry_breaking)


def _main_nodes(graph: LayerGraph) -> list[Node]:
    """The node that each layer of the architecture is named after, in order."""
    kinds = ("Conv2D", "MaxPooling2D", "AveragePooling2D", "Dense")
    return [node for node in graph.nodes if node.layer in kinds]


def _input_of_layer(graph: LayerGraph, index: int, move: Net2Deeper) -> str:
    """The node after which a new layer number `index` goes: a convolution goes before flattening."""
    (before,) = _main_nodes(graph)[index].inputs
    return graph[before].inputs[0] if graph[before].layer == "Flatten" and move.kernel else before


def _names(architecture: PlainCNN) -> list[str]:
    """`conv_1`, `pool_1`, `conv_2`, …, `dense_1`, …, `logits`."""
    stems = {Conv: "conv", Pool: "pool", Dense: "dense"}
    counts, names = Counter[str](), []
    for layer in architecture.layers[:-1]:
        stem = stems[type(layer)]
        counts[stem] += 1
        names.append(f"{stem}_{counts[stem]}")
    return [*names, LOGITS]


def _chain(layer: Layer, before: Shape, name: str) -> list[Node]:
    """The nodes of one layer, not yet linked."""
    match layer:
        case Conv(filters=filters, kernel=kernel, stride=stride):
            return normalised(convolution(name, filters, kernel, before, stride))
        case Dense(units=units):
            dense = keras.layers.Dense(units, use_bias=False, kernel_initializer="he_normal", name=name, **FLOAT)
            return normalised(unlinked(dense, (units,), zeros(prod(before), units)))
        case Pool(size=size, stride=stride, kind=kind):
            pool = keras.layers.MaxPooling2D if kind == "MAX" else keras.layers.AveragePooling2D
            return [unlinked(pool(size, stride, name=name, **IMAGES), layer.output_shape(before))]
        case Softmax(classes=classes):
            return classifier(prod(before), classes)


#: How each kind of move is carried out.
MOVES: dict[type[Any], Any] = {Net2Wider: _widened, Net2Deeper: _deepened}
