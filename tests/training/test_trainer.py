import gc
from dataclasses import replace

import keras
import numpy as np
import pytest
from strategies import widen_together

from eas_tf import data
from eas_tf.architecture import PlainCNN, space_named
from eas_tf.errors import InvalidConfiguration, TrainingDiverged
from eas_tf.evaluation.start import train_start
from eas_tf.surgery import LayerGraph, initialise, lower, measure_moments, output_difference, transform
from eas_tf.training.recipe import RATE_FROM_SCRATCH, Recipe
from eas_tf.training.strategy import make_strategy
from eas_tf.training.trainer import Trainer, evaluate, measure

SCRATCH = Recipe(epochs=2, batch=32, learning_rate=RATE_FROM_SCRATCH)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def start(digits):
    architecture = space_named("digits").start_network(digits.input_shape, digits.classes)
    return initialise(lower(architecture, digits.mean, digits.std), rng=np.random.default_rng(0))


@pytest.fixture(scope="module")
def trainer(digits):
    return Trainer(digits)


def weights(graph):
    return [weight for node in graph.nodes for weight in node.weights]


def test_a_network_learns_the_digits_and_its_parent_is_untouched(trainer, start):
    before, epochs = start.digest, []
    trained = trainer.train(
        start, replace(SCRATCH, epochs=10), seed=0, on_epoch=lambda epoch, loss: epochs.append((epoch, loss))
    )
    assert start.digest == before
    assert [epoch for epoch, _ in epochs] == list(range(1, 11))
    assert epochs[-1][1] < 0.5 * epochs[0][1]
    assert trained.accuracy > 0.85
    assert trainer.evaluate(trained.graph) == (trained.accuracy, trained.loss)


def test_a_step_that_needs_more_memory_than_there_is_is_refused_before_it(digits):
    """The system killed the process in the midst of it."""
    network = PlainCNN.parse("C(4096,3,1), P(64,64,MAX), SM(10)", (2048, 2048, 1))
    x, y = np.zeros((2, 2048, 2048, 1), np.uint8), np.arange(2, dtype=np.int32)
    x[1] = 1
    images = replace(digits, x_train=x, y_train=y, x_val=x, y_val=y)
    trainer, recipe = Trainer(images), replace(SCRATCH, batch=2)
    with pytest.raises(
        MemoryError, match=r"a step on 2 images needs at least \d+\.\d\d GB of memory, and .* are free$"
    ):
        trainer.train(initialise(lower(network), rng=np.random.default_rng(0)), recipe, seed=0)
    with pytest.raises(InvalidConfiguration, match=r"smaller `batch` \(it is 2\) or a smaller `start`\. a step on 2"):
        train_start(trainer, images, network, recipe, seed=0)


def test_how_many_images_a_call_takes_decides_nothing_but_its_memory(start, digits, monkeypatch):
    """The loss is summed in equal parts, so that no other number depends on how large a call may be."""
    expected = measure(start, digits.x_val, digits.y_val)
    sizes = []
    monkeypatch.setattr(LayerGraph, "batch_in_memory", lambda *_: sizes.append(64) or 64)
    assert measure(start, digits.x_val, digits.y_val) == expected
    assert sizes == [64]


