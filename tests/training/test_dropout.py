from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from eas_tf import data
from eas_tf.architecture import DenseNet, PlainCNN
from eas_tf.errors import InvalidConfiguration
from eas_tf.surgery import initialise, load_network, lower, save_network, with_parts
from eas_tf.surgery.node import Part
from eas_tf.training.dropout import SeededDropout, dropout_seed, with_dropout
from eas_tf.training.recipe import RATE_FROM_SCRATCH, Recipe
from eas_tf.training.strategy import make_strategy
from eas_tf.training.trainer import Trainer

RECIPE = Recipe(epochs=2, batch=32, learning_rate=RATE_FROM_SCRATCH, dropout=0.2)
NETWORKS = {
    "plain": PlainCNN.parse("C(8,3,1), P(2,2,MAX), C(8,3,1), C(8,3,1), P(4,4,AVG), FC(16), SM(10)", (8, 8, 1)),
    "DenseNet-BC": DenseNet.parse("DenseNet-BC: C(8,3,1), 2xD(4), T(9), D(4), SM(10)", (8, 8, 1)),
    "DenseNet-post": DenseNet.parse("DenseNet-post: C(8,3,1), 2xD(4), T(9), D(4), SM(10)", (8, 8, 1)),
}


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def trainer(digits):
    return Trainer(digits)


def start(name, digits):
    return initialise(lower(NETWORKS[name], digits.mean, digits.std), rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("name", "behind"),
    [
        ("plain", ["conv_2", "conv_3"]),
        (
            "DenseNet-BC",
            [
                *("dense_1_1_bottleneck", "dense_1_1", "dense_1_2_bottleneck", "dense_1_2", "transition_1"),
                *("dense_2_1_bottleneck", "dense_2_1"),
            ],
        ),
        ("DenseNet-post", ["dense_1_1", "dense_1_2", "transition_1", "dense_2_1"]),
    ],
)
def test_it_is_behind_every_convolution_but_the_first(name, behind, digits):
    graph = start(name, digits)
    dropping = with_dropout(graph, 0.2)
    layers = [node for node in dropping.nodes if node.kind is SeededDropout]
    assert [node.inputs for node in layers] == [(each,) for each in behind]
    for node in dropping.nodes:
        if node.kind is not SeededDropout:
            assert not set(node.inputs) & set(behind), "the convolution is passed by"
    assert len({node.config["number"] for node in layers}) == len(layers)
    assert with_dropout(graph, 0.0) is graph


def test_the_first_convolution_is_a_part_and_not_a_position(digits):
    """All of layer 0 of the architecture is the first, as of one that branches at once; a file does not say."""
    graph = start("plain", digits)
    branch = replace(graph["conv_2"], part=Part((0, 1), "conv"))
    dropping = with_dropout(graph.replaced({"conv_2": branch}), 0.2)
    assert [node.inputs for node in dropping.nodes if node.kind is SeededDropout] == [("conv_3",)]


def test_a_graph_that_was_read_from_a_file_needs_its_parts(digits, tmp_path):
    graph = start("DenseNet-BC", digits)
    save_network(graph, tmp_path / "network.keras")
    read = load_network(tmp_path / "network.keras")
    with pytest.raises(InvalidConfiguration, match=r"which part of it conv_1 is: .* `eas_tf\.surgery\.with_parts`"):
        with_dropout(read, 0.2)
    names = [
        [n.name for n in with_dropout(each, 0.2).nodes] for each in (graph, with_parts(read, NETWORKS["DenseNet-BC"]))
    ]
    assert names[0] == names[1]


def test_a_network_without_convolutions_has_none():
    graph = lower(NETWORKS["plain"]).until("images")
    assert with_dropout(graph, 0.5) is graph


def test_it_drops_the_rate_and_keeps_the_mean():
    layer = SeededDropout(0.2, 3)
    ones = tf.ones([10_000])
    with dropout_seed(tf.constant([1, 2])):
        dropped, again = layer(ones, training=True).numpy(), layer(ones, training=True).numpy()
        other = SeededDropout(0.2, 4)(ones, training=True).numpy()
    with dropout_seed(tf.constant([1, 3])):
        later = layer(ones, training=True).numpy()
    assert (dropped == 0).mean() == pytest.approx(0.2, abs=0.02)
    np.testing.assert_allclose(dropped[dropped > 0], 1 / 0.8, rtol=1e-6)
    assert np.array_equal(dropped, again)
    assert not np.array_equal(dropped, other)
    assert not np.array_equal(dropped, later)
    assert np.array_equal(layer(ones, training=False), ones)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_seed_decides_what_is_dropped(name, trainer, digits):
    graph = start(name, digits)
    first, again, without = (
        trainer.train(graph, replace(RECIPE, dropout=rate), seed=1).graph.digest for rate in (0.2, 0.2, 0.0)
    )
    assert first == again
    assert first != without


def test_each_step_and_epoch_drops_other_values(digits):
    """With a rate of learning so low that the weights stay, the losses of two epochs differ only by what is dropped."""
    few = replace(digits, x_train=digits.x_train[:64], y_train=digits.y_train[:64])
    losses = []
    recipe = replace(RECIPE, epochs=3, batch=64, learning_rate=1e-30, weight_decay=0.0, dropout=0.5)
    Trainer(few).train(start("plain", digits), recipe, seed=0, on_epoch=lambda _, loss: losses.append(loss))
    assert len({round(loss, 4) for loss in losses}) == 3


def test_nothing_of_it_is_in_the_trained_network(trainer, digits, tmp_path):
    """The same structure and names, and a file that Keras reads by itself."""
    graph = start("DenseNet-BC", digits)
    trained = trainer.train(graph, RECIPE, seed=0)
    assert trained.graph.structure() == graph.structure()
    assert [node.name for node in trained.graph.nodes] == [node.name for node in graph.nodes]
    assert trainer.evaluate(trained.graph) == pytest.approx((trained.accuracy, trained.loss), rel=1e-5)
    save_network(trained.graph, tmp_path / "network.keras")
    model = keras.models.load_model(tmp_path / "network.keras")
    accuracy = (model.predict(digits.x_val, verbose=0).argmax(-1) == digits.y_val).mean()
    assert accuracy == trained.accuracy


def test_without_it_nothing_is_added_to_the_step(trainer, digits):
    """The trace of an epoch without dropout draws no more random numbers than the shuffle."""
    counts = []
    for rate in (0.0, 0.2):
        recipe = replace(RECIPE, dropout=rate)
        weights = trainer._step(start("plain", digits), recipe).weights
        step = tf.function(weights.call, autograph=False).get_concrete_function(
            tf.TensorSpec([4, 8, 8, 1]), tf.TensorSpec([2], tf.int32) if rate else None
        )
        counts.append(sum("StatelessRandom" in each.type for each in step.graph.get_operations()))
    assert counts[0] == 0
    assert counts[1] >= 2


def test_a_training_with_it_goes_on_exactly(trainer, digits):
    graph, states = start("DenseNet-BC", digits), []
    recipe = replace(RECIPE, epochs=3)
    whole = trainer.train(graph, recipe, seed=2, on_state=lambda state: states.append(state()))
    rest = trainer.train(graph, recipe, seed=2, resume_from=states[0])
    assert rest.graph.digest == whole.graph.digest


def test_two_devices_drop_each_their_own(digits):
    trained = Trainer(digits, make_strategy("mirrored")).train(start("DenseNet-BC", digits), RECIPE, seed=0)
    assert trained.accuracy > 0.3
