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
    placed,
    unlinked,
    with_room,
    zeros,
)
from eas_tf.surgery.widen import widen_graph

#: The role of the node that a layer is named after.
_ROLES: dict[type[Layer], str] = {Conv: "conv", Pool: "pool", Dense: "dense"}


def lower(architecture: PlainCNN, mean: Sequence[float], std: Sequence[float]) -> LayerGraph:
    """The layer graph of a plain network; see `eas_tf.surgery.lower`."""
    before = entrance(architecture.input_shape, mean, std)
    nodes: list[Node] = []
    flat = False
    for index, (layer, name) in enumerate(zip(architecture.layers, _names(architecture), strict=True)):
        if isinstance(layer, Dense | Softmax) and not flat:
            flat = True
            flatten = keras.layers.Flatten(name="flatten", **IMAGES)
            nodes += placed({"flatten": unlinked(flatten, (prod(architecture.shape_before(index)),))})
        nodes += placed(_chain(layer, architecture.shape_before(index), name), index)
    return LayerGraph((*before, *linked(nodes, before[-1].name)), (nodes[-1].name,))


def _widened(
    graph: LayerGraph,
    architecture: PlainCNN,
    move: Net2Wider,
    *,
    rng: np.random.Generator,
    symmetry_breaking: SymmetryBreaking,
) -> LayerGraph:
    """The graph of `architecture` with one wider layer."""
    main = graph.parts(move.layer)[_ROLES[type(architecture.layers[move.layer])]]
    return widen_graph(graph, main.name, move.width, rng=rng, symmetry_breaking=symmetry_breaking)


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
    above = graph.parts(index - 1)
    after = above["pool" if "pool" in above else "relu"]
    if move.kernel is None and "dense" not in above:
        after = graph.parts()["flatten"]
    chain = placed(_chain(child.layers[index], child.shape_before(index), "inserted"), index)
    return deepen_graph(with_room(graph, index), after.name, chain, rng=rng, symmetry_breaking=symmetry_breaking)


def _names(architecture: PlainCNN) -> list[str]:
    """`conv_1`, `pool_1`, `conv_2`, …, `dense_1`, …, `logits`."""
    counts, names = Counter[str](), []
    for layer in architecture.layers[:-1]:
        stem = _ROLES[type(layer)]
        counts[stem] += 1
        names.append(f"{stem}_{counts[stem]}")
    return [*names, LOGITS]


def _chain(layer: Layer, before: Shape, name: str) -> dict[str, Node]:
    """The nodes of one layer by role, not yet linked."""
    match layer:
        case Conv(filters=filters, kernel=kernel, stride=stride):
            return normalised("conv", convolution(name, filters, kernel, before, stride))
        case Dense(units=units):
            dense = keras.layers.Dense(units, use_bias=False, kernel_initializer="he_normal", name=name, **FLOAT)
            return normalised("dense", unlinked(dense, (units,), zeros(prod(before), units)))
        case Pool(size=size, stride=stride, kind=kind):
            pool = keras.layers.MaxPooling2D if kind == "MAX" else keras.layers.AveragePooling2D
            return {"pool": unlinked(pool(size, stride, name=name, **IMAGES), layer.output_shape(before))}
        case Softmax(classes=classes):
            return classifier(prod(before), classes)


#: How each kind of move is carried out.
MOVES: dict[type[Any], Any] = {Net2Wider: _widened, Net2Deeper: _deepened}
