"""The nodes that all lowered networks are made of, with weights of the right shapes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import keras
import numpy as np

from eas_tf.architecture import Shape
from eas_tf.surgery.graph import LayerGraph
from eas_tf.surgery.node import Node, Part, node_of

#: Batch norm as in the paper's code. Keras's own momentum would keep the initial statistics for hundreds of steps.
BATCH_NORM = {"epsilon": 1e-5, "momentum": 0.9}

LOGITS = "logits"

#: What Keras's global settings (keras.json, `set_floatx`, `set_dtype_policy`) would decide for a layer otherwise.
FLOAT: dict[str, Any] = {"dtype": "float32"}

#: The same for layers that take images (`set_image_data_format`).
IMAGES: dict[str, Any] = {**FLOAT, "data_format": "channels_last"}


def entrance(shape: Shape, mean: Sequence[float], std: Sequence[float]) -> list[Node]:
    """What takes raw images `[height, width, channels]` and normalises each channel."""
    mean, variance = (np.broadcast_to(values, shape[-1]).astype(float).tolist() for values in (mean, np.square(std)))
    images = keras.layers.InputLayer(shape=shape, name="images", **FLOAT)
    normalise = keras.layers.Normalization(mean=mean, variance=variance, name="normalise", **FLOAT)
    first, second = placed({"images": unlinked(images, shape), "normalise": unlinked(normalise, shape)})
    return [first, replace(second, inputs=(first.name,))]


def convolution(name: str, filters: int, kernel: int, before: Shape, stride: int = 1) -> Node:
    """A convolution with "same" padding and without bias."""
    options = {"strides": stride, "padding": "same", "use_bias": False, "kernel_initializer": "he_normal"}
    height, width = (-(-side // stride) for side in before[:2])
    layer = keras.layers.Conv2D(filters, kernel, name=name, **options, **IMAGES)
    return unlinked(layer, (height, width, filters), zeros(kernel, kernel, before[-1], filters))


def batch_norm(name: str, shape: Sequence[int | None]) -> Node:
    """A batch norm that has seen nothing yet."""
    ones, nothing = np.ones(shape[-1] or 0, np.float32), np.zeros(shape[-1] or 0, np.float32)
    layer = keras.layers.BatchNormalization(**BATCH_NORM, name=name, **FLOAT)
    return unlinked(layer, shape, ones, nothing, nothing, ones)


def normalised(role: str, main: Node) -> dict[str, Node]:
    """A layer without bias, batch norm, ReLU, by role."""
    norm, activation = batch_norm(f"{main.name}_bn", main.shape), relu(f"{main.name}_relu", main.shape)
    return {role: main, "norm": norm, "relu": activation}


def relu(name: str, shape: Sequence[int | None]) -> Node:
    """A ReLU."""
    return unlinked(keras.layers.ReLU(name=name, **FLOAT), shape)


def classifier(features: int, classes: int) -> dict[str, Node]:
    """The fully connected layer, and softmax, by role."""
    main = keras.layers.Dense(classes, kernel_initializer="he_normal", name=LOGITS, **FLOAT)
    softmax = keras.layers.Softmax(name="probabilities", **FLOAT)
    dense = unlinked(main, (classes,), zeros(features, classes), zeros(classes))
    return {"dense": dense, "softmax": unlinked(softmax, (classes,))}


def unlinked(layer: keras.layers.Layer, shape: Sequence[int | None], *weights: np.ndarray) -> Node:
    """The node of a layer whose inputs are not known yet."""
    return replace(node_of(layer, (), shape), weights=weights)


def placed(chain: Mapping[str, Node], *path: int) -> list[Node]:
    """Nodes, given by role, as the parts of the layer at a path."""
    return [replace(node, part=Part(path, role)) for role, node in chain.items()]


def with_room(graph: LayerGraph, index: int) -> LayerGraph:
    """The graph in which each layer from number `index` on has the next number, so that a new one can have this one."""
    behind = [(node, node.part) for node in graph.nodes if node.part and node.part.path >= (index,)]
    moved = {node.name: Part((part.path[0] + 1, *part.path[1:]), part.role) for node, part in behind}
    return graph.replaced({node.name: replace(node, part=moved[node.name]) for node, _ in behind})


def linked(chain: Sequence[Node], before: str) -> list[Node]:
    """Nodes of which each receives the output of the one before it, the first that of node `before`."""
    first, *_ = chain
    pairs = pairwise(chain)
    return [replace(first, inputs=(before,)), *(replace(node, inputs=(above.name,)) for above, node in pairs)]


def zeros(*shape: int) -> np.ndarray:
    """An array of zeros that takes no memory, for weights that are about to be replaced."""
    return np.broadcast_to(np.float32(0), shape)
