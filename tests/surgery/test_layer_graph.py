"""Keras models as values: read, built again, edited."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from trained_graphs import branching_model, call, images, randomise, sequential_model

from eas_tf.errors import UnsupportedLayer
from eas_tf.surgery import LayerGraph

layers = keras.layers


def two_headed_model(rng):
    """Two inputs, two outputs, a join, a frozen layer, a regulariser, another dtype."""
    first, second = keras.Input((8, 6, 3), name="first"), keras.Input((4,), name="second")
    x = layers.Conv2D(4, 3, kernel_regularizer="l2", dtype="mixed_bfloat16", name="conv")(first)
    x = layers.GlobalAveragePooling2D(name="pool")(layers.BatchNormalization(trainable=False, name="norm")(x))
    y = layers.Add(name="sum")([x, second])
    z = layers.Multiply(name="product")([second, x])
    outputs = [layers.Dense(3, name="a")(y), layers.Dense(2, name="b")(z)]
    return randomise(keras.Model([first, second], outputs), rng)


def adapted_model(rng):
    """A Normalization layer that has learnt its statistics from data, and so holds them as weights."""
    normalization = layers.Normalization(name="normalise")
    normalization.adapt(images(rng, 16, (8, 6, 3)) * 3 + 5)
    return keras.Sequential([keras.Input((8, 6, 3)), normalization, layers.Flatten(), layers.Dense(3, name="out")])


@pytest.mark.parametrize("make", [branching_model, sequential_model, adapted_model])
def test_reading_and_building_gives_the_same_outputs_and_digest(make):
    rng = np.random.default_rng(0)
    model, batch = make(rng), images(rng, shape=(8, 6, 3))
    graph = LayerGraph.from_keras(model)
    assert np.abs(call(model, batch) - call(graph.to_keras(), batch)).max() == 0
    again = LayerGraph.from_keras(graph.to_keras())
    assert again.digest == graph.digest
    assert again.structure() == graph.structure()
    assert [node.name for node in again.nodes] == [node.name for node in graph.nodes]


def test_several_inputs_and_outputs_joins_and_frozen_layers_are_read_and_built():
    rng = np.random.default_rng(0)
    model = two_headed_model(rng)
    batch = [images(rng, shape=(8, 6, 3)), images(rng, shape=(4,))]
    graph = LayerGraph.from_keras(model)
    built = graph.to_keras()
    for before, after in zip(model(batch), built(batch), strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(before), keras.ops.convert_to_numpy(after))
    assert [v.path for v in built.trainable_variables] == [v.path for v in model.trainable_variables]
    assert built.get_layer("conv").dtype_policy.name == "mixed_bfloat16"
    assert graph["sum"].inputs == ("pool", "second")
    assert graph["product"].inputs == ("second", "pool")
    assert graph.outputs == ("a", "b")
    names = [f"{9 - i}" for i in range(len(graph.nodes))]
    renamed, position = graph.renamed(names), [node.name for node in graph.nodes]
    assert renamed.nodes[position.index("sum")].inputs == tuple(names[position.index(x)] for x in ("pool", "second"))
    assert renamed.nodes[position.index("product")].inputs == renamed.nodes[position.index("sum")].inputs[::-1]
    assert LayerGraph.from_keras(built).digest == graph.digest


@pytest.fixture(scope="module")
def model():
    return branching_model(np.random.default_rng(0))


@pytest.fixture(scope="module")
def graph(model):
    return LayerGraph.from_keras(model)


def test_a_model_can_be_read_after_another_model_has_called_it():
    """Its layers then have two calls, of which only one is the model's own."""
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="inner")])
    before = LayerGraph.from_keras(inner).digest
    outer = keras.Input((4,))
    keras.Model(outer, inner(outer))
    assert LayerGraph.from_keras(inner).digest == before


def test_the_graph_does_not_follow_the_model(graph, model):
    """Its arrays are copies: training the model further leaves the graph as it was read."""
    read = LayerGraph.from_keras(model)
    before = graph["trunk"].weights[0].copy()
    kernel = model.get_layer("trunk").kernel
    kernel.assign(kernel + 1)
    np.testing.assert_array_equal(read["trunk"].weights[0], before)
    kernel.assign(before)


def test_the_digest_ignores_names(graph):
    renamed = graph.renamed([f"layer_{i}" for i in range(len(graph.nodes))])
    assert renamed.digest == graph.digest
    assert renamed.outputs == (f"layer_{len(graph.nodes) - 1}",)
    assert renamed["layer_1"].inputs == ("layer_0",)


def test_the_digest_changes_with_any_weight(graph):
    digests = {graph.digest}
    weights = 0
    for node in graph.nodes:
        for index, weight in enumerate(node.weights):
            other = weight.copy()
            other.flat[-1] = np.nextafter(other.flat[-1], np.float32(9))
            changed = replace(node, weights=(*node.weights[:index], other, *node.weights[index + 1 :]))
            digests.add(graph.replaced({node.name: changed}).digest)
            weights += 1
    assert weights == 16
    assert len(digests) == 1 + weights


def test_the_digest_changes_with_any_configuration_value(graph):
    """One entry of each node's configuration at a time, and the connections."""
    digests = {graph.digest}
    entries = 0
    for node in graph.nodes:
        for key in node.config:
            digests.add(graph.replaced({node.name: node.changed(config={key: "something else"})}).digest)
            entries += 1
    assert entries > 50
    assert len(digests) == 1 + entries
    right = replace(graph["right"], inputs=("flat_left",))
    assert graph.replaced({"right": right}).digest not in digests
    assert replace(graph, outputs=("right",)).digest not in digests