def test_the_seed_decides_everything(trainer, start):
    first, again, other = (trainer.train(start, SCRATCH, seed=seed).graph.digest for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_accuracy_and_loss_are_those_of_the_keras_model(trainer, start, digits):
    trained = trainer.train(start, SCRATCH, seed=0)
    probabilities = trained.graph.to_keras().predict(digits.x_val, verbose=0)
    assert trained.accuracy == (probabilities.argmax(-1) == digits.y_val).mean()
    loss = -np.log(probabilities[np.arange(len(digits.y_val)), digits.y_val]).mean()
    assert trained.loss == pytest.approx(loss, rel=1e-4)


def test_one_epoch_is_what_keras_own_optimizer_does(digits):
    """A network without batch norm's randomness of order: the whole set is one batch, and so one step.

    Keras's SGD with Nesterov momentum m and velocity 0 moves by -(1 + m) * rate * gradient in its first step; ours is
    written differently (the rate outside of the momentum) and must agree there. L2 is weight_decay * w in the gradient.
    The rate of the first step is the initial one.
    """
    few = replace(digits, x_train=digits.x_train[:64], y_train=digits.y_train[:64])
    architecture = PlainCNN.parse("C(4,3,1), P(2,2,MAX), FC(8), SM(10)", digits.input_shape)
    graph = initialise(lower(architecture, digits.mean, digits.std), rng=np.random.default_rng(3))
    recipe = Recipe(epochs=1, batch=64, learning_rate=0.05, weight_decay=1e-2)
    ours = Trainer(few).train(graph, recipe, seed=0).graph.to_keras()
    theirs = graph.to_keras()
    wd = recipe.weight_decay
    loss = keras.losses.SparseCategoricalCrossentropy()

    class WithL2(keras.Model):
        def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):  # noqa: ARG002 - of Keras
            squares = sum(keras.ops.sum(keras.ops.square(w)) for w in self.trainable_weights)
            return loss(y, y_pred) + wd * squares / 2

    model = WithL2(theirs.inputs, theirs.outputs)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True))
    model.fit(few.x_train.astype(np.float32), few.y_train, batch_size=64, epochs=1, verbose=0)
    for mine, reference in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, reference, rtol=1e-3, atol=1e-5)


def test_the_rate_falls_along_a_cosine_to_zero(digits):
    """Without momentum and without a gradient from the data, L2 alone multiplies the weights by 1 - rate in each step.

    Images that are all alike leave nothing after batch norm, and its gamma of 0 stops what rounding leaves, so the
    first kernel has no gradient. The rates of the 3 steps are 0.9 * 0.5 * (1 + cos(pi * t / 3)) = 0.9, 0.675, 0.225:
    the product is 0.1 * 0.325 * 0.775 = 0.0251875. (A straight line to zero would give 0.1 * 0.4 * 0.7 = 0.028.)
    """
    blank = replace(digits, x_train=np.full((64, 8, 8, 1), 7, np.uint8), y_train=np.arange(64, dtype=np.int32) % 10)
    architecture = PlainCNN.parse("C(4,1,1), P(8,8,AVG), FC(8), SM(10)", digits.input_shape)
    graph = initialise(lower(architecture, digits.mean, digits.std), rng=np.random.default_rng(0))
    _, *others = graph["conv_1_bn"].weights
    norm = replace(graph["conv_1_bn"], weights=(np.zeros(4, np.float32), *others))
    graph = graph.replaced({"conv_1_bn": norm})
    recipe = Recipe(epochs=3, batch=64, learning_rate=0.9, momentum=0.0, weight_decay=1.0)
    trained = Trainer(blank).train(graph, recipe, seed=0).graph
    ratio = trained["conv_1"].weights[0] / graph["conv_1"].weights[0]
    np.testing.assert_allclose(ratio, 0.0251875, rtol=1e-4)


def test_a_loss_that_is_not_finite_is_noticed(trainer, start):
    with pytest.raises(TrainingDiverged, match="epoch 1 of 2"):
        trainer.train(start, Recipe(epochs=2, batch=32, learning_rate=1e30), seed=0)


def test_a_batch_larger_than_the_set_is_refused(trainer, start):
    with pytest.raises(InvalidConfiguration, match="1079 training images"):
        trainer.train(start, Recipe(batch=2_000), seed=0)


def test_crops_are_seeded_and_change_the_training(trainer, start):
    recipe = replace(SCRATCH, epochs=1, crop_and_flip=True)
    first, again = (trainer.train(start, recipe, seed=1).graph.digest for _ in range(2))
    plain = trainer.train(start, replace(recipe, crop_and_flip=False), seed=1).graph.digest
    assert first == again
    assert first != plain


