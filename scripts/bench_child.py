"""One child as a search trains it, in a worker process, against Keras's compile, fit and evaluate in another.

Both start from the same layer graph with the same weights and see the same images; the processes take turns, and each
is warm. Keras runs as its users run it: TensorFlow's own choice of threads, a cached `tf.data` pipeline, crops and
flips in parallel calls of `map`. It has no L2, which would only cost it more time. Prints medians and their ratios, and
how near the steps come to what the bare convolutions of the network take. With PyTorch installed, it takes its turn
too, eagerly.
"""

import importlib.util
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import tyro
from pebble import ProcessPool

from eas_tf.architecture import Conv, Dense, PlainCNN, Pool
from eas_tf.errors import exit_code
from eas_tf.training.recipe import Recipe

TABLE_1 = "C(16,3,1), P(2,2,MAX), C(32,3,1), P(2,2,MAX), C(64,3,1), P(2,2,MAX), C(128,3,1), P(4,4,AVG), FC(256), SM(10)"
FIVE_MILLION = (
    "C(192,3,1), C(128,5,1), C(96,5,1), C(96,3,1), P(2,2,MAX), C(192,3,1), C(256,5,1), C(128,5,1), P(2,2,MAX), "
    "C(192,5,1), C(128,3,1), C(96,5,1), P(2,2,MAX), C(192,3,1), FC(192), SM(10)"
)


