"""A network's weights as vectors, so that one operation reads, updates or keeps them all.

In a small network an operation for each of them takes as long as a convolution.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from eas_tf.errors import InvalidConfiguration
from eas_tf.training.dropout import dropout_seed
from eas_tf.training.recipe import Recipe


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainingState:
    """A training between two epochs: with its network, recipe and seed all that it takes to go on exactly."""

    epoch: int
    """Epochs that are over."""
    weights: np.ndarray
    """All trainable weights, one after the other, float32 `[parameters]`."""
    statistics: np.ndarray
    """All that is not trained, such as batch norm's moving mean and variance: float32, flat."""
    momentum: np.ndarray
    """Of each weight, float32 `[parameters]`."""
    losses: tuple[float, ...] = ()
    """The mean training loss of each epoch that is over, in nats."""
    curve: tuple[float, ...] = ()
    """The validation accuracy after each, where somebody decides by it whether the training goes on."""
    seconds: float = 0.0
    """That it took so far."""


class _Vector:
    """Variables of a model in one vector."""

    def __init__(self, variables: Sequence[keras.Variable], **options: Any) -> None:
        self._variables = variables
        self.value = tf.Variable(self.join([variable.value for variable in variables]), **options)

    def join(self, values: Sequence[tf.Tensor]) -> tf.Tensor:
        """A vector of the variables' values."""
        return tf.concat([tf.reshape(value, [-1]) for value in values] or [tf.zeros([0])], 0)

    def parts(self) -> list[tuple[keras.Variable, tf.Tensor]]:
        """Each variable with its part of the vector."""
        if not self._variables:
            return []
        parts = tf.split(self.value, [math.prod(variable.shape) for variable in self._variables])
        return [
            (variable, part if variable.shape.rank == 1 else tf.reshape(part, variable.shape))
            for variable, part in zip(self._variables, parts, strict=True)
        ]

    def move(self, scope: keras.StatelessScope) -> None:
        """Take over what the variables became in a scope."""
        self.value.assign(self.join([scope.get_current_value(variable) for variable in self._variables]))

    def give_back(self) -> None:
        """Write the vector into the variables."""
        for variable, part in self.parts():
            variable.assign(part)


class FlatWeights:
    """A model's weights, its moving statistics and the momentum of its weights, a vector each."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self.trainable = _Vector(model.trainable_variables)
        # Synchronised batch norm has the same statistics on all devices.
        first = tf.VariableAggregation.ONLY_FIRST_REPLICA
        self._statistics = _Vector(model.non_trainable_variables, trainable=False, aggregation=first)
        self.momentum = tf.Variable(tf.zeros_like(self.trainable.value), trainable=False)

    def call(self, batch: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        """The logits in training mode, in which batch norm moves its statistics, and dropout drops by the seed."""
        state = self.trainable.parts() + self._statistics.parts()
        with dropout_seed(seed), keras.StatelessScope(state_mapping=state) as scope:
            logits = self._model(batch, training=True)
        self._statistics.move(scope)
        return logits

    def state(self, **told: Any) -> TrainingState:
        """Where the training is, with what is told of its epochs."""
        weights, statistics, momentum = (each.numpy() for each in self._vectors)
        return TrainingState(weights=weights, statistics=statistics, momentum=momentum, **told)

    def restore(self, state: TrainingState, recipe: Recipe) -> int:
        """Take over a state; the number of epochs that are over.

        Raises:
            InvalidConfiguration: If it is another network's, or leaves no epoch to train.
        """
        values = state.weights, state.statistics, state.momentum
        expected, received = [list(each.shape) for each in self._vectors], [list(each.shape) for each in values]
        if expected != received or not 0 < state.epoch < recipe.epochs:
            raise InvalidConfiguration(
                f"The state of a training must be of the same network, after 1 to {recipe.epochs - 1} epochs. Expected "
                f"vectors of {expected}. Received: {received}, after {state.epoch} epochs"
            )
        for vector, value in zip(self._vectors, values, strict=True):
            vector.assign(value)
        return state.epoch

    @property
    def _vectors(self) -> tuple[tf.Variable, tf.Variable, tf.Variable]:
        return self.trainable.value, self._statistics.value, self.momentum

    def give_back(self) -> None:
        """Write all but the momentum into the model's variables."""
        self.trainable.give_back()
        self._statistics.give_back()


def nesterov_update(
    strategy: tf.distribute.Strategy, weights: Any, momentum: Any, gradient: tf.Tensor, rate: tf.Tensor, recipe: Recipe
) -> None:
    """Nesterov SGD with L2 on the gradient summed over all replicas; each replica updates its own copy."""

    def update(weights: Any, momentum: Any, gradient: tf.Tensor, rate: tf.Tensor) -> None:
        tf.raw_ops.ResourceApplyMomentum(
            var=weights.handle,
            accum=momentum.handle,
            lr=rate,
            grad=gradient + recipe.weight_decay * weights,
            momentum=recipe.momentum,
            use_nesterov=True,
        )

    extended = strategy.extended
    summed = extended.reduce_to(tf.distribute.ReduceOp.SUM, gradient, weights)
    extended.update(weights, update, args=(momentum, summed, rate), group=False)
