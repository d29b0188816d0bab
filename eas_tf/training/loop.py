"""The loop around the steps of a training: order of the images, cosine, replicas, epochs, and how it goes on.

Keras's `fit` spends seconds on tracing and then twice the time of this loop on each epoch of a small network. Here
the images live on the devices as bytes, and one call of one graph is one epoch. What a step does is one object
(`steps.py`).
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from eas_tf.errors import InvalidConfiguration, TrainingDiverged
from eas_tf.training.pace import Deadline, Epochs, Pace, Part
from eas_tf.training.steps import Shard, Step


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainingState:
    """A training between two epochs: with its step, batch and seed all that it takes to go on exactly."""

    epoch: int
    """Epochs that are over."""
    variables: Mapping[str, np.ndarray]
    """What the step's variables are, by name."""
    losses: tuple[float, ...] = ()
    """The mean training loss of each epoch that is over, in nats."""
    curve: tuple[float, ...] = ()
    """The validation accuracy after each, where somebody decides by it whether the training goes on."""
    seconds: float = 0.0
    """That it took so far."""
    progress: float = 0.0
    """How far the cosine of a training with a deadline has fallen, from 0 to 1."""


class Loop:
    """The devices, with all training images on each of them, and the epochs over these.

    Args:
        images: All training images, uint8 `[n, height, width, channels]`.
        labels: Their classes, int32 `[n]`.
        strategy: Over how many devices each step is mirrored.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, strategy: tf.distribute.Strategy) -> None:
        self.strategy, self._count = strategy, len(images)
        self._arrays = self._on_devices(images), self._on_devices(labels)

    @property
    def replicas(self) -> int:
        """The number of devices."""
        return self.strategy.num_replicas_in_sync

    def _on_devices(self, array: np.ndarray) -> Any:
        """The array on each replica's device, copied once."""
        if self.replicas == 1:
            return tf.constant(array)
        return self.strategy.experimental_distribute_values_from_function(lambda _: tf.constant(array))

    def check_batch(self, batch: int, images: int | None = None) -> None:
        """Refuse a batch that the devices cannot share equally, or that exceeds the images of an epoch.

        Args:
            batch: Images in one step, over all devices together.
            images: How many an epoch passes over; all by default.

        Raises:
            InvalidConfiguration: Naming both numbers.
        """
        images = self._count if images is None else images
        if batch % self.replicas or batch > images:
            raise InvalidConfiguration(
                f"`batch` must be a multiple of the {self.replicas} devices, and at most the {images} training images. "
                f"Received: {batch}"
            )

    def trace(self, step: Step, *, batch: int) -> Callable[[int, int, int, Part], tf.Tensor]:
        """Give what does steps of one epoch.

        Args:
            step: What a step does.
            batch: Images in one step, over all devices together.

        Returns:
            A function of the training's seed, the epoch's number, the first step in it and what is done from there, to
            the mean loss of the steps. In each epoch all steps together pass over the shuffled images once; the rest
            that fills no batch waits for another shuffle.

        Raises:
            InvalidConfiguration: If the batch cannot be shared equally by the devices, or exceeds the step's images.
        """
        self.check_batch(batch, len(step.indices))
        replica_step = self._replica_step(step, batch)

        @tf.function(autograph=False, jit_compile=False)
        def part(
            images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, ends: tf.Tensor, cosine: tf.Tensor
        ) -> tf.Tensor:
            order = tf.random.experimental.stateless_shuffle(step.indices, seed)
            first, last = ends[0], ends[1]

            def one_step(number: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                progress = (cosine[0] + tf.cast(number - first, tf.float32)) / cosine[1]
                losses = self.strategy.run(replica_step, args=(images, labels, order, number, seed, progress))
                return number + 1, total + self.strategy.reduce("SUM", losses, axis=None)

            _, total = tf.while_loop(lambda number, _: number < last, one_step, (first, 0.0), parallel_iterations=1)
            return total / tf.cast(last - first, tf.float32)

        # One trace serves all epochs. Asking for it also keeps TensorFlow from warning of the next child's.
        two = tf.TensorSpec([2], tf.int32)
        trace = part.get_concrete_function(*self._arrays, two, two, tf.TensorSpec([2], tf.float32))

        def take(seed: int, epoch: int, first: int, steps: Part) -> tf.Tensor:
            return trace(
                *self._arrays,
                tf.constant([seed, epoch], tf.int32),
                tf.constant([first, first + steps.steps], tf.int32),
                tf.constant([steps.done, steps.total], tf.float32),
            )

        return take

    def _replica_step(self, step: Step, batch: int) -> Callable[..., tf.Tensor]:
        """What one replica does in one step, given the whole set, the order of the epoch and the step's number."""
        share = batch // self.replicas

        def replica_step(
            images: tf.Tensor,
            labels: tf.Tensor,
            order: tf.Tensor,
            number: tf.Tensor,
            seed: tf.Tensor,
            progress: tf.Tensor,
        ) -> tf.Tensor:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            indices = tf.slice(order, [number * batch + replica * share], [share])
            cosine = 0.5 * (1 + tf.cos(math.pi * progress))
            shard = Shard(images=images, labels=labels, indices=indices, seed=seed, number=number, cosine=cosine)
            return step(shard)

        return replica_step


class Training:
    """One training in a loop: each turn of an iteration over it trains for an epoch and gives the mean loss.

    A deadline may end it within an epoch.

    Attributes:
        epoch: How many there were, the last one maybe a part of one.
        passes: The same in passes over the training images.
        losses: The mean loss of each.

    Args:
        loop: The images and devices.
        step: What a step does.
        batch: Images in one step, over all devices together.
        epochs: When it ends.
        seed: Decides the order of the images and, as far as the step draws from it, all else.
        resume_from: Where such a training was. It goes on from there.
        seconds_left: Of a training that ends with its time, and not after so many epochs.
        after: See `Deadline`.

    Raises:
        InvalidConfiguration: If the batch cannot be shared equally by the devices or exceeds the step's images, or the
            state is of other variables, or of the last epoch or a later one.
    """

    def __init__(
        self,
        loop: Loop,
        step: Step,
        *,
        batch: int,
        epochs: int,
        seed: int,
        resume_from: TrainingState | None = None,
        seconds_left: Callable[[], float] | None = None,
        after: float = 0.0,
    ) -> None:
        self._step, self._seed = step, seed
        self._last = math.inf if seconds_left else epochs
        self._take, self._steps = loop.trace(step, batch=batch), len(step.indices) // batch
        self.losses: tuple[float, ...] = ()
        self.epoch, self.passes, progress = 0, 0.0, 0.0
        if resume_from:
            self._restore(resume_from)
            progress = resume_from.progress
        self._pace: Pace = Epochs(epochs, self._steps, self.epoch)
        if seconds_left:
            self._pace = Deadline(seconds_left, after=after, progress=progress)
        self._next = self._pace.next(self._steps)

    @property
    def ended(self) -> bool:
        """Whether no step is left."""
        return self._next is None

    def __iter__(self) -> Iterator[float]:
        """Train for the epochs that are left.

        Raises:
            TrainingDiverged: If the loss of an epoch is not finite.
        """
        while self._next:
            loss = self._epoch()
            self.epoch += 1
            if not math.isfinite(loss):
                of = "" if math.isinf(self._last) else f" of {self._last}"
                raise TrainingDiverged(f"The loss was {loss} in epoch {self.epoch}{of}.")
            self.losses += (loss,)
            yield loss

    def _epoch(self) -> float:
        """The mean loss of one epoch, or of what a deadline leaves of it."""
        losses, first = [], 0
        while self._next and first < self._steps:
            part, before = self._next, time.perf_counter()
            losses.append((float(self._take(self._seed, self.epoch, first, part)), part.steps))
            self._pace.took(part, time.perf_counter() - before)
            first += part.steps
            self._next = self._pace.next(self._steps - first or self._steps)
        self.passes = self.epoch + first / self._steps
        return losses[0][0] if len(losses) == 1 else sum(loss * steps for loss, steps in losses) / first

    def state(self, *, curve: tuple[float, ...] = (), seconds: float = 0.0) -> TrainingState:
        """A copy of where the training is, with what is told of it."""
        variables = {name: variable.numpy() for name, variable in self._step.variables.items()}
        return TrainingState(
            epoch=self.epoch,
            variables=variables,
            losses=self.losses,
            curve=curve,
            seconds=seconds,
            progress=self._pace.progress,
        )

    def _restore(self, state: TrainingState) -> None:
        expected = {name: list(variable.shape) for name, variable in self._step.variables.items()}
        received = {name: list(value.shape) for name, value in state.variables.items()}
        if expected != received or not 0 < state.epoch < self._last:
            raise InvalidConfiguration(
                f"The state of a training must be of the same network, after 1 to {self._last - 1} epochs. Expected "
                f"variables of shapes {expected}. Received: {received}, after {state.epoch} epochs"
            )
        for name, variable in self._step.variables.items():
            variable.assign(state.variables[name])
        self.epoch, self.losses = state.epoch, state.losses
