"""What one Keras build at the end of a chain of transformations saves.

Nine transformations on a plain network of 20 layers and about 5 M parameters: on its graph with one `to_keras` at the
end, against the same nine with a Keras model built and read back after each. Both start from a graph and end in a
Keras model. Alternating in one process, after one repetition that does not count.
"""

import platform
import sys
import time
from collections.abc import Sequence
from statistics import median

import keras
import numpy as np
import tensorflow as tf

from eas_tf.architecture import SPACES, Net2Deeper, Net2Wider, PlainCNN, Transformation
from eas_tf.surgery import LayerGraph, initialise, lower, measure_moments, transform

REPETITIONS = 5

#: 20 layers in the large space, 5.0 M parameters.
NETWORK = (
    "C(64,3,1), C(96,3,1), C(96,5,1), C(96,5,1), P(2,2,MAX), C(128,3,1), C(128,5,1), C(128,5,1), P(2,2,MAX), "
    "C(192,3,1), C(192,5,1), C(192,3,1), P(2,2,MAX), C(256,3,1), C(256,3,1), C(256,3,1), P(4,4,AVG), FC(576), FC(512), "
    "SM(10)"
)

#: The paper's schedule: five layers inserted, then four widened, two of them inserted ones.
CHAIN: tuple[Transformation, ...] = (
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


def main(argv: Sequence[str] | None = None) -> int:  # noqa: ARG001 - takes no options
    """Time both ways and print medians and their ratio."""
    architecture = PlainCNN.parse(NETWORK)
    SPACES["large"].check(architecture)
    images = np.random.default_rng(1).normal(size=(16, 32, 32, 3))
    parent = measure_moments(initialise(lower(architecture), rng=np.random.default_rng(2)), images)
    milliseconds: dict[str, list[float]] = {on_the_graph.__name__: [], with_rebuilds.__name__: []}
    for _ in range(1 + REPETITIONS):
        for way in (on_the_graph, with_rebuilds):
            keras.utils.clear_session()
            start = time.perf_counter()
            model = way(parent, architecture)
            milliseconds[way.__name__].append(1000 * (time.perf_counter() - start))
    print(f"Python {platform.python_version()}, tensorflow {tf.__version__}, keras {keras.__version__}", end=", ")
    print(f"numpy {np.__version__}; {REPETITIONS} repetitions, alternating")
    print(f"parent: {len(architecture.layers)} layers, {architecture.parameter_count:,} parameters; ", end="")
    print(f"after {len(CHAIN)} transformations: {model.count_params():,} weights")
    medians = {name: median(times[1:]) for name, times in milliseconds.items()}
    for name, times in milliseconds.items():
        print(f"{name}: median {medians[name]:.0f} ms (from {min(times[1:]):.0f} to {max(times[1:]):.0f})")
    print(f"ratio: {medians[with_rebuilds.__name__] / medians[on_the_graph.__name__]:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