def test_cutout_is_seeded_and_changes_the_training(trainer, start):
    recipe = replace(SCRATCH, epochs=1, crop_and_flip=True)
    plain = trainer.train(start, recipe, seed=1).graph.digest
    first, again = (trainer.train(start, replace(recipe, cutout=4), seed=1).graph.digest for _ in range(2))
    alone = trainer.train(start, replace(recipe, cutout=4, crop_and_flip=False), seed=1).graph.digest
    assert first == again
    assert len({plain, first, alone}) == 3


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_label_smoothing_spreads_a_share_of_each_label_over_all_classes(digits, smoothing):
    """Without batch norm, and with one step for all images, the loss of the epoch is that of the first weights.

    A label is 1 - s + s / 10 for its class and s / 10 for the others: the loss is 1 - s times the negative logarithm of
    its class's probability, plus s times the mean of the negative logarithms of all classes'.
    """
    few = replace(digits, x_train=digits.x_train[:64], y_train=digits.y_train[:64])
    layers = keras.layers
    model = keras.Sequential([layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(10), layers.Softmax()])
    model.build((None, *digits.input_shape))
    graph = LayerGraph.from_keras(model)
    logs = -np.log(graph.to_keras().predict(few.x_train, verbose=0))
    expected = (1 - smoothing) * logs[np.arange(64), few.y_train] + smoothing * logs.mean(1)
    losses = []
    recipe = Recipe(epochs=1, batch=64, label_smoothing=smoothing)
    trained = Trainer(few).train(graph, recipe, seed=0, on_epoch=lambda _, loss: losses.append(loss))
    assert losses == [pytest.approx(expected.mean(), rel=1e-5)]
    # What is reported is the plain cross-entropy all the same.
    probabilities = trained.graph.to_keras().predict(digits.x_val, verbose=0)
    plain = -np.log(probabilities[np.arange(len(digits.y_val)), digits.y_val]).mean()
    assert trained.loss == pytest.approx(plain, rel=1e-4)


def test_a_training_goes_on_from_any_epoch_as_if_it_had_not_ended(trainer, start):
    recipe = replace(SCRATCH, epochs=3, crop_and_flip=True, cutout=3, label_smoothing=0.1)
    states = []
    whole = trainer.train(start, recipe, seed=4, on_state=lambda state: states.append(state()))
    assert [state.epoch for state in states] == [1, 2]
    for state in states:
        epochs = []
        rest = trainer.train(
            start, recipe, seed=4, resume_from=state, on_epoch=lambda epoch, _, epochs=epochs: epochs.append(epoch)
        )
        assert rest.graph.digest == whole.graph.digest
        assert epochs == list(range(state.epoch + 1, 4))


def test_a_training_ends_with_its_time_and_goes_on_within_it(trainer, start):
    recipe, states = replace(SCRATCH, seconds=4.0), []
    whole = trainer.train(start, recipe, seed=0, on_state=lambda state: states.append(state()))
    assert 3 < whole.seconds < 6
    assert whole.losses[-1] < whole.losses[0]
    falls = [state.progress for state in states]
    assert 0 < falls[0] < falls[-1] < 1
    assert falls == sorted(falls)
    assert len(whole.losses) == len(states) + 1
    late = replace(states[-1], seconds=3.9)
    assert trainer.train(start, recipe, seed=0, resume_from=late).losses[:-1] == late.losses


def test_a_mirrored_training_goes_on(digits, start):
    few = replace(digits, x_train=digits.x_train[:128], y_train=digits.y_train[:128])
    recipe, states = replace(SCRATCH, epochs=2), []
    trainer = Trainer(few, make_strategy("mirrored"))
    whole = trainer.train(start, recipe, seed=4, on_state=lambda state: states.append(state())).graph
    rest = trainer.train(start, recipe, seed=4, resume_from=states[0]).graph
    for mine, reference in zip(weights(rest), weights(whole), strict=True):
        np.testing.assert_allclose(mine, reference, rtol=1e-5, atol=1e-6)


