"""Graphs with weights as if they had been trained, Keras models of a user, and the outputs of both."""

from dataclasses import replace
from math import prod

import keras
import numpy as np

from eas_tf.architecture import Conv, Dense, PlainCNN, Pool, Softmax
from eas_tf.surgery import LayerGraph, Moments, Node

#: The widths of random parents: on the lower rungs of the paper's space and between them.
FILTERS = (16, 20, 32, 48, 64)
UNITS = (20, 64, 100, 128)


def images(rng: np.random.Generator, count: int = 4, shape: tuple[int, ...] = (32, 32, 3)) -> np.ndarray:
    """Noise on a colour of each image's own, without which all images would look alike after pooling."""
    colours = rng.normal(size=(count, *[1] * (len(shape) - 1), shape[-1]))
    return (colours + rng.normal(size=(count, *shape))).astype(np.float32)


def randomised(graph: LayerGraph, rng: np.random.Generator) -> LayerGraph:
    """All weights random, also biases, gammas, betas and moving statistics; each array can only be read."""
    return frozen(graph.replaced({node.name: _random_node(node, rng) for node in graph.nodes if node.weights}))


def _random_node(node: Node, rng: np.random.Generator) -> Node:
    if node.layer == "BatchNormalization":
        n = len(node.weights[0])
        new = (rng.uniform(0.5, 1.5, n), rng.normal(0, 0.3, n), rng.normal(0, 0.5, n), rng.uniform(0.5, 2, n))
    else:
        kernel, *bias = node.weights
        spread = np.sqrt(2 / prod(kernel.shape[:-1]))
        new = (rng.normal(0, spread, kernel.shape), *(rng.normal(0, 0.3, vector.shape) for vector in bias))
    return replace(node, weights=tuple(weight.astype(np.float32) for weight in new))


def calibrated(graph: LayerGraph, batch: np.ndarray, rng: np.random.Generator, off: float = 0.0) -> LayerGraph:
    """Moving statistics of a batch, or as after training near them: at random the fraction `off` away.

    With momentum 0 one training step sets them to the batch's.
    """
    norms = [node for node in graph.nodes if node.layer == "BatchNormalization"]
    eager = graph.replaced({node.name: node.changed(config={"momentum": 0.0}) for node in norms}).to_keras()
    eager(batch, training=True)
    changed = {}
    for node in norms:
        gamma, beta, mean, variance = eager.get_layer(node.name).get_weights()
        mean += rng.normal(0, off, mean.shape).astype(np.float32) * np.sqrt(variance)
        variance *= rng.uniform(1 - off, 1 + off, variance.shape).astype(np.float32)
        changed[node.name] = replace(node, weights=(gamma, beta, mean, variance))
    return frozen(graph.replaced(changed))


def frozen(graph: LayerGraph) -> LayerGraph:
    """The graph, with arrays into which nobody can write."""
    for node in graph.nodes:
        for weight in node.weights:
            weight.setflags(write=False)
    return graph


def with_any_moments(graph: LayerGraph) -> LayerGraph:
    """Moments that were not measured, for what looks at structure only."""

    def moments(node: Node) -> Moments:
        return Moments(np.zeros(node.shape[-1]), np.ones(node.shape[-1]))

    return graph.replaced({node.name: replace(node, moments=moments(node)) for node in graph.nodes})


def check_same(grown: LayerGraph, lowered: LayerGraph) -> None:
    """A grown graph is what `lower` gives for the child, up to the values of weights; no two nodes are one part."""
    assert grown.structure() == lowered.structure()
    parts = [node.part for node in lowered.nodes]
    assert None not in parts
    assert len({*parts}) == len(parts)
    assert [node.part for node in grown.nodes] == parts
    assert [node.name for node in grown.nodes] == [node.name for node in lowered.nodes]


def call(model: keras.Model, batch: np.ndarray, *, training: bool = False) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(batch, training=training))


def logits(graph: LayerGraph, batch: np.ndarray, *, training: bool = False) -> np.ndarray:
    """What enters the softmax: probabilities would hide differences."""
    return call(graph.until("logits").to_keras(), batch, training=training)


def difference(reference: np.ndarray, other: np.ndarray) -> float:
    """The largest difference relative to the largest value of the reference."""
    return float(np.abs(reference - other).max() / np.abs(reference).max())


def random_parent(rng: np.random.Generator) -> PlainCNN:
    """A plain network on 32x32x3 images within the paper's space: 1 to 4 blocks, flattening maps up to 8x8."""
    layers, side, blocks = [], 32, rng.integers(1, 5)
    for block in range(blocks):
        layers += [Conv(int(rng.choice(FILTERS)), int(rng.choice([1, 3, 5]))) for _ in range(rng.integers(1, 3))]
        if side >= 2 and (block < blocks - 1 or side > 8 or rng.random() < 0.5):
            size, kind = int(rng.integers(2, min(side, 4) + 1)), str(rng.choice(["MAX", "AVG"]))
            stride = 2 if blocks > 1 else 4
            layers.append(Pool(size, stride, kind))
            side = (side - size) // stride + 1
    layers += [Dense(int(rng.choice(UNITS))) for _ in range(rng.integers(0, 3))]
    return PlainCNN((*layers, Softmax(10)), (32, 32, 3))


def randomise(model: keras.Model, rng: np.random.Generator) -> keras.Model:
    """A user's model with random weights, those of its batch norms included."""
    for variable in model.weights:
        positive = "variance" in variable.path or "gamma" in variable.path
        spread = np.sqrt(2 / max(1, prod(variable.shape[:-1])))
        variable.assign(rng.uniform(0.5, 2, variable.shape) if positive else rng.normal(0, spread, variable.shape))
    return model


def branching_model(rng: np.random.Generator) -> keras.Model:
    """A functional model in which `trunk` feeds two branches, with one layer of every kind that has a rule."""
    layers = keras.layers
    inputs = keras.Input((8, 6, 3), name="images")
    x = layers.Conv2D(5, 3, strides=2, activation="relu", name="trunk")(inputs)
    x = layers.BatchNormalization(name="trunk_norm")(x)
    left = layers.Conv2D(4, 1, activation="tanh", name="left")(layers.Dropout(0.3)(x))
    left = layers.Flatten(name="flat_left")(left)
    right = layers.AveragePooling2D(2, name="average")(layers.ReLU(negative_slope=0.2)(x))
    right = layers.Dense(6, activation="gelu", name="right")(layers.Flatten(name="flat_right")(right))
    joined = layers.Concatenate(name="joined")([layers.Dense(3, name="end_left")(left), layers.Dense(2)(right)])
    return randomise(keras.Model(inputs, layers.Dense(4, activation="softmax", name="classes")(joined)), rng)


def sequential_model(rng: np.random.Generator) -> keras.Model:
    layers = keras.layers
    stack = [
        keras.Input((8, 6, 3)),
        layers.Conv2D(4, 3, padding="same", use_bias=False, name="conv"),
        layers.BatchNormalization(axis=3, name="norm"),
        layers.ReLU(name="relu"),
        layers.MaxPooling2D(2, name="pool"),
        layers.SeparableConv2D(5, 3, name="separable"),
        layers.Flatten(name="flat"),
        layers.Dense(7, name="hidden"),
        layers.Dense(3, name="out"),
    ]
    return randomise(keras.Sequential(stack), rng)
