"""A network's weights as vectors, so that one operation reads, updates or keeps them all.

In a small network an operation for each of them takes as long as a convolution.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from eas_tf.training.dropout import dropout_seed


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
    """A model's weights and its moving statistics, a vector each."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self.trainable = _Vector(model.trainable_variables)
        # Synchronised batch norm has the same statistics on all devices.
        first = tf.VariableAggregation.ONLY_FIRST_REPLICA
        self._statistics = _Vector(model.non_trainable_variables, trainable=False, aggregation=first)

    def call(self, batch: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        """The logits in training mode, in which batch norm moves its statistics, and dropout drops by the seed."""
        state = self.trainable.parts() + self._statistics.parts()
        with dropout_seed(seed), keras.StatelessScope(state_mapping=state) as scope:
            logits = self._model(batch, training=True)
        self._statistics.move(scope)
        return logits

    @property
    def variables(self) -> dict[str, tf.Variable]:
        """The two vectors, by name."""
        return {"weights": self.trainable.value, "statistics": self._statistics.value}

    def give_back(self) -> None:
        """Write both into the model's variables."""
        self.trainable.give_back()
        self._statistics.give_back()


def nesterov_update(
    weights: tf.Variable, momentum: tf.Variable, gradient: tf.Tensor, *, rate: tf.Tensor, decay: float
) -> None:
    """Nesterov SGD on this replica's copy of a vector.

    Args:
        weights: float32 `[n]`.
        momentum: Of each weight, float32 `[n]`.
        gradient: float32 `[n]`, summed over all replicas.
        rate: The learning rate.
        decay: What is left of the momentum after a step.
    """
    tf.raw_ops.ResourceApplyMomentum(
        var=weights.handle, accum=momentum.handle, lr=rate, grad=gradient, momentum=decay, use_nesterov=True
    )
