"""What one step of a training does: how a `Step` looks to the loop, and the step of the paper."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import keras
import tensorflow as tf

from eas_tf.data import ImageData
from eas_tf.metrics import balancing
from eas_tf.training.augmentation import augment
from eas_tf.training.flat_weights import FlatWeights, nesterov_update
from eas_tf.training.recipe import Recipe


@dataclass(frozen=True, eq=False, kw_only=True)
class Shard:
    """One replica's share of one step, within the graph."""

    images: tf.Tensor
    """All training images, uint8 `[n, height, width, channels]`."""
    labels: tf.Tensor
    """Their classes, int32 `[n]`."""
    indices: tf.Tensor
    """The images of this share of the batch, int32 `[batch / replicas]`."""
    seed: tf.Tensor
    """The seed of the training, and the number of the epoch from 0: int32 `[2]`. It is the same on all replicas."""
    number: tf.Tensor
    """The number of the step in its epoch, from 0: int32."""
    cosine: tf.Tensor
    """Falls from 1 in the first step of the training to 0 after the last, along half a cosine: float32."""

    def gather(self, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The images, float32 `[m, height, width, channels]`, and labels of indices `[m]`."""
        return tf.cast(tf.gather(self.images, indices), tf.float32), tf.gather(self.labels, indices)

    def fold(self) -> tf.Tensor:
        """A seed that no other replica, step or epoch has: int32 `[2]`.

        It is `seed` with a number from 0 folded in. Negative numbers are free, such as for draws that replicas share.
        """
        context = tf.distribute.get_replica_context()
        number = self.number * context.num_replicas_in_sync + context.replica_id_in_sync_group
        return tf.random.experimental.stateless_fold_in(self.seed, number)


class Step(Protocol):
    """What one step of a training does, and all that it changes.

    It is made within the scope of the loop's strategy. Each replica changes its own copy of a variable, through the
    variable's handle or, if all assign the same value, by `tf.VariableAggregation.ONLY_FIRST_REPLICA`.
    """

    @property
    def indices(self) -> tf.Tensor:
        """The training images that each epoch passes over once, int32 `[m]`; a step may read others besides."""

    @property
    def variables(self) -> Mapping[str, tf.Variable]:
        """All that a step changes, by name, such as weights and an optimizer's moments: what a checkpoint keeps."""

    def __call__(self, shard: Shard) -> tf.Tensor:
        """Do one replica's share of a step. It is traced once.

        Returns:
            This share of the batch's loss, float32: the sum over all replicas is the loss.
        """


def sum_over_replicas(gradient: tf.Tensor) -> tf.Tensor:
    """The sum of what all replicas give, on each of them.

    `all_reduce` would give the same, and keep each graph in which it is used for ever: it is made to be differentiated,
    and TensorFlow never forgets a gradient function.
    """
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return gradient

    def summed(strategy: tf.distribute.Strategy, each: tf.Tensor) -> tf.Tensor:
        return strategy.extended.reduce_to(tf.distribute.ReduceOp.SUM, each, each)

    return context.merge_call(summed, args=(gradient,))


class CrossEntropyStep:
    """Nesterov SGD on the cross-entropy of one batch, with L2.

    Args:
        model: Gives the logits; made within the scope of the strategy.
        data: The images.
        recipe: How it is trained.
    """

    def __init__(self, model: keras.Model, data: ImageData, recipe: Recipe) -> None:
        self.model, self._recipe = model, recipe
        self.weights = FlatWeights(model)
        self.indices = tf.range(len(data.x_train))
        self._momentum = tf.Variable(tf.zeros_like(self.weights.trainable.value), trainable=False)
        self._mean = tf.constant(data.mean, tf.float32)
        self._class_weights = tf.constant(balancing(data.y_train, data.classes), tf.float32)

    @property
    def variables(self) -> dict[str, tf.Variable]:
        """The weights, the moving statistics and the momentum, a vector each."""
        return {**self.weights.variables, "momentum": self._momentum}

    def __call__(self, shard: Shard) -> tf.Tensor:
        """Forward, backward, update."""
        recipe, weights = self._recipe, self.weights.trainable.value
        images, labels = shard.gather(shard.indices)
        seed = shard.fold() if recipe.crop_and_flip or recipe.cutout or recipe.dropout else shard.seed
        images = augment(images, self._mean, recipe, seed)
        with tf.GradientTape() as tape:
            logits = self.weights.call(images, seed + 4 if recipe.dropout else None)
            loss = tf.reduce_sum(self._losses(logits, labels)) / recipe.batch
        gradient = sum_over_replicas(tape.gradient(loss, weights))
        nesterov_update(
            weights,
            self._momentum,
            gradient + recipe.weight_decay * weights,
            rate=recipe.learning_rate * shard.cosine,
            decay=recipe.momentum,
        )
        return loss

    def _losses(self, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        losses = cross_entropy(logits, labels, self._recipe.label_smoothing)
        return losses * tf.gather(self._class_weights, labels) if self._recipe.metric == "balanced_accuracy" else losses


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor, smoothing: float = 0.0) -> tf.Tensor:
    """The cross-entropy of each image `[n]` with its label, of which a share is spread evenly over all classes."""
    if not smoothing:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    classes = logits.shape[-1]
    targets = tf.one_hot(labels, classes, 1 - smoothing + smoothing / classes, smoothing / classes)
    return tf.nn.softmax_cross_entropy_with_logits(targets, logits)
