"""The loop around the steps of a training: order of the images, cosine, replicas, epochs, and how it goes on.

Keras's `fit` spends seconds on tracing and then twice the time of this loop on each epoch of a small network. Here
the images live on the devices as bytes, and one call of one graph is one epoch. What a step does is one object
(`steps.py`).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from eas_tf.errors import InvalidConfiguration, TrainingDiverged
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

    def trace(self, step: Step, *, batch: int, epochs: int) -> Callable[[tf.Tensor], tf.Tensor]:
        """Give what does all steps of one epoch.

        Args:
            step: What a step does.
            batch: Images in one step, over all devices together.
            epochs: Of the whole training, over which the cosine falls.

        Returns:
            A function of seed and epoch, int32 `[2]`, to the mean loss of the steps.

        Raises:
            InvalidConfiguration: If the batch cannot be shared equally by the devices, or exceeds the step's images.
        """
        self.check_batch(batch, len(step.indices))
        steps = len(step.indices) // batch
        replica_step = self._replica_step(step, batch, steps, epochs)

        @tf.function(autograph=False, jit_compile=False)
        def epoch(images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
            """One pass over the shuffled images; the rest that fills no batch waits for another shuffle."""
            order = tf.random.experimental.stateless_shuffle(step.indices, seed)

            def one_step(number: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                losses = self.strategy.run(replica_step, args=(images, labels, order, number, seed))
                return number + 1, total + self.strategy.reduce("SUM", losses, axis=None)

            _, total = tf.while_loop(lambda number, _: number < steps, one_step, (0, 0.0), parallel_iterations=1)
            return total / steps

        # One trace serves all epochs. Asking for it also keeps TensorFlow from warning of the next child's.
        trace = epoch.get_concrete_function(*self._arrays, tf.TensorSpec([2], tf.int32))
        return lambda seed: trace(*self._arrays, seed)

    def _replica_step(self, step: Step, batch: int, steps: int, epochs: int) -> Callable[..., tf.Tensor]:
        """What one replica does in one step, given the whole set, the order of the epoch and the step's number."""
        share = batch // self.replicas

        def replica_step(
            images: tf.Tensor, labels: tf.Tensor, order: tf.Tensor, number: tf.Tensor, seed: tf.Tensor
        ) -> tf.Tensor:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            indices = tf.slice(order, [number * batch + replica * share], [share])
            progress = tf.cast(seed[1] * steps + number, tf.float32) / (epochs * steps)
            cosine = 0.5 * (1 + tf.cos(math.pi * progress))
            shard = Shard(images=images, labels=labels, indices=indices, seed=seed, number=number, cosine=cosine)
            return step(shard)

        return replica_step


class Training:
    """One training in a loop: each turn of an iteration over it trains for an epoch and gives the mean loss.

    Args:
        loop: The images and devices.
        step: What a step does.
        batch: Images in one step, over all devices together.
        epochs: When it ends.
        seed: Decides the order of the images and, as far as the step draws from it, all else.
        resume_from: Where such a training was. It goes on from there.

    Raises:
        InvalidConfiguration: If the batch cannot be shared equally by the devices or exceeds the step's images, or the
            state is of other variables, or of the last epoch or a later one.
    """

    def __init__(
        self, loop: Loop, step: Step, *, batch: int, epochs: int, seed: int, resume_from: TrainingState | None = None
    ) -> None:
        self._step, self._epochs, self._seed = step, epochs, seed
        self._train_epoch = loop.trace(step, batch=batch, epochs=epochs)
        self.losses: tuple[float, ...] = ()
        self.epoch = 0
        if resume_from:
            self._restore(resume_from)

    @property
    def ended(self) -> bool:
        """Whether no epoch is left."""
        return self.epoch == self._epochs

    def __iter__(self) -> Iterator[float]:
        """Train for the epochs that are left.

        Raises:
            TrainingDiverged: If the loss of an epoch is not finite.
        """
        while not self.ended:
            loss = float(self._train_epoch(tf.constant([self._seed, self.epoch], tf.int32)))
            self.epoch += 1
            if not math.isfinite(loss):
                raise TrainingDiverged(f"The loss was {loss} in epoch {self.epoch} of {self._epochs}.")
            self.losses += (loss,)
            yield loss

    def state(self, *, curve: tuple[float, ...] = (), seconds: float = 0.0) -> TrainingState:
        """A copy of where the training is, with what is told of it."""
        variables = {name: variable.numpy() for name, variable in self._step.variables.items()}
        return TrainingState(epoch=self.epoch, variables=variables, losses=self.losses, curve=curve, seconds=seconds)

    def _restore(self, state: TrainingState) -> None:
        expected = {name: list(variable.shape) for name, variable in self._step.variables.items()}
        received = {name: list(value.shape) for name, value in state.variables.items()}
        if expected != received or not 0 < state.epoch < self._epochs:
            raise InvalidConfiguration(
                f"The state of a training must be of the same network, after 1 to {self._epochs - 1} epochs. Expected "
                f"variables of shapes {expected}. Received: {received}, after {state.epoch} epochs"
            )
        for name, variable in self._step.variables.items():
            variable.assign(state.variables[name])
        self.epoch, self.losses = state.epoch, state.losses
