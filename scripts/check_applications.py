"""Every operation that surgery offers on networks of keras.applications, each by itself, in float64.

Each layer of `widenable` is widened by one half, and a layer is inserted after each place of `deepenable`. A difference
is the largest change of a logit, relative to the largest logit. Kernels are random, and the moving statistics of each
batch norm are those of a batch of images, so that every layer affects the logits. This is checked: after each
operation, the kernel of the widened or inserted layer is set to zero, first in one channel, then in all. At last, all
operations are done in one network of float32, beside noise on its images.

Prints a row of a Markdown table for each network. Fails if an operation changes the logits, or if a zeroed kernel does
not.

    python scripts/check_applications.py                  all networks, everything: two hours on one core
    python scripts/check_applications.py MobileNetV2 20   one network, twenty of each operation
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import prod
from typing import Any, NamedTuple

import keras
import numpy as np
from rich.console import Console
from rich.progress import track

from eas_tf.surgery import LayerGraph, measure_moments, widen_graph
from eas_tf.surgery.deepen import deepen_graph, deepenable_graph, identity_chain
from eas_tf.surgery.rules.rule import channel_count
from eas_tf.surgery.widen import Strands

#: The networks, and the side of the images that each is given.
NETWORKS = {
    "ResNet50": 64,
    "ResNet50V2": 64,
    "DenseNet121": 64,
    "MobileNet": 64,
    "MobileNetV2": 64,
    "MobileNetV3Small": 64,
    "EfficientNetB0": 64,
    "NASNetMobile": 64,
    "Xception": 71,
    "InceptionV3": 75,
    "InceptionResNetV2": 75,
    "VGG16": 32,
}
#: An operation may change the logits in float64 by this fraction of the largest one.
LIMIT = 1e-10
#: A zeroed kernel must change them by this fraction. If it does not, the check would not see a fault there.
SEEN = 1000 * LIMIT
#: How many images calibrate batch norm, and how many of them the logits are compared on.
CALIBRATING, COMPARED = 16, 4
HEADS = (
    "network",
    "parameters",
    "layers with weights",
    "widened",
    "deepened",
    "difference, at most",
    "zeroed kernel, at least",
    "zeroed channels seen",
    "float32, all at once",
    "float32, input noise of 1e-7",
    "ms",
)


class Trial(NamedTuple):
    """The differences that one operation made, and that faults in the widened or inserted layer make."""

    difference: float
    """Without a fault."""
    kernel: float
    """With a kernel of zeros."""
    channel: float
    """With zeros in one channel of the kernel."""
    milliseconds: float
    """Of the operation with its Keras build."""


def faults(trial: Trial) -> list[str]:
    """What is wrong with the operation, or with the network that it was tried on; empty if nothing is."""
    found = []
    if not trial.difference <= LIMIT:  # also if it is NaN
        found.append(f"the logits change by {trial.difference:.1e}, and {LIMIT:.0e} is allowed")
    if not trial.kernel >= SEEN:
        found.append(f"a zeroed kernel changes them by {trial.kernel:.1e} only, so a fault would not be seen")
    return found


def built(name: str, dtype: str) -> keras.Model:
    """The network with ten logits and the weights that Keras gives it."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        shape = (NETWORKS[name], NETWORKS[name], 3)
        make = getattr(keras.applications, name)
        return make(weights=None, input_shape=shape, classes=10, classifier_activation=None)
    finally:
        keras.config.set_dtype_policy(policy)


def network(name: str, rng: np.random.Generator) -> tuple[keras.Model, np.ndarray]:
    """A network in float64 whose layers all affect the logits, and the images that calibrated its batch norms."""
    model = built(name, "float64")
    draw = {
        "gamma": lambda shape: rng.uniform(0.7, 1.3, shape),
        "beta": lambda shape: rng.normal(0, 0.1, shape),
        "bias": lambda shape: rng.normal(0, 0.1, shape),
        "kernel": lambda shape: he_normal(shape, rng),
    }
    for variable in model.weights:
        if kind := next((kind for kind in draw if variable.name.endswith(kind)), None):
            variable.assign(draw[kind](variable.shape))
    images = colours(model, rng)
    calibrate(model, images)
    return model, images


