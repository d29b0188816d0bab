"""What surgery costs, against what one would do without it, and how that grows with the network.

1. Nine transformations on a plain network of 20 layers and about 5 M parameters: on its graph with one `to_keras` at
   the end, against the same nine with a Keras model built and read back after each.
2. One widening by a half, of the middle layer, of chains of convolutions with more and more channels, and with more and
   more layers: `widen` on a Keras model, against the obvious alternative, `keras.models.clone_model` with another
   `filters` and weights copied by hand; and `widen_graph`, the part of it that is not Keras, against copying all
   weights once. The slopes are those of straight lines through the logarithms of size and time.

Alternating in one process, medians, after one repetition that does not count.
"""

import platform
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

import keras
import numpy as np

from eas_tf.architecture import SPACES, Move, Net2Deeper, Net2Wider, PlainCNN
from eas_tf.surgery import LayerGraph, initialise, lower, measure_moments, transform, widen, widen_graph

REPETITIONS = 5

#: 20 layers in the large space, 5.0 M parameters.
NETWORK = (
    "C(64,3,1), C(96,3,1), C(96,5,1), C(96,5,1), P(2,2,MAX), C(128,3,1), C(128,5,1), C(128,5,1), P(2,2,MAX), "
    "C(192,3,1), C(192,5,1), C(192,3,1), P(2,2,MAX), C(256,3,1), C(256,3,1), C(256,3,1), P(4,4,AVG), FC(576), FC(512), "
    "SM(10)"
)

#: The paper's schedule: five layers inserted, then four widened, two of them inserted ones.
CHAIN: tuple[Move, ...] = (
    Net2Deeper(0, 4, 3),
    Net2Deeper(1, 1, 3),
    Net2Deeper(2, 3, 1),
    Net2Deeper(3, 2, 3),
    Net2Deeper(4, 1, None),
    Net2Wider(0, 96),
    Net2Wider(4, 128),
    Net2Wider(13, 256),
    Net2Wider(22, 640),
)


def on_the_graph(parent: LayerGraph, architecture: PlainCNN) -> keras.Model:
    """All nine on arrays, then one Keras model."""
    return transform(parent, architecture, CHAIN, rng=np.random.default_rng(0)).to_keras()


def with_rebuilds(parent: LayerGraph, architecture: PlainCNN) -> keras.Model:
    """A Keras model after each; the moments, which a Keras model does not hold, are handed on for free."""
    graph, rng = parent, np.random.default_rng(0)
    for transformation in CHAIN:
        grown = transform(graph, architecture, [transformation], rng=rng)
        architecture = transformation.apply(architecture)
        model = grown.to_keras()
        moments = {node.name: node.moments for node in grown.nodes}
        read = LayerGraph.from_keras(model)
        graph = read.replaced({node.name: node.changed(moments=moments[node.name]) for node in read.nodes})
    return model


def chain_network(layers: int, filters: int) -> keras.Model:
    """A chain of 3x3 convolutions on 8x8 maps."""
    stack = [keras.layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"c{i}") for i in range(layers)]
    head = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(10)]
    return keras.Sequential([keras.Input((8, 8, filters)), *stack, *head])


def by_hand(model: keras.Model, name: str, width: int) -> keras.Model:
    """What one would write for this chain: clone it with more filters, and copy the weights layer by layer."""
    rng = np.random.default_rng(0)
    layer = model.get_layer(name)
    consumer = model.layers[model.layers.index(layer) + 1]

    def wider(old: keras.layers.Layer) -> keras.layers.Layer:
        config = old.get_config()
        return type(old).from_config({**config, "filters": width} if old is layer else config)

    clone = keras.models.clone_model(model, clone_function=wider)
    source = np.concatenate([np.arange(layer.filters), rng.integers(layer.filters, size=width - layer.filters)])
    share = 1 / np.bincount(source)[source]
    for old, new in zip(model.layers, clone.layers, strict=True):
        weights = old.get_weights()
        if old is layer:
            weights = [weight[..., source] for weight in weights]
        elif old is consumer:
            weights[0] = weights[0][..., source, :] * share[:, None]
        new.set_weights(weights)
    return clone


def alternating(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The median milliseconds of each way."""
    milliseconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(1 + REPETITIONS):
        for name, way in ways.items():
            keras.utils.clear_session()
            start = time.perf_counter()
            way()
            milliseconds[name].append(1000 * (time.perf_counter() - start))
    return {name: median(times[1:]) for name, times in milliseconds.items()}


def one_widening(layers: int, filters: int) -> tuple[int, dict[str, float]]:
    """The parameters of a chain network, and what each way of widening its middle layer takes."""
    model, name, width = chain_network(layers, filters), f"c{layers // 2}", filters + filters // 2
    graph = LayerGraph.from_keras(model)
    return model.count_params(), alternating(
        {
            "widen": lambda: widen(model, name, width, rng=0),
            "by hand": lambda: by_hand(model, name, width),
            "widen_graph": lambda: widen_graph(graph, name, width, rng=np.random.default_rng(0)),
            "copy": lambda: [weight.copy() for node in graph.nodes for weight in node.weights],
        }
    )


def print_growth(title: str, sizes: Sequence[tuple[int, int]]) -> None:
    """A table over networks of several sizes, and the slopes over their parameters."""
    print(f"\n{title}, one widening, milliseconds")
    print("layers filters parameters | widen  by hand  ratio | widen_graph  copying all  ratio")
    sweep: list[tuple[int, float, float]] = []
    for layers, filters in sizes:
        count, ms = one_widening(layers, filters)
        sweep.append((count, ms["widen"], ms["widen_graph"]))
        print(
            f"{layers:6} {filters:7} {count:10,} | {ms['widen']:5.0f} {ms['by hand']:8.0f} "
            f"{ms['widen'] / ms['by hand']:6.2f} | {ms['widen_graph']:11.1f} {ms['copy']:12.1f} "
            f"{ms['widen_graph'] / ms['copy']:6.2f}",
            flush=True,
        )
    size, whole, arrays = np.log(np.array(sweep, float)).T
    slopes = [np.polyfit(size, times, 1)[0] for times in (whole, arrays)]
    print(f"log-log slopes over parameters: widen {slopes[0]:.2f}, widen_graph {slopes[1]:.2f}")


def main(argv: Sequence[str] | None = None) -> int:  # noqa: ARG001 - takes no options
    """Time all ways and print medians and ratios."""
    print(f"Python {platform.python_version()}, keras {keras.__version__} on {keras.backend.backend()}", end=", ")
    print(f"numpy {np.__version__}; {REPETITIONS} repetitions, alternating")
    architecture = PlainCNN.parse(NETWORK)
    SPACES["large"].check(architecture)
    images = np.random.default_rng(1).normal(size=(16, 32, 32, 3))
    parent = measure_moments(initialise(lower(architecture), rng=np.random.default_rng(2)), images)
    print(f"nine transformations of {len(architecture.layers)} layers, {architecture.parameter_count:,} parameters:")
    ms = alternating({way.__name__: partial(way, parent, architecture) for way in (on_the_graph, with_rebuilds)})
    print(
        f"one build at the end {ms['on_the_graph']:.0f} ms, a build after each {ms['with_rebuilds']:.0f} ms, ", end=""
    )
    print(f"ratio {ms['with_rebuilds'] / ms['on_the_graph']:.1f}")
    print_growth("with wider layers", [(20, filters) for filters in (64, 128, 256, 512)])
    print_growth("with more layers", [(layers, 192) for layers in (10, 20, 40, 80)])
    return 0


if __name__ == "__main__":
    sys.exit(main())
