"""Keras models as values: read, built again, edited."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from trained_graphs import branching_model, call, images, randomise, sequential_model

from eas_tf.errors import UnsupportedLayer
from eas_tf.surgery import LayerGraph, output_difference
from eas_tf.surgery.node import Part
from eas_tf.surgery.parts import with_room

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


class OwnLayer(layers.Layer):
    """Has a weight, and a configuration of its own."""

    def __init__(self, factor=1.0, **options):
        super().__init__(**options)
        self.factor = factor

    def build(self, shape):
        self.scale = self.add_weight(shape=shape[-1:], initializer="ones", name="scale")

    def call(self, inputs):
        return inputs * self.scale * self.factor

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


class Dense(layers.Dense):
    """Has the name of a Keras layer and is another one."""


def unusual_model(rng):
    """Own layers, operators, tensors by keyword, several outputs of one layer, masks, dictionaries."""
    words, images_ = keras.Input((5,), dtype="int32", name="words"), keras.Input((8, 6, 3), name="images")
    x = layers.Embedding(9, 6, mask_zero=True)(words)
    x, state, _ = layers.LSTM(6, return_sequences=True, return_state=True, name="lstm")(x)
    x = layers.MultiHeadAttention(2, 3, name="attention")(x, value=x)
    y = OwnLayer(2.5, name="own")(layers.Flatten()(images_)) * 2 + 1
    y = Dense(6, name="own_dense")(keras.ops.sin(y))
    pooled = layers.GlobalAveragePooling1D()(x)
    outputs = {"first": layers.Add()([pooled, y]), "rest": [state, layers.Dropout(0.1)(y, training=False)]}
    return randomise(keras.Model({"words": words, "images": images_}, outputs, name="unusual"), rng)


def nested_model(rng):
    """A model within a model within a model, of which one has two inputs and two outputs."""
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(5, activation="relu", name="d")], name="inner")
    a, b = keras.Input((8, 6, 3), name="a"), keras.Input((6,), name="b")
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, activation="relu", name="conv")(a))
    two = keras.Model([b, a], [layers.Add(name="sum")([x, b]), inner(x)], name="two")
    images_, vectors = keras.Input((8, 6, 3), name="images"), keras.Input((6,), name="vectors")
    first, second = two([vectors, images_])
    outputs = layers.Dense(3, name="out")(layers.Concatenate()([second, first]))
    model = randomise(keras.Model([images_, vectors], outputs, name="outer"), rng)
    two.trainable = False
    inner.get_layer("d").trainable = True
    return model


@pytest.mark.parametrize("make", [unusual_model, nested_model])
def test_unusual_models_are_read_and_built(make):
    rng = np.random.default_rng(0)
    model = make(rng)
    batch = [images(rng, shape=(8, 6, 3)), images(rng, shape=(6,))]
    if make is unusual_model:
        batch = {"images": batch[0], "words": np.array([[1, 2, 3, 0, 0]] * 4)}
    graph = LayerGraph.from_keras(model)
    built = graph.to_keras()
    keras.tree.assert_same_structure(model(batch), built(batch))
    assert output_difference(model, built, batch) == 0
    assert LayerGraph.from_keras(built).digest == graph.digest
    assert [(v.path, v.trainable) for v in built.weights] == [(v.path, v.trainable) for v in model.weights]
    assert [v.path for v in built.trainable_variables] == [v.path for v in model.trainable_variables]
    assert built.name == model.name
    assert [each.name for each in built.layers] == [each.name for each in model.layers]
    assert output_difference(model, graph.until(*graph.outputs).to_keras(), batch) == 0 or make is unusual_model


def test_a_sequential_model_stays_one_and_a_compiled_model_stays_compiled():
    rng = np.random.default_rng(0)
    model = sequential_model(rng)
    model.compile(keras.optimizers.SGD(0.125, momentum=0.5), loss="mse", metrics=["mae"], loss_weights=[2.0])
    batch, targets = images(rng, shape=(8, 6, 3)), rng.normal(size=(4, 3))
    built = LayerGraph.from_keras(model).to_keras()
    assert type(built) is keras.Sequential
    assert [each.name for each in built.layers] == [each.name for each in model.layers]
    assert float(built.optimizer.learning_rate) == 0.125
    assert built.optimizer is not model.optimizer
    assert built.evaluate(batch, targets, verbose=0) == model.evaluate(batch, targets, verbose=0)


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


def test_parts_are_found_by_path_and_make_room_for_a_new_layer(graph):
    parts = {
        "joined": Part((), "concat"),
        "trunk": Part((1,), "conv"),
        "left": Part((2,), "conv"),
        "right": Part((2, 0, 1), "dense"),
    }
    placed = graph.replaced({name: replace(graph[name], part=part) for name, part in parts.items()})
    assert placed.parts(2, 0, 1) == {"dense": placed["right"]}
    assert placed.parts() == {"concat": placed["joined"]}
    assert placed.parts(3) == graph.parts() == {}
    moved = parts | {"left": Part((3,), "conv"), "right": Part((3, 0, 1), "dense")}
    assert {node.name: node.part for node in with_room(placed, 2).nodes if node.part} == moved


def consumers(graph, name):
    return [node.name for node in graph.nodes if name in node.inputs]


def test_inserted_takes_over_every_consumer(graph):
    chain = [replace(graph["trunk_norm"], name="new"), replace(graph["average"], name="newer")]
    grown = graph.inserted("trunk_norm", chain)
    names = [node.name for node in grown.nodes]
    assert names[names.index("trunk_norm") + 1 :][:2] == ["new", "newer"]
    assert grown["new"].inputs == ("trunk_norm",)
    assert grown["newer"].inputs == ("new",)
    assert consumers(grown, "trunk_norm") == ["new"]
    assert consumers(grown, "newer") == consumers(graph, "trunk_norm")
    assert len(consumers(grown, "newer")) == 2
    assert grown.outputs == graph.outputs


def test_inserted_names_are_free_and_outputs_follow(graph):
    once = graph.inserted("classes", [graph["classes"]])
    twice = once.inserted("classes", [graph["classes"], graph["classes"]])
    assert once.outputs == twice.outputs == ("classes_2",)
    assert twice["classes_2"].inputs == ("classes_4",)
    assert twice["classes_4"].inputs == ("classes_3",)
    assert twice["classes_3"].inputs == ("classes",)


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


def subclassed():
    model = Subclassed()
    model(np.zeros((1, 4), np.float32))
    return model


class FunctionalSubclass(keras.Model):
    """Made from inputs and outputs, and yet with methods of its own."""


def unread(model):
    inputs = keras.Input((4,))
    return FunctionalSubclass(inputs, model(inputs))


def quantised():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="eight_bits")])
    model.get_layer("eight_bits").quantize("int8")
    return model


def low_rank():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="adapted")])
    model.get_layer("adapted").enable_lora(2)
    return model


def shared():
    twice = layers.Dense(4, name="twice")
    inputs = keras.Input((4,))
    return keras.Model(inputs, twice(twice(inputs)))


def shared_model():
    twice = keras.Sequential([keras.Input((4,)), layers.Dense(4)], name="twice")
    inputs = keras.Input((4,))
    return keras.Model(inputs, twice(twice(inputs)))


def words():
    lookup = layers.StringLookup(vocabulary=["a", "b"], name="words")
    inputs = keras.Input((4,), dtype="string")
    return keras.Model(inputs, layers.Embedding(5, 3)(lookup(inputs)))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (subclassed, "functional and sequential models, not on a Subclassed"),
        (lambda: unread(layers.Dense(3)), r"not on a FunctionalSubclass.*keras.Model\(model.inputs, model.outputs\)"),
        (lambda: keras.Sequential([layers.Dense(3)], name="raw"), "'raw' is not built. Start it with keras.Input"),
        (lambda: "model.keras", "functional and sequential models of Keras. Received: 'model.keras'"),
        (shared, "'twice' is called 2 times; give each call a layer of its own"),
        (shared_model, "'twice' is called 2 times"),
        (quantised, "'eight_bits' is quantised; operate on the model first"),
        (low_rank, "'adapted' has LoRA weights; merge them"),
        (words, "'words', a StringLookup, keeps a vocabulary"),
    ],
)
def test_models_that_cannot_be_read_are_refused_by_name(make, named):
    with pytest.raises(UnsupportedLayer, match=named):
        LayerGraph.from_keras(make())