def test_until_keeps_what_a_node_needs(graph, model):
    part = graph.until("left")
    assert [node.name for node in part.nodes if node.weights] == ["trunk", "trunk_norm", "left"]
    assert part.outputs == ("left",)
    batch = images(np.random.default_rng(1), shape=(8, 6, 3))
    expected = call(keras.Model(model.inputs[0], model.get_layer("left").output), batch)
    np.testing.assert_array_equal(call(part.to_keras(), batch), expected)


def test_inserted_takes_over_every_consumer(graph):
    chain = [node for node in graph.nodes if node.name in ("trunk_norm", "average")]
    grown = graph.inserted("trunk_norm", chain)
    names = [node.name for node in grown.nodes]
    assert names[names.index("trunk_norm") + 1 :][:2] == ["inserted_1", "inserted_2"]
    assert grown["inserted_1"].inputs == ("trunk_norm",)
    assert grown["inserted_2"].inputs == ("inserted_1",)
    assert [node.name for node in grown.consumers("trunk_norm")] == ["inserted_1"]
    assert {node.name for node in grown.consumers("inserted_2")} == {
        node.name for node in graph.consumers("trunk_norm")
    }
    assert len(grown.consumers("inserted_2")) == 2
    assert grown.outputs == graph.outputs


def test_inserted_names_are_free_and_outputs_follow(graph):
    once = graph.inserted("classes", [graph["classes"]])
    twice = once.inserted("classes", [graph["classes"]])
    assert once.outputs == twice.outputs == ("inserted_1",)
    assert twice["inserted_1"].inputs == ("inserted_2",)
    assert twice["inserted_2"].inputs == ("classes",)


def test_edits_leave_the_graph_as_it_was(graph):
    names, digest = [node.name for node in graph.nodes], graph.digest
    graph.inserted("trunk", [graph["average"]])
    graph.renamed(names[::-1])
    graph.replaced({"trunk": graph["trunk"].changed(config={"filters": 9})})
    graph.until("trunk")
    assert [node.name for node in graph.nodes] == names
    assert graph["trunk"].config["filters"] == 5
    assert LayerGraph(graph.nodes, graph.outputs).digest == digest


def test_untouched_arrays_are_shared(graph):
    edited = graph.inserted("trunk", [graph["average"]]).renamed([str(i) for i in range(len(graph.nodes) + 1)])
    assert edited["1"].weights[0] is graph["trunk"].weights[0]


def test_weights_of_a_trained_model_are_taken_over(graph):
    built = graph.to_keras()
    kernel = built.get_layer("left").kernel
    kernel.assign(kernel * 2)
    after = graph.with_weights_of(built)
    np.testing.assert_array_equal(after["left"].weights[0], 2 * graph["left"].weights[0])
    assert after.structure() == graph.structure()
    assert all(node.moments is None for node in after.nodes)


def test_substitutes_take_configuration_and_weights(graph):
    class Doubled(layers.Dense):
        def call(self, inputs, training=None):
            return 2 * super().call(inputs, training=training)

    until_end = graph.until("end_left")
    batch = images(np.random.default_rng(1), shape=(8, 6, 3))
    plain, doubled = until_end.to_keras(), until_end.to_keras({"Dense": Doubled})
    np.testing.assert_array_equal(call(doubled, batch), 2 * call(plain, batch))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.out = layers.Dense(3)

    def call(self, inputs):
        return self.out(inputs)


class OwnLayer(layers.Layer):
    def call(self, inputs):
        return inputs


class Dense(layers.Dense):
    """Has the name of a Keras layer and is another one."""


def subclassed():
    model = Subclassed()
    model(np.zeros((1, 4), np.float32))
    return model


def stack(*stacked):
    return keras.Sequential([keras.Input((4,)), *stacked])


def shared():
    twice = layers.Dense(4, name="twice")
    inputs = keras.Input((4,))
    return keras.Model(inputs, twice(twice(inputs)))


def operator():
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Dense(3)(keras.ops.sin(inputs)))


def by_keyword():
    inputs = keras.Input((4, 6))
    attention = layers.MultiHeadAttention(2, 3, name="attention")
    return keras.Model(inputs, attention(inputs, value=inputs))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (subclassed, "Only functional and sequential models.*Subclassed"),
        (lambda: keras.Sequential([layers.Dense(3)]), "Only functional and sequential models.*Sequential"),
        (lambda: "model.keras", "Only functional and sequential models.*'model.keras'"),
        (lambda: stack(OwnLayer(name="own")), "'own' is a OwnLayer, which is not a plain Keras layer"),
        (lambda: stack(Dense(3, name="fake")), "'fake' is a Dense, which is not a plain Keras layer"),
        (lambda: stack(stack(layers.Dense(3)), layers.Dense(2)), "Sequential, which is not a plain Keras layer"),
        (shared, "'twice' is called 2 times"),
        (operator, "is a Sin, which is not a plain Keras layer"),
        (by_keyword, "'attention' receives tensors by keyword"),
    ],
)
def test_models_that_cannot_be_read_are_refused_by_name(make, named):
    with pytest.raises(UnsupportedLayer, match=named):
        LayerGraph.from_keras(make())