def he_normal(shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """A kernel `[..., in, out]`, or `[..., in, 1]` of a depthwise convolution, that keeps the size of the values."""
    inputs = prod(shape[:-2] if shape[-1] == 1 else shape[:-1])
    return rng.normal(0, np.sqrt(2 / inputs), shape)


def colours(model: keras.Model, rng: np.random.Generator) -> np.ndarray:
    """Noise on a colour of each image's own, without which all images would look alike after pooling."""
    side = model.input_shape[1]
    images = rng.normal(size=(CALIBRATING, 1, 1, 3)) + rng.normal(size=(CALIBRATING, side, side, 3))
    pixels = any(isinstance(layer, keras.layers.Rescaling) for layer in model.layers)
    return np.clip(127.5 + 50 * images, 0, 255) if pixels else images


def calibrate(model: keras.Model, images: np.ndarray) -> None:
    """Set the moving statistics of each batch norm to those of the images: a step with momentum 0, no dropout."""
    settings = {keras.layers.BatchNormalization: "momentum", keras.layers.Dropout: "rate"}
    changed = [(layer, settings[type(layer)]) for layer in model.layers if type(layer) in settings]
    before = [getattr(layer, setting) for layer, setting in changed]
    for layer, setting in changed:
        setattr(layer, setting, 0.0)
    model(images, training=True)
    for (layer, setting), value in zip(changed, before, strict=True):
        setattr(layer, setting, value)


def logits(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """The outputs `[n, 10]` at inference."""
    return keras.ops.convert_to_numpy(model(images, training=False))


def difference(expected: np.ndarray, outputs: np.ndarray) -> float:
    """The largest difference relative to the largest value expected."""
    return float(np.abs(outputs - expected).max() / np.abs(expected).max())


def zero(layer: Any, channels: Any) -> None:
    """Set the kernel that makes these output channels of a layer to zero."""
    kernel = next(variable for variable in reversed(layer.weights) if variable.name.endswith("kernel"))
    values = keras.ops.convert_to_numpy(kernel).copy()
    values[..., channels] = 0
    kernel.assign(values)


def half_wider(width: int) -> int:
    """One half more channels, rounded up."""
    return width + -(-width // 2)


def attempt(
    graph: LayerGraph,
    operate: Callable[[], LayerGraph],
    layer: str,
    images: np.ndarray,
    expected: np.ndarray,
    rng: np.random.Generator,
) -> Trial:
    """Try one operation, then the same network with faults in the layer that was widened or inserted."""
    start = time.perf_counter()
    grown = operate()
    child = grown.to_keras()
    milliseconds = 1000 * (time.perf_counter() - start)
    differences = [difference(expected, logits(child, images))]
    target = next((node.name for node in grown.nodes if node.name not in graph), layer)
    for channels in (rng.integers(channel_count(grown[target])), slice(None)):
        zero(child.get_layer(target), channels)
        differences.append(difference(expected, logits(child, images)))
    unchanged, channel, kernel = differences
    return Trial(unchanged, kernel, channel, milliseconds)


def all_at_once(
    name: str, model: keras.Model, images: np.ndarray, most: int | None, rng: np.random.Generator
) -> tuple[float, float]:
    """The difference in float32 that all operations in one network make, and that of noise of 1e-7 on the images."""
    single = built(name, "float32")
    single.set_weights(model.get_weights())
    graph, shown = LayerGraph.from_keras(single), images[:COMPARED].astype(np.float32)
    wide, deep = Strands(graph).widenable(), deepenable_graph(graph)
    grown = measure_moments(graph, images.astype(np.float32), names=deep) if deep else graph
    for place in rng.permutation(deep)[:most]:
        grown = deepen_graph(grown, place, identity_chain(grown, place, 1), rng=rng)
    for layer in rng.permutation(list(wide))[:most]:
        # A layer that is tied to an earlier one has been widened with it.
        if channel_count(grown[layer]) == wide[layer]:
            grown = widen_graph(grown, layer, half_wider(wide[layer]), rng=rng)
    noisy = (shown * (1 + 1e-7 * rng.normal(size=shown.shape))).astype(np.float32)
    expected, moved = logits(single, shown), logits(single, noisy)
    return difference(expected, logits(grown.to_keras(), shown)), difference(expected, moved)


def trials(
    name: str, model: keras.Model, images: np.ndarray, most: int | None, rng: np.random.Generator
) -> Iterator[tuple[str, str, Trial]]:
    """Try the operations on a network, each by itself. Yields the kind of operation, its place, and the trial."""
    graph, shown = LayerGraph.from_keras(model), images[:COMPARED]
    expected = logits(model, shown)
    wide, deep = Strands(graph).widenable(), deepenable_graph(graph)
    measured = measure_moments(graph, images, names=deep) if deep else graph
    operations: dict[str, Callable[[str], LayerGraph]] = {
        "widen": lambda layer: widen_graph(graph, layer, half_wider(wide[layer]), rng=rng),
        "deepen": lambda place: deepen_graph(measured, place, identity_chain(measured, place, 3), rng=rng),
    }
    for kind, places in (("widen", list(wide)), ("deepen", deep)):
        chosen = [places[i] for i in rng.permutation(len(places))[:most]]
        for place in track(chosen, f"{name}: {kind}", console=Console(stderr=True)):
            yield kind, place, attempt(graph, partial(operations[kind], place), place, shown, expected, rng)
            keras.utils.clear_session()


def check(name: str, most: int | None, rng: np.random.Generator) -> bool:
    """Try the operations on one network and print its row. True if nothing is wrong."""
    model, images = network(name, rng)
    done: dict[str, list[Trial]] = {"widen": [], "deepen": []}
    for kind, place, trial in trials(name, model, images, most, rng):
        done[kind].append(trial)
        for fault in faults(trial):
            print(f"{name}: {kind} {place}: {fault}", file=sys.stderr)
    tried = [*done["widen"], *done["deepen"]]
    graph = LayerGraph.from_keras(model)
    possible = len(Strands(graph).widenable()), len(deepenable_graph(graph))
    row = [
        name,
        f"{model.count_params():,}",
        str(sum(bool(layer.weights) for layer in model.layers)),
        *(f"{len(each)} of {total}" for each, total in zip(done.values(), possible, strict=True)),
        f"{np.max([trial.difference for trial in tried]):.1e}",
        f"{np.min([trial.kernel for trial in tried]):.1e}",
        f"{sum(trial.channel > LIMIT for trial in tried)} of {len(tried)}",
        *(f"{value:.1e}" for value in all_at_once(name, model, images, most, rng)),
        f"{np.median([trial.milliseconds for trial in tried]):.0f}",
    ]
    print(f"| {' | '.join(row)} |", flush=True)
    return not any(map(faults, tried))


def main(argv: Sequence[str] | None = None) -> int:
    """Check the networks; 1 if an operation changed the logits of one, or a zeroed kernel did not."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    names = [argument for argument in arguments if not argument.isdigit()] or list(NETWORKS)
    most = next((int(argument) for argument in arguments if argument.isdigit()), None)
    if unknown := set(names) - set(NETWORKS):
        print(f"The networks are {', '.join(NETWORKS)}. Received: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    print(f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}", flush=True)
    return 0 if all([check(name, most, np.random.default_rng(0)) for name in names]) else 1


if __name__ == "__main__":
    sys.exit(main())
