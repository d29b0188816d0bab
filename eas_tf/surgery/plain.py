"""From plain networks' strings to layer graphs, and their transformations carried out on trained weights."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from math import prod

import keras
import numpy as np

from eas_tf.architecture import (
    Conv,
    Dense,
    Layer,
    Net2Deeper,
    Net2Wider,
    PlainCNN,
    Pool,
    Shape,
    Softmax,
    Transformation,
)
from eas_tf.surgery.channel_map import SymmetryBreaking
from eas_tf.surgery.deepen import deepen_graph
from eas_tf.surgery.graph import LayerGraph
from eas_tf.surgery.node import Node, node_of
from eas_tf.surgery.widen import widen_graph

#: Batch norm as in the paper's code. Keras's own momentum would keep the initial statistics for hundreds of steps.
BATCH_NORM = {"epsilon": 1e-5, "momentum": 0.9}

LOGITS = "logits"


def lower(architecture: PlainCNN, mean: Sequence[float] = (0.0,), std: Sequence[float] = (1.0,)) -> LayerGraph:
    """The layer graph of a network: raw images in, class probabilities out. All kernels are zero.

    Args:
        architecture: The network.
        mean: Subtracted from each image channel; one value stands for all channels.
        std: Then divided by, likewise.
    """
    channels = architecture.input_shape[-1]
    mean, variance = (np.broadcast_to(values, channels).astype(float).tolist() for values in (mean, np.square(std)))
    images = keras.layers.InputLayer(shape=architecture.input_shape, name="images")
    normalise = keras.layers.Normalization(mean=mean, variance=variance, name="normalise")
    nodes = [_node(images, architecture.input_shape), _node(normalise, architecture.input_shape)]
    flat = False
    for index, (layer, name) in enumerate(zip(architecture.layers, _names(architecture), strict=True)):
        if isinstance(layer, Dense | Softmax) and not flat:
            flat = True
            nodes.append(_node(keras.layers.Flatten(name="flatten"), (prod(architecture.shape_before(index)),)))
        nodes.extend(_chain(layer, architecture.shape_before(index), name))
    linked = [replace(node, inputs=(before.name,)) for before, node in pairwise(nodes)]
    return LayerGraph((nodes[0], *linked), (nodes[-1].name,))


def initialise(graph: LayerGraph, *, rng: np.random.Generator) -> LayerGraph:
    """The graph with random kernels, normal with variance 2 / inputs (He et al. 2015), as in the paper's code."""

    def drawn(kernel: np.ndarray) -> np.ndarray:
        return rng.normal(0, np.sqrt(2 / prod(kernel.shape[:-1])), kernel.shape).astype(np.float32)

    kernels = [node for node in graph.nodes if node.layer in ("Conv2D", "Dense")]
    return graph.replaced(
        {node.name: replace(node, weights=(drawn(node.weights[0]), *node.weights[1:])) for node in kernels}
    )


def transform(
    parent: LayerGraph,
    architecture: PlainCNN,
    transformations: Iterable[Transformation],
    *,
    rng: np.random.Generator,
    symmetry_breaking: SymmetryBreaking = "shares",
) -> LayerGraph:
    """Carry out transformations on a trained network, in order; a layer inserted by one may be widened by the next.

    Args:
        parent: A graph of the structure `lower(architecture)`, with moments. It is not changed.
        architecture: The parent's.
        transformations: What to do.
        rng: Draws replicas, shares and noise.
        symmetry_breaking: How replicas are made to differ.

    Returns:
        A graph of the structure `lower(child)`, and with its layer names.

    Raises:
        IllegalTransformation: If a transformation does not fit the architecture.
    """
    graph = parent
    for transformation in transformations:
        child = transformation.apply(architecture)
        if isinstance(transformation, Net2Wider):
            name = _main_nodes(graph)[transformation.layer].name
            graph = widen_graph(graph, name, transformation.width, rng=rng, symmetry_breaking=symmetry_breaking)
        else:
            index = transformation.index_in(architecture)
            after = _input_of_layer(graph, index, transformation)
            chain = _chain(child.layers[index], child.shape_before(index), "inserted")
            graph = deepen_graph(graph, after, chain, rng=rng, symmetry_breaking=symmetry_breaking)
        architecture = child
    return graph.renamed([node.name for node in lower(architecture).nodes])


def _main_nodes(graph: LayerGraph) -> list[Node]:
    """The node that each layer of the architecture is named after, in order."""
    kinds = ("Conv2D", "MaxPooling2D", "AveragePooling2D", "Dense")
    return [node for node in graph.nodes if node.layer in kinds]


def _input_of_layer(graph: LayerGraph, index: int, transformation: Net2Deeper) -> str:
    """The node after which a new layer number `index` goes: a convolution goes before flattening."""
    (before,) = _main_nodes(graph)[index].inputs
    return graph[before].inputs[0] if graph[before].layer == "Flatten" and transformation.kernel else before


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
            options = {"strides": stride, "padding": "same", "use_bias": False, "kernel_initializer": "he_normal"}
            main = keras.layers.Conv2D(filters, kernel, name=name, **options)
            return _normalised(main, (kernel, kernel, before[-1], filters), layer.output_shape(before))
        case Dense(units=units):
            main = keras.layers.Dense(units, use_bias=False, kernel_initializer="he_normal", name=name)
            return _normalised(main, (prod(before), units), (units,))
        case Pool(size=size, stride=stride, kind=kind):
            pool = keras.layers.MaxPooling2D if kind == "MAX" else keras.layers.AveragePooling2D
            return [_node(pool(size, stride, name=name), layer.output_shape(before))]
        case Softmax(classes=classes):
            weights = _zeros(prod(before), classes), _zeros(classes)
            main = keras.layers.Dense(classes, kernel_initializer="he_normal", name=name)
            return [_node(main, (classes,), *weights), _node(keras.layers.Softmax(name="probabilities"), (classes,))]


def _normalised(main: keras.layers.Layer, kernel: tuple[int, ...], shape: tuple[int, ...]) -> list[Node]:
    """A layer without bias, batch norm, ReLU."""
    norm = keras.layers.BatchNormalization(**BATCH_NORM, name=f"{main.name}_bn")
    ones, zeros = np.ones(shape[-1], np.float32), np.zeros(shape[-1], np.float32)
    relu = keras.layers.ReLU(name=f"{main.name}_relu")
    return [_node(main, shape, _zeros(*kernel)), _node(norm, shape, ones, zeros, zeros, ones), _node(relu, shape)]


def _node(layer: keras.layers.Layer, shape: tuple[int, ...], *weights: np.ndarray) -> Node:
    return replace(node_of(layer, (), shape), weights=weights)


def _zeros(*shape: int) -> np.ndarray:
    """An array of zeros that takes no memory, for weights that are about to be replaced."""
    return np.broadcast_to(np.float32(0), shape)