def digits(convolutions: int) -> str:
    """A network for 8x8 digits."""
    blocks = [", ".join([f"C({width},3,1)"] * (convolutions // 2)) for width in (16, 32)]
    return f"{blocks[0]}, P(2,2,MAX), {blocks[1]}, P(4,4,AVG), FC(64), SM(10)"


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is timed."""

    name: str
    network: str
    epochs: int
    images: int = 0
    """Random 32x32x3 images; 0 for the digits."""
    whole: bool = True
    """Everything, from building to validation; else one steady epoch."""

    @property
    def recipe(self) -> Recipe:
        """How it is trained."""
        return Recipe(epochs=self.epochs, batch=64, crop_and_flip=bool(self.images))


CASES = {
    "6": Case(name="digits, 6 convolutions, whole child, 20 epochs", network=digits(6), epochs=20),
    "12": Case(name="digits, 12 convolutions, whole child, 20 epochs", network=digits(12), epochs=20),
    "table1": Case(
        name="Table 1's network, 10,000 images, steady epoch", network=TABLE_1, epochs=3, images=10_000, whole=False
    ),
    "5M": Case(
        name="5.13 M parameters, 2,000 images, steady epoch", network=FIVE_MILLION, epochs=2, images=2_000, whole=False
    ),
}


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Time children against Keras's fit."""

    repetitions: int = 7
    """Of each, taking turns."""
    cases: tuple[str, ...] = tuple(CASES)
    """Which: 6, 12, table1, 5M."""


def load(case: Case) -> Any:
    """The images of a case. What random images show does not matter to their speed."""
    from eas_tf import data

    if not case.images:
        return data.load("digits")
    rng = np.random.default_rng(0)
    count = case.images * 10 // 9 + 1  # a tenth is held out
    arrays: dict[str, np.ndarray] = {
        "x_train": rng.integers(256, size=(count, 32, 32, 3), dtype=np.uint8),
        "y_train": rng.integers(10, size=count, dtype=np.int32),
    }
    return data.ImageData.from_arrays("random", arrays, classes=10, crop_and_flip=True)


def graph_of(case: Case, images: Any) -> Any:
    """The network with random weights, the same ones in every process."""
    from eas_tf.surgery import initialise, lower

    architecture = PlainCNN.parse(case.network, images.input_shape)
    return initialise(lower(architecture, images.mean, images.std), rng=np.random.default_rng(0))


def timed(run: Callable[[Callable[[], None]], None], case: Case) -> float:
    """Seconds of all, or of the fastest epoch but the first; `run` calls what it is given after each epoch."""
    marks = [time.perf_counter()]
    run(lambda: marks.append(time.perf_counter()))
    if case.whole:
        return time.perf_counter() - marks[0]
    return min(b - a for a, b in pairwise(marks[1:]))


_kept: dict[str, Any] = {}


def ours(case: Case, threads: int, cores: int) -> float:
    """Seconds of this project's trainer, set up as in a worker process."""
    if not _kept:
        from eas_tf.evaluation.worker import configure

        configure(threads, cores)
    from eas_tf.training.trainer import Trainer

    if case.name not in _kept:
        images = load(case)
        _kept[case.name] = Trainer(images), graph_of(case, images)
    trainer, graph = _kept[case.name]
    return timed(lambda mark: trainer.train(graph, case.recipe, seed=0, on_epoch=lambda *_: mark()), case)


def with_keras(case: Case) -> float:
    """Seconds of a user of Keras."""
    import keras
    import tensorflow as tf

    if case.name not in _kept:
        images = load(case)
        _kept[case.name] = images, graph_of(case, images)
    images, graph = _kept[case.name]

    def crop_and_flip(image: Any, label: Any) -> Any:
        padded = tf.pad(image, [[4, 4], [4, 4], [0, 0]])
        return tf.image.random_flip_left_right(tf.image.random_crop(padded, image.shape)), label

    def run(mark: Callable[[], None]) -> None:
        recipe = case.recipe
        steps = len(images.x_train) // recipe.batch * recipe.epochs
        training = tf.data.Dataset.from_tensor_slices((images.x_train, images.y_train)).cache()
        training = training.shuffle(len(images.x_train))
        if recipe.crop_and_flip:
            training = training.map(crop_and_flip, num_parallel_calls=tf.data.AUTOTUNE)
        training = training.batch(recipe.batch, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
        validation = tf.data.Dataset.from_tensor_slices((images.x_val, images.y_val)).batch(512).cache()
        model = graph.to_keras()
        rate = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, steps)
        model.compile(
            keras.optimizers.SGD(rate, momentum=recipe.momentum, nesterov=True),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        after_epoch = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: mark())
        model.fit(training, epochs=recipe.epochs, verbose=0, callbacks=[after_epoch])
        model.evaluate(validation, verbose=0)

    return timed(run, case)


def with_torch(case: Case) -> float:
    """Seconds of an eager loop in PyTorch, all images in memory as floats, a batch cropped and flipped at once."""
    import torch
    from torch import nn

    if case.name not in _kept:
        images = load(case)
        x = torch.tensor(images.x_train.transpose(0, 3, 1, 2)).float() / 255
        _kept[case.name] = x, torch.tensor(images.y_train).long(), images.input_shape
    x, y, shape = _kept[case.name]
    layers: list[Any] = []
    architecture = PlainCNN.parse(case.network, shape)
    for index, layer in enumerate(architecture.layers):
        before = architecture.shape_before(index)
        if isinstance(layer, Pool):
            layers.append((nn.MaxPool2d if layer.kind == "MAX" else nn.AvgPool2d)(layer.size, layer.stride))
        elif isinstance(layer, Conv):
            layers.append(nn.Conv2d(before[-1], layer.filters, layer.kernel, padding="same", bias=False))
            layers += [nn.BatchNorm2d(layer.filters), nn.ReLU()]
        elif isinstance(layer, Dense):
            layers += [nn.Flatten(), nn.Linear(prod(before), layer.units, bias=False)]
            layers += [nn.BatchNorm1d(layer.units), nn.ReLU()]
        else:
            layers += [nn.Flatten(), nn.Linear(prod(before), 10)]

    def crop_and_flip(batch: Any) -> Any:
        n, _, height, width = batch.shape
        padded = nn.functional.pad(batch, (4, 4, 4, 4))
        top, left = torch.randint(9, (2, n, 1))
        columns = torch.where(torch.rand(n, 1) < 0.5, torch.arange(width), width - 1 - torch.arange(width))
        image, rows, columns = torch.arange(n)[:, None, None], top + torch.arange(height), left + columns
        return padded.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)

    def run(mark: Callable[[], None]) -> None:
        model, recipe = nn.Sequential(*layers), case.recipe
        optimizer = torch.optim.SGD(
            model.parameters(), recipe.learning_rate, recipe.momentum, weight_decay=1e-4, nesterov=True
        )
        for _ in range(recipe.epochs):
            for batch in torch.randperm(len(x))[: len(x) // recipe.batch * recipe.batch].split(recipe.batch):
                optimizer.zero_grad()
                inputs = crop_and_flip(x[batch]) if recipe.crop_and_flip else x[batch]
                nn.functional.cross_entropy(model(inputs), y[batch]).backward()
                optimizer.step()
            mark()

    return timed(run, case)


def bare_convolutions(case: Case, threads: int, cores: int) -> float:
    """Seconds that all convolutions of one epoch take, forward and both gradients, with nothing in between."""
    if not _kept:
        from eas_tf.evaluation.worker import configure

        configure(threads, cores)
    import tensorflow as tf

    images = load(case)
    architecture, batch = PlainCNN.parse(case.network, images.input_shape), case.recipe.batch
    total = 0.0
    for index, layer in enumerate(architecture.layers):
        if isinstance(layer, Conv):
            shape = architecture.shape_before(index)
            kernel = tf.random.normal([layer.kernel, layer.kernel, shape[-1], layer.filters])
            total += _seconds_of_convolution(tf.random.normal([batch, *shape]), kernel)
    return total * (len(images.x_train) // batch)


def _seconds_of_convolution(x: Any, kernel: Any) -> float:
    import tensorflow as tf

    multiply_adds = prod(x.shape[:3]) * prod(kernel.shape)
    times = max(2, min(20, 1_000_000_000 // multiply_adds))

    @tf.function(autograph=False)
    def loop(x: Any, kernel: Any) -> Any:
        def body(index: Any, total: Any) -> Any:
            with tf.GradientTape() as tape:
                scaled = x + total * 0
                tape.watch([scaled, kernel])
                y = tf.nn.conv2d(scaled, kernel, 1, "SAME")
            dx, dk = tape.gradient(y, [scaled, kernel], output_gradients=y)
            return index + 1, dx[0, 0, 0, 0] + dk[0, 0, 0, 0]

        return tf.while_loop(lambda index, _: index < times, body, (0, 0.0), parallel_iterations=1)[1]

    loop(x, kernel)
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        float(loop(x, kernel))
        best = min(best, time.perf_counter() - start)
    return best / times


def process() -> ProcessPool:
    """A process of its own."""
    return ProcessPool(max_workers=1, context=multiprocessing.get_context("spawn"))


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each case."""
    from eas_tf.evaluation.share import pick_threads
    from eas_tf.machine import usable_cores

    bench = tyro.cli(Bench, args=argv, prog="bench_child.py")
    has_torch = importlib.util.find_spec("torch") is not None
    print(f"{bench.repetitions} repetitions, taking turns in processes of their own, medians", flush=True)
    for case in (CASES[name] for name in bench.cases):
        setup = pick_threads(load(case).input_shape, usable_cores()), usable_cores()
        contestants: dict[str, tuple[Callable[..., float], tuple[Any, ...]]] = {
            "eas_tf": (ours, (case, *setup)),
            "Keras": (with_keras, (case,)),
            "bare convolutions": (bare_convolutions, (case, *setup)),
        }
        if has_torch:
            contestants["PyTorch"] = with_torch, (case,)
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        pools = {name: process() for name in contestants}
        try:
            for _ in range(bench.repetitions + 1):
                for name, (function, arguments) in contestants.items():
                    seconds[name].append(pools[name].schedule(function, args=arguments).result())
        finally:
            for pool in pools.values():
                pool.stop()
                pool.join()
        # The first of each is warm-up: a process's first use of TensorFlow.
        medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
        report(case, medians)
    return 0


def report(case: Case, medians: dict[str, float]) -> None:
    """One line."""
    a = medians["eas_tf"]
    count = (case.images or 1_078) // 64 * 64 * (case.epochs if case.whole else 1)
    bare = medians["bare convolutions"] * (case.epochs if case.whole else 1)
    others = ", ".join(
        f"{name} {b:.2f} s, ratio {a / b:.2f}" for name, b in medians.items() if name in ("Keras", "PyTorch")
    )
    print(
        f"{case.name}: eas_tf {a:.2f} s, {others}; {count / a:,.0f} images a second; its convolutions alone take "
        f"{100 * bare / a:.0f} % of that",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(exit_code(main))
