"""Train one network at a time, with as little as possible around the arithmetic.

Keras's `fit` spends seconds on tracing and then twice the time of this loop on each epoch of a small network. Here
the images live on the device as bytes, and one call of one graph is one epoch.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from eas_tf.backend import check_backend
from eas_tf.data import ImageData
from eas_tf.errors import InvalidConfiguration, TrainingDiverged
from eas_tf.machine import own_memory
from eas_tf.metrics import Found, Metric, balanced_accuracy, balancing, count_found
from eas_tf.surgery import LayerGraph
from eas_tf.training.augmentation import crop_and_flip, cutout
from eas_tf.training.dropout import with_dropout
from eas_tf.training.flat_weights import FlatWeights, TrainingState, nesterov_update
from eas_tf.training.forks import check_fork
from eas_tf.training.kernels import (
    FusedBatchNormalization,
    HalvedConv2D,
    PixelNormalization,
    SynchronizedBatchNormalization,
)
from eas_tf.training.recipe import Recipe

#: Called after each epoch with its number from 1, and the mean training loss.
OnEpoch = Callable[[int, float], None]

#: Decides after each epoch, from what the recipe's metric says after each so far, whether a training goes on.
GoesOn = Callable[[Sequence[float]], bool]

#: Called after each epoch but the last with what gives the training's state, which takes as long as copying it.
OnState = Callable[[Callable[[], TrainingState]], None]

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
        self._strategy = strategy or tf.distribute.get_strategy()
        self._images, self._labels = self._on_devices(data.x_train), self._on_devices(data.y_train)
        self._validation = tf.constant(data.x_val), tf.constant(data.y_val)
        # Later less may be free, but what earlier trainings have left in this process is used again.
        self._free = own_memory()

    def _on_devices(self, array: np.ndarray) -> Any:
        """The array on each replica's device, copied once."""
        if self._replicas == 1:
            return tf.constant(array)
        return self._strategy.experimental_distribute_values_from_function(lambda _: tf.constant(array))

    @property
    def _replicas(self) -> int:
        return self._strategy.num_replicas_in_sync

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
        start = time.perf_counter()
        model, weights, epoch = self._prepare(graph, recipe)
        first = weights.restore(resume_from, recipe) if resume_from else 0
        losses = list(resume_from.losses) if resume_from else []
        curve = list(resume_from.curve) if resume_from else []
        start -= resume_from.seconds if resume_from else 0.0
        for number in range(first, recipe.epochs):
            loss = float(epoch(tf.constant([seed, number], tf.int32)))
            if not math.isfinite(loss):
                raise TrainingDiverged(f"The loss was {loss} in epoch {number + 1} of {recipe.epochs}.")
            losses.append(loss)
            if on_epoch:
                on_epoch(number + 1, loss)
            last = number + 1 == recipe.epochs
            if goes_on or last:
                weights.give_back()
                measured = self._validate(model, graph, recipe.batch // self._replicas)
                curve.append(measured.value(recipe.metric))
            if goes_on and not last and not goes_on(curve):
                break
            if on_state and not last:
                told = {"losses": tuple(losses), "curve": tuple(curve), "seconds": time.perf_counter() - start}
                on_state(partial(weights.state, epoch=number + 1, **told))
        return Trained(
            graph=graph.with_weights_of(model),
            accuracy=measured.accuracy,
            loss=measured.loss,
            found=measured.found,
            seconds=time.perf_counter() - start,
            losses=tuple(losses),
            curve=tuple(curve) if goes_on else (),
            stopped=not last,
        )

    def evaluate(self, graph: LayerGraph) -> tuple[float, float]:
        """Accuracy (a fraction) and mean cross-entropy (nats) of a network on the validation images."""
        return self._validate(_logits_model(graph), graph)[:2]

    def _prepare(
        self, graph: LayerGraph, recipe: Recipe
    ) -> tuple[keras.Model, FlatWeights, Callable[[tf.Tensor], tf.Tensor]]:
        """The Keras model on the devices, its weights, and what trains it for one epoch, given seed and epoch `[2]`."""
        self.check_batch(recipe.batch)
        with self._strategy.scope():
            model = _logits_model(with_dropout(graph, recipe.dropout), self._substitutes())
            weights = FlatWeights(model)
        steps = len(self._data.x_train) // recipe.batch
        step = self._step_function(weights, recipe, steps)

        @tf.function(autograph=False, jit_compile=False)
        def epoch(images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
            """One pass over the shuffled images; the rest that fills no batch waits for another shuffle."""
            order = tf.random.experimental.stateless_shuffle(tf.range(len(self._data.x_train)), seed)

            def one_step(index: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                losses = self._strategy.run(step, args=(images, labels, order, index, seed))
                return index + 1, total + self._strategy.reduce("SUM", losses, axis=None)

            _, total = tf.while_loop(lambda i, _: i < steps, one_step, (0, 0.0), parallel_iterations=1)
            return total / steps

        # One trace serves all epochs. Asking for it also keeps TensorFlow from warning of the next child's.
        trace = epoch.get_concrete_function(self._images, self._labels, tf.TensorSpec([2], tf.int32))
        return model, weights, lambda seed: trace(self._images, self._labels, seed)

    def _substitutes(self) -> dict[str, type[keras.layers.Layer]]:
        """What stands in for Keras's layers while a network is trained on these devices."""
        substitutes: dict[str, type[keras.layers.Layer]] = {
            "Normalization": PixelNormalization,
            "BatchNormalization": FusedBatchNormalization if self._replicas == 1 else SynchronizedBatchNormalization,
        }
        if self._replicas > 1:
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
        if batch % self._replicas or batch > len(self._data.x_train):
            raise InvalidConfiguration(
                f"A batch must be a multiple of the {self._replicas} devices, and at most the "
                f"{len(self._data.x_train)} training images. Received: {batch}"
            )

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

    def _step_function(self, weights: FlatWeights, recipe: Recipe, steps: int) -> Callable[..., tf.Tensor]:
        """What one replica does in one step: its share of the batch, forward, backward, update."""
        share = recipe.batch // self._replicas
        mean = tf.constant(self._data.mean, tf.float32)
        class_weights = tf.constant(balancing(self._data.y_train, self._data.classes), tf.float32)

        def step(
            images: tf.Tensor, labels: tf.Tensor, order: tf.Tensor, index: tf.Tensor, seed: tf.Tensor
        ) -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            replica = context.replica_id_in_sync_group
            chosen = tf.slice(order, [index * recipe.batch + replica * share], [share])
            batch = tf.cast(tf.gather(images, chosen), tf.float32)
            fold = seed
            if recipe.crop_and_flip or recipe.cutout or recipe.dropout:
                fold = tf.random.experimental.stateless_fold_in(seed, index * self._replicas + replica)
                batch = crop_and_flip(batch, mean, fold) if recipe.crop_and_flip else batch
                batch = cutout(batch, mean, recipe.cutout, fold + 2) if recipe.cutout else batch
            with tf.GradientTape() as tape:
                logits = weights.call(batch, fold + 4 if recipe.dropout else None)
                truth = tf.gather(labels, chosen)
                losses = _losses(logits, truth, recipe.label_smoothing)
                losses = losses * tf.gather(class_weights, truth) if recipe.metric == "balanced_accuracy" else losses
                loss = tf.reduce_sum(losses) / recipe.batch
            vector = weights.trainable.value
            gradient = tape.gradient(loss, vector)
            progress = (tf.cast(seed[1] * steps + index, tf.float32)) / (recipe.epochs * steps)
            rate = recipe.learning_rate * 0.5 * (1 + tf.cos(math.pi * progress))
            context.merge_call(nesterov_update, args=(vector, weights.momentum, gradient, rate, recipe))
            return loss

        return step

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


def _losses(logits: tf.Tensor, labels: tf.Tensor, smoothing: float) -> tf.Tensor:
    """The cross-entropy of each image `[n]` with its label, of which a share is spread evenly over all classes."""
    if not smoothing:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    classes = logits.shape[-1]
    targets = tf.one_hot(labels, classes, 1 - smoothing + smoothing / classes, smoothing / classes)
    return tf.nn.softmax_cross_entropy_with_logits(targets, logits)


def _logits_model(graph: LayerGraph, substitutes: dict[str, type] | None = None) -> keras.Model:
    """The network without its closing softmax, whose cross-entropy is then computed without overflow."""
    (logits,) = graph[graph.outputs[0]].inputs
    return graph.until(logits).to_keras(substitutes)
