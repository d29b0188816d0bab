"""The loop with a step of another kind: two optimizers on two halves of the images, as a gradient-based search has."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from eas_tf import data
from eas_tf.errors import InvalidConfiguration
from eas_tf.training.checkpoint import Checkpoint
from eas_tf.training.flat_weights import FlatWeights, nesterov_update
from eas_tf.training.loop import Loop, Training
from eas_tf.training.steps import Shard, cross_entropy, sum_over_replicas
from eas_tf.training.strategy import make_strategy

#: Of the weights' rate of learning, and the norm of their gradient at most.
RATE, FLOOR, CLIP = 0.05, 0.001, 0.5
#: Of the logits.
ADAM_RATE = 0.02


class Alternation:
    """A step on the weights with a batch of the first half, then one on the logits with a batch of the second half.

    The weights have Nesterov SGD, a clipped gradient and a cosine down to a floor; the logits, of which operation there
    should be more, have Adam. A third operation's loss counts besides.
    """

    def __init__(self, images, adam_rate):
        keras.utils.set_random_seed(0)
        x = inputs = keras.Input(images.x_train.shape[1:])
        x = keras.layers.Rescaling(1 / 16)(x)
        branches = [keras.layers.Conv2D(4, size, padding="same", activation="relu")(x) for size in (1, 3, 5)]
        self.weights = FlatWeights(
            keras.Model(inputs, [keras.layers.Dense(10)(keras.layers.Flatten()(branch)) for branch in branches])
        )
        self.indices, self._second = np.split(np.arange(len(images.x_train), dtype=np.int32), 2)
        self._adam_rate = adam_rate
        vector = self.weights.trainable.value
        self._momentum = tf.Variable(tf.zeros_like(vector), trainable=False)
        self._logits = tf.Variable([0.0, 0.0])
        self._moments = [tf.Variable([0.0, 0.0], trainable=False) for _ in range(2)]
        first = tf.VariableAggregation.ONLY_FIRST_REPLICA
        self._count = tf.Variable(0, trainable=False, aggregation=first)

    @property
    def variables(self):
        mean, square = self._moments
        adam = {"logits": self._logits, "mean": mean, "square": square, "count": self._count}
        return {**self.weights.variables, "momentum": self._momentum, **adam}

    def __call__(self, shard: Shard):
        # The same draw on all replicas; other images of the second half on each.
        common = tf.random.experimental.stateless_fold_in(shard.seed, -1 - shard.number)
        noise = tf.random.stateless_uniform([2, 2], common, 1e-6, 1)
        drawn = tf.random.stateless_uniform(shard.indices.shape, shard.fold(), 0, len(self._second), tf.int32)
        vector = self.weights.trainable.value
        loss, gradient = self._gradient(shard, shard.indices, noise[0], vector)
        _, of_logits = self._gradient(shard, tf.gather(self._second, drawn), noise[1], self._logits)
        rate = FLOOR + (RATE - FLOOR) * shard.cosine
        nesterov_update(vector, self._momentum, tf.clip_by_norm(gradient, CLIP), rate=rate, decay=0.9)
        self._adam(of_logits)
        return loss

    def _gradient(self, shard, indices, noise, variable):
        images, labels = shard.gather(indices)
        with tf.GradientTape() as tape:
            *operations, auxiliary = self.weights.call(images, None)
            share = tf.nn.softmax(self._logits - tf.math.log(-tf.math.log(noise)))
            mixed = share[0] * operations[0] + share[1] * operations[1]
            losses = cross_entropy(mixed, labels) + 0.4 * cross_entropy(auxiliary, labels)
            replicas = tf.distribute.get_replica_context().num_replicas_in_sync
            loss = tf.reduce_mean(losses) / replicas
        return loss, sum_over_replicas(tape.gradient(loss, variable))

    def _adam(self, gradient):
        self._count.assign_add(1)
        powers = [beta ** tf.cast(self._count, tf.float32) for beta in (0.5, 0.999)]
        mean, square = (moment.handle for moment in self._moments)
        tf.raw_ops.ResourceApplyAdam(
            var=self._logits.handle, m=mean, v=square, beta1_power=powers[0], beta2_power=powers[1],
            lr=self._adam_rate, beta1=0.5, beta2=0.999, epsilon=1e-8, grad=gradient,
        )  # fmt: skip


@pytest.fixture(scope="module")
def images():
    digits = data.load("digits")
    return replace(digits, x_train=digits.x_train[:128], y_train=digits.y_train[:128])


@pytest.fixture(scope="module", params=["single", "mirrored"])
def loop(request, images):
    return Loop(images.x_train, images.y_train, make_strategy(request.param))


def alternation(loop, images, adam_rate=ADAM_RATE):
    with loop.strategy.scope():
        return Alternation(images, adam_rate)


def training(loop, step, **options):
    return Training(loop, step, **{"batch": 16, "epochs": 4, "seed": 3, **options})


def end(training):
    list(training)
    return training.state().variables


def test_a_network_learns_by_two_optimizers_on_two_halves(loop, images):
    trained = training(loop, alternation(loop, images))
    variables = end(trained)
    assert trained.ended
    assert trained.losses[-1] < 0.8 * trained.losses[0]
    assert variables["count"] == 16


def test_the_first_step_of_each_optimizer_is_as_large_as_its_rate_says(loop, images):
    """Nesterov's first step is 1 + 0.9 times rate times gradient, clipped to its norm; Adam's is the rate."""
    step = alternation(loop, images)
    before = step.weights.trainable.value.numpy()
    after = end(training(loop, step, batch=64, epochs=1))
    assert np.linalg.norm(after["weights"] - before) == pytest.approx(1.9 * RATE * CLIP, rel=1e-4)
    np.testing.assert_allclose(np.abs(after["logits"]), ADAM_RATE, rtol=1e-3)


def test_the_weights_see_only_the_first_half_and_the_logits_the_second(images):
    def trained(indices, adam_rate):
        changed = images.y_train.copy()
        changed[indices] = (changed[indices] + 1) % 10
        loop = Loop(images.x_train, changed, make_strategy("single"))
        return end(training(loop, alternation(loop, images, adam_rate)))

    none, first, second = slice(0), slice(64), slice(64, None)
    plain = trained(none, 0.0)["weights"]
    np.testing.assert_array_equal(trained(second, 0.0)["weights"], plain)
    assert np.abs(trained(first, 0.0)["weights"] - plain).max() > 1e-3
    assert np.abs(trained(second, ADAM_RATE)["logits"] - trained(none, ADAM_RATE)["logits"]).max() > 1e-3


def test_a_training_of_two_optimizers_goes_on_exactly_from_its_checkpoint(loop, images, tmp_path):
    whole = training(loop, alternation(loop, images))
    file, epochs = Checkpoint(tmp_path / "training.npz", "key", every=0), iter(whole)
    next(epochs), next(epochs)
    file.offer(whole.state)
    list(epochs)
    rest = training(loop, alternation(loop, images), resume_from=file.read())
    for name, value in end(rest).items():
        np.testing.assert_array_equal(value, whole.state().variables[name], err_msg=name)
    assert rest.losses == whole.losses


def test_two_replicas_have_the_same_variables_and_the_weights_of_one(images):
    """Each replica draws its own images of the second half, so that the weights of one need logits that stay."""
    one, two = (Loop(images.x_train, images.y_train, make_strategy(name)) for name in ("single", "mirrored"))
    step = alternation(two, images)
    end(training(two, step))
    for name, variable in step.variables.items():
        np.testing.assert_array_equal(*variable.values, err_msg=name)
    weights = [end(training(loop, alternation(loop, images, 0.0)))["weights"] for loop in (one, two)]
    np.testing.assert_allclose(*weights, atol=1e-4)


def test_a_batch_larger_than_the_half_is_refused(loop, images):
    with pytest.raises(InvalidConfiguration, match=r"at most the 64 training images\. Received: 66"):
        training(loop, alternation(loop, images), batch=66)


def test_the_state_of_another_kind_of_step_is_refused(images):
    loop = Loop(images.x_train, images.y_train, make_strategy("single"))
    trained = training(loop, alternation(loop, images))
    next(iter(trained))
    state = trained.state()
    without = {name: value for name, value in state.variables.items() if name != "logits"}
    with pytest.raises(InvalidConfiguration, match=r"Expected .*'logits': \[2\].*after 1 epochs"):
        training(loop, alternation(loop, images), resume_from=replace(state, variables=without))


def test_each_replica_step_and_epoch_has_a_seed_of_its_own(loop):
    def fold(epoch, number):
        options = dict.fromkeys(["images", "labels", "indices", "cosine"], tf.zeros([]))
        return Shard(seed=tf.constant([3, epoch]), number=tf.constant(number), **options).fold()

    folds = [
        tuple(seed.numpy())
        for epoch, number in [(0, 0), (0, 1), (1, 0)]
        for seed in loop.strategy.experimental_local_results(loop.strategy.run(fold, args=(epoch, number)))
    ]
    assert len(set(folds)) == 3 * loop.replicas
