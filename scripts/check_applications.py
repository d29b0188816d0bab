"""Every operation that surgery offers on networks of keras.applications, each by itself, with the differences it makes.

Each layer of `widenable` is widened by one half, and a layer is inserted after each of `deepenable`. Statistics and
gains of batch norm are random, and the outputs are logits. Prints a row of a Markdown table for each network.

    python scripts/check_applications.py                  all networks, everything: about an hour on two cores
    python scripts/check_applications.py MobileNetV2 20   one network, twenty of each
"""

import sys
import time
from collections.abc import Sequence

import keras
import numpy as np
from rich.console import Console
from rich.progress import track

from eas_tf.surgery import LayerGraph, measure_moments
from eas_tf.surgery.deepen import deepen_graph, deepenable_graph, identity_chain
from eas_tf.surgery.widen import Strands, widen_graph

#: The networks, and the side of the images that each is given.
NETWORKS = {
    "ResNet50": 64,
    "DenseNet121": 64,
    "MobileNetV2": 64,
    "EfficientNetB0": 64,
    "MobileNetV3Small": 64,
    "Xception": 71,
    "InceptionV3": 75,
    "VGG16": 32,
}
LIMIT = 1e-5


def network(name: str, rng: np.random.Generator) -> keras.Model:
    """The network with ten logits, and with batch norms as if it had been trained."""
    side = NETWORKS[name]
    make = getattr(keras.applications, name)
    model = make(weights=None, input_shape=(side, side, 3), classes=10, classifier_activation=None)
    draw = {
        "gamma": lambda shape: rng.uniform(0.7, 1.3, shape),
        "beta": lambda shape: rng.normal(0, 0.1, shape),
        "bias": lambda shape: rng.normal(0, 0.1, shape),
        "moving_mean": lambda shape: rng.normal(0, 0.3, shape),
        "moving_variance": lambda shape: rng.uniform(0.5, 1.5, shape),
    }
    for variable in model.weights:
        if variable.name in draw:
            variable.assign(draw[variable.name](variable.shape))
    return model


def check(name: str, most: int | None, rng: np.random.Generator) -> bool:
    """Try the operations on one network, print its row, and tell whether all differences are small."""
    model = network(name, rng)
    images = rng.normal(size=(2, NETWORKS[name], NETWORKS[name], 3)).astype("float32")
    graph, expected = LayerGraph.from_keras(model), keras.ops.convert_to_numpy(model(images, training=False))
    wide, deep = Strands(graph).widenable(), deepenable_graph(graph)
    measured = measure_moments(graph, images, names=deep) if deep else graph
    operations = {
        "widen": [(n, lambda n=n: widen_graph(graph, n, wide[n] + -(-wide[n] // 2), rng=rng)) for n in wide],
        "deepen": [(n, lambda n=n: deepen_graph(measured, n, identity_chain(measured, n, 3), rng=rng)) for n in deep],
    }
    row, worst = [name, f"{model.count_params():,}", str(sum(bool(node.weights) for node in graph.nodes))], 0.0
    for kind, possible in operations.items():
        chosen = [possible[i] for i in rng.permutation(len(possible))[:most]]
        differences, milliseconds = [], []
        for layer, operate in track(chosen, f"{name}: {kind}", console=Console(stderr=True)):
            start = time.perf_counter()
            child = operate().to_keras()
            milliseconds.append(1000 * (time.perf_counter() - start))
            outputs = keras.ops.convert_to_numpy(child(images, training=False))
            differences.append(float(np.abs(outputs - expected).max() / np.abs(expected).max()))
            if differences[-1] > LIMIT:
                print(f"{name}: {kind} {layer} changes the outputs by {differences[-1]:.1e}", file=sys.stderr)
            keras.utils.clear_session()
        worst = max([worst, *differences])
        largest = f"{max(differences):.1e}" if differences else ""
        median = f"{np.median(milliseconds):.0f}" if milliseconds else ""
        row += [f"{len(chosen)} of {len(possible)}", largest, median]
    print(f"| {' | '.join(row)} |", flush=True)
    return worst <= LIMIT


def main(argv: Sequence[str] | None = None) -> int:
    """Check the networks; 1 if an operation changed the outputs of one by more than the limit."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    names = [argument for argument in arguments if not argument.isdigit()] or list(NETWORKS)
    most = next((int(argument) for argument in arguments if argument.isdigit()), None)
    if unknown := set(names) - set(NETWORKS):
        print(f"The networks are {', '.join(NETWORKS)}. Received: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    heads = [
        "network",
        "parameters",
        "layers with weights",
        "widened",
        "difference",
        "ms",
        "deepened",
        "difference",
        "ms",
    ]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    return 0 if all([check(name, most, np.random.default_rng(0)) for name in names]) else 1


if __name__ == "__main__":
    sys.exit(main())
