"""Train one network at a time, with as little as possible around the arithmetic, and measure what it learned."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from eas_tf.backend import check_backend
from eas_tf.data import ImageData
from eas_tf.machine import own_memory
from eas_tf.metrics import Found, Metric, balanced_accuracy, count_found
from eas_tf.surgery import LayerGraph
from eas_tf.training.dropout import with_dropout
from eas_tf.training.forks import check_fork
from eas_tf.training.kernels import (
    FusedBatchNormalization,
    HalvedConv2D,
    PixelNormalization,
    SynchronizedBatchNormalization,
)
from eas_tf.training.loop import Loop, Training, TrainingState
from eas_tf.training.pace import Part
from eas_tf.training.recipe import Recipe
from eas_tf.training.steps import CrossEntropyStep

#: Called after each epoch with its number from 1, and the mean training loss.
OnEpoch = Callable[[int, float], None]

#: Decides after each epoch, from what the recipe's metric says after each so far, whether a training goes on.
GoesOn = Callable[[Sequence[float]], bool]

#: Called after each epoch but the last with what gives the training's state, which takes as long as copying it.
OnState = Callable[[Callable[[], TrainingState]], None]

#: Seconds in which steps are timed.
PROBE_SECONDS = 1.0

#: What an image takes in validation, at most, of what it takes in training. It is a third of the arithmetic.
VALIDATION_COST = 0.5

#: Images in one call of a validation pass, where memory allows.
VALIDATION_BATCH = 512


class Measured(NamedTuple):
    """What a network does on images."""

    accuracy: float
    """Fraction of them that it classifies right; NaN if there are none."""
    loss: float
    """Mean cross-entropy, in nats; NaN if there are none."""
    found: Found
    """The same by class."""

    def value(self, metric: Metric) -> float:
        """What the metric says."""
        return self.accuracy if metric == "accuracy" else balanced_accuracy(self.found)


@dataclass(frozen=True, eq=False, kw_only=True)
class Trained:
    """A trained network and what is known of it."""

    graph: LayerGraph
    accuracy: float
    """Fraction of the validation images that it classifies right, after the last epoch; NaN if there are none."""
    loss: float
    """Mean cross-entropy on the validation images, in nats; NaN if there are none."""
    seconds: float
    """That it took, before a resume included."""
    losses: tuple[float, ...]
    """The mean training loss of each epoch, in nats."""
    found: Found = ()
    """For each class how many of its validation images it classifies right, and how many there are."""
    curve: tuple[float, ...] = ()
    """What the metric says after each epoch, where somebody decided whether it goes on."""
    stopped: bool = False
    """Whether it did not go on."""
    epochs: float = 0.0
    """Passes over the training images."""


class Trainer:
    """Trains networks on one data set.

    Args:
        data: The images. Test images are never looked at.
        strategy: Over how many devices each network is mirrored; the current one by default.

    Raises:
        InvalidConfiguration: If TensorFlow was used before this process was forked, or Keras's backend is another.
    """

    def __init__(self, data: ImageData, strategy: tf.distribute.Strategy | None = None) -> None:
        check_fork()
        check_backend()
        self._data = data
        self._loop = Loop(data.x_train, data.y_train, strategy or tf.distribute.get_strategy())
        self._validation = tf.constant(data.x_val), tf.constant(data.y_val)
        # Later less may be free, but what earlier trainings have left in this process is used again.
        self._free = own_memory()

    def train(
        self,
        graph: LayerGraph,
        recipe: Recipe,
        *,
        seed: int,
        on_epoch: OnEpoch | None = None,
        goes_on: GoesOn | None = None,
        on_state: OnState | None = None,
        resume_from: TrainingState | None = None,
    ) -> Trained:
        """Train a network, and validate it after the last epoch.

        Args:
            graph: The network, with the weights that it starts from. It is not changed.
            recipe: How to train it.
            seed: Decides the order of the images, the crops and the flips, and what is dropped.
            on_epoch: Told of each epoch's loss.
            goes_on: Asked after each epoch but the last; the network is validated for it each time.
            on_state: Told after each epoch but the last how to get the state, from which another training may go on.
            resume_from: Such a state, of a training of this network with this recipe and seed.

        Raises:
            TrainingDiverged: If the loss of an epoch is not finite.
            InvalidConfiguration: If a batch cannot be shared equally by the devices, or exceeds the images, or the
                state is another network's, or of the last epoch or a later one, or if TensorFlow was used before
                this process was forked, or Keras's backend is another.
            MemoryError: If there is not memory enough for one step, as far as that is known before it.
        """
        check_fork()
        check_backend()
        self._check_memory(graph, recipe.batch)
        start, seconds = time.perf_counter() - (resume_from.seconds if resume_from else 0.0), recipe.seconds
        step = self._step(graph, recipe)
        training = Training(
            self._loop,
            step,
            batch=recipe.batch,
            epochs=recipe.epochs,
            seed=seed,
            resume_from=resume_from,
            seconds_left=(lambda: seconds - (time.perf_counter() - start)) if seconds else None,
            after=VALIDATION_COST * len(self._validation[1]) / recipe.batch,
        )
        curve = resume_from.curve if resume_from else ()
        for loss in training:
            if on_epoch:
                on_epoch(training.epoch, loss)
            if goes_on or training.ended:
                step.weights.give_back()
                measured = self._validate(step.model, graph, recipe.batch // self._loop.replicas)
                curve += (measured.value(recipe.metric),)
            if training.ended or (goes_on and not goes_on(curve)):
                break
            if on_state:
                on_state(partial(training.state, curve=curve, seconds=time.perf_counter() - start))
        return Trained(
            graph=graph.with_weights_of(step.model),
            **measured._asdict(),
            seconds=time.perf_counter() - start,
            losses=training.losses,
            curve=curve if goes_on else (),
            stopped=not training.ended,
            epochs=training.passes,
        )

    def seconds_of_step(self, graph: LayerGraph, recipe: Recipe) -> float:
        """What a step of a network's training takes here, by a second of them."""
        check_fork()
        self._check_memory(graph, recipe.batch)
        step, end = self._step(graph, recipe), time.perf_counter() + PROBE_SECONDS
        take = self._loop.trace(step, batch=recipe.batch)
        seconds: list[float] = []
        while time.perf_counter() < end or len(seconds) < 3:
            before = time.perf_counter()
            float(take(0, 0, 0, Part(1, 0.0, 1.0)))
            seconds.append(time.perf_counter() - before)
        return median(seconds[1:])  # the first one is slower

    def evaluate(self, graph: LayerGraph) -> tuple[float, float]:
        """Accuracy (a fraction) and mean cross-entropy (nats) of a network on the validation images."""
        return self._validate(_logits_model(graph), graph)[:2]

    def _step(self, graph: LayerGraph, recipe: Recipe) -> CrossEntropyStep:
        """The step that trains a network, with its Keras model on the devices."""
        with self._loop.strategy.scope():
            model = _logits_model(with_dropout(graph, recipe.dropout), self._substitutes())
            return CrossEntropyStep(model, self._data, recipe)

    def _substitutes(self) -> dict[str, type[keras.layers.Layer]]:
        """What stands in for Keras's layers while a network is trained on these devices."""
        one = self._loop.replicas == 1
        substitutes: dict[str, type[keras.layers.Layer]] = {
            "Normalization": PixelNormalization,
            "BatchNormalization": FusedBatchNormalization if one else SynchronizedBatchNormalization,
        }
        if not one:
            return substitutes
        threads = tf.config.threading
        one_core_waits = threads.get_intra_op_parallelism_threads() == 1 < threads.get_inter_op_parallelism_threads()
        if one_core_waits and not tf.config.list_physical_devices("GPU"):
            substitutes["Conv2D"] = HalvedConv2D
        return substitutes

    def check_batch(self, batch: int) -> None:
        """Refuse a batch that the devices cannot share equally, or that exceeds the training images.

        Raises:
            InvalidConfiguration: Naming both numbers.
        """
        self._loop.check_batch(batch)

    def _check_memory(self, graph: LayerGraph, batch: int) -> None:
        """Refuse a step for which there is no memory, before the system ends this process in the midst of it.

        Raises:
            MemoryError: Naming both numbers.
        """
        # Backward, a plain network has been seen to need 1.2 of all values, a DenseNet 0.8.
        needed, free = 3 * step_memory(graph, batch) // 4, max(self._free, own_memory())
        if needed > free and not tf.config.list_physical_devices("GPU"):
            raise MemoryError(
                f"a step on {batch} image{'s' * (batch > 1)} needs at least {needed / 1e9:.2f} GB of memory, and "
                f"{free / 1e9:.2f} GB are free"
            )

    def _validate(self, model: keras.Model, graph: LayerGraph, trained: int = 1) -> Measured:
        return _measure(model, graph, *self._validation, trained)