def test_a_state_that_does_not_fit_is_refused(trainer, start):
    states = []
    trainer.train(start, SCRATCH, seed=0, on_state=lambda state: states.append(state()))
    (state,) = states
    with pytest.raises(InvalidConfiguration, match="after 1 to 1 epochs"):
        trainer.train(start, SCRATCH, seed=0, resume_from=replace(state, epoch=2))
    shorter = {**state.variables, "momentum": state.variables["momentum"][1:]}
    with pytest.raises(InvalidConfiguration, match="same network"):
        trainer.train(start, SCRATCH, seed=0, resume_from=replace(state, variables=shorter))


def test_images_may_be_measured_on_that_are_not_the_trainers(trainer, start, digits):
    assert evaluate(start, digits.x_val, digits.y_val) == trainer.evaluate(start)


def test_without_validation_images_there_is_no_accuracy(digits, start):
    none = Trainer(replace(digits, x_val=digits.x_val[:0], y_val=digits.y_val[:0]))
    trained = none.train(start, replace(SCRATCH, epochs=1), seed=0)
    assert np.isnan([trained.accuracy, trained.loss]).all()


@pytest.fixture(scope="module")
def mirrored(digits):
    return Trainer(digits, make_strategy("mirrored"))


def test_two_replicas_give_the_weights_of_one(digits, start):
    """Eight steps: 256 images in batches of 32."""
    few = replace(digits, x_train=digits.x_train[:256], y_train=digits.y_train[:256])
    recipe = replace(SCRATCH, epochs=1)
    one = Trainer(few).train(start, recipe, seed=5).graph
    two = Trainer(few, make_strategy("mirrored")).train(start, recipe, seed=5).graph
    for mine, reference in zip(weights(two), weights(one), strict=True):
        assert np.abs(mine - reference).max() <= 1e-4 * max(np.abs(reference).max(), 1e-3)


def test_mirrored_trainers_of_one_process_train_networks_of_different_shapes(digits, start):
    few = replace(digits, x_train=digits.x_train[:64], y_train=digits.y_train[:64])
    wider = PlainCNN.parse("C(6,3,1), P(2,2,MAX), C(10,3,1), P(4,4,AVG), FC(16), SM(10)", digits.input_shape)
    graphs = start, initialise(lower(wider), rng=np.random.default_rng(0))
    for graph in graphs:
        trained = Trainer(few, make_strategy("mirrored")).train(graph, replace(SCRATCH, epochs=1), seed=0)
        assert np.isfinite(trained.loss)


def test_an_odd_batch_cannot_be_shared_by_two_devices(mirrored, start):
    with pytest.raises(InvalidConfiguration, match="multiple of the 2 devices"):
        mirrored.train(start, Recipe(batch=33), seed=0)


def test_a_network_grown_under_the_strategy_keeps_its_function_on_both_replicas(digits, start, trainer):
    space = space_named("digits")
    architecture = space.start_network(digits.input_shape, digits.classes)
    parent = measure_moments(trainer.train(start, SCRATCH, seed=0).graph, digits.x_train[:128])
    transformations = [space.insertion(architecture, 1, 1, 1)]
    child = transformations[0].apply(architecture)
    transformations += widen_together(space, child, [0, 2, 3])
    grown = transform(parent, architecture, transformations, rng=np.random.default_rng(0))
    strategy = make_strategy("mirrored")
    images = digits.x_val[:16].astype(np.float32)
    with strategy.scope():
        models = [graph.to_keras() for graph in (parent, grown)]
    assert output_difference(*models, images) <= 1e-5
    before, after = (strategy.run(lambda m: m(images, training=False), args=(model,)).values for model in models)
    assert len(before) == len(after) == 2
    for reference, outputs in zip(before, after, strict=True):
        assert np.abs(outputs - reference).max() <= 1e-5 * np.abs(reference).max()


def test_nothing_of_a_training_stays_in_memory(trainer, start):
    """All graphs stayed, because of a gradient function that TensorFlow never forgets: megabytes for each child."""

    def graphs(trainings):
        for _ in range(trainings):
            trainer.train(start, replace(SCRATCH, epochs=1), seed=0)
        gc.collect()
        return sum(type(each).__name__ == "FuncGraph" for each in gc.get_objects())

    before = graphs(1)
    assert graphs(4) < before + 4  # one may wait for another collection