def step_memory(graph: LayerGraph, batch: int) -> int:
    """Bytes of all values that a network computes in one step of training, forward."""
    return 4 * graph.values * batch


def evaluate(graph: LayerGraph, images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Accuracy (a fraction) and mean cross-entropy (nats) of a network on images, such as the test images.

    Args:
        graph: The network.
        images: Raw pixels, uint8 `[n, height, width, channels]`.
        labels: Their classes, int32 `[n]`.
    """
    return measure(graph, images, labels)[:2]


def measure(graph: LayerGraph, images: np.ndarray, labels: np.ndarray, trained: int = 1) -> Measured:
    """The same, and how many images of each class it finds."""
    return _measure(_logits_model(graph), graph, images, labels, trained)


def _measure(model: keras.Model, graph: LayerGraph, images: Any, labels: Any, trained: int = 1) -> Measured:
    # Traced, this would take five times as long on small networks, and as long on large ones: it runs once a child.
    right, losses = np.zeros(len(labels), bool), np.zeros(len(labels), np.float32)
    batch = graph.batch_in_memory(VALIDATION_BATCH, trained)
    for start in range(0, len(labels), batch):
        part = slice(start, start + batch)
        truth = labels[part]
        logits = model(tf.cast(images[part], tf.float32), training=False)
        right[part] = tf.argmax(logits, -1, tf.int32) == truth
        losses[part] = tf.nn.sparse_softmax_cross_entropy_with_logits(truth, logits)
    # In equal parts, however many images a call takes: the rounding of the sum is the same.
    parts = range(0, len(labels), VALIDATION_BATCH)
    total = sum(float(tf.reduce_sum(losses[start : start + VALIDATION_BATCH])) for start in parts)
    found = count_found(right, np.asarray(labels), model.output_shape[-1])
    return (
        Measured(float(right.mean()), total / len(labels), found) if len(right) else Measured(math.nan, math.nan, found)
    )


def _logits_model(graph: LayerGraph, substitutes: dict[str, type] | None = None) -> keras.Model:
    """The network without its closing softmax, whose cross-entropy is then computed without overflow."""
    (logits,) = graph[graph.outputs[0]].inputs
    return graph.until(logits).to_keras(substitutes)
