"""Models and arguments that once went wrong: each is exact, or refused in one clear line."""

import keras
import numpy as np
import pytest
from trained_graphs import images, randomise

from eas_tf.errors import EASError, IllegalTransformation, InvalidConfiguration, InvalidData, UnsupportedLayer
from eas_tf.surgery import (
    Deepen,
    PerChannel,
    Rule,
    Widen,
    deepen,
    deepenable,
    explain,
    grow,
    output_difference,
    register_rule,
    widen,
    widenable,
)

layers = keras.layers
RNG = np.random.default_rng(0)
BATCH = RNG.normal(size=(16, 8)).astype("float32")


def dense(units, name, activation="relu"):
    return layers.Dense(units, activation=activation, name=name)


def model_of(make, shape=(8,), **options):
    inputs = keras.Input(shape, **options)
    return randomise(keras.Model(inputs, layers.Dense(2, name="out")(make(inputs))), np.random.default_rng(1))


@pytest.mark.parametrize("operate", [keras.ops.multiply, keras.ops.add])
def test_nothing_is_inserted_where_an_array_may_have_made_values_negative(operate):
    array = np.array([-1.0, -2.0, 3.0, 4.0], "float32")
    model = model_of(lambda x: operate(dense(4, "d")(x), array))
    assert deepenable(model) == ["d"]


def test_padding_may_be_negative():
    inputs = keras.Input((8, 6, 2))
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(inputs)
    x = layers.Resizing(8, 8, pad_to_aspect_ratio=True, fill_value=-5.0, name="resized")(x)
    assert deepenable(keras.Model(inputs, layers.Flatten()(x))) == ["conv"]


def relu(x):
    """Has the name of Keras's and is another one."""
    return keras.ops.softmax(x) - 0.5


def test_an_activation_by_the_name_of_another_is_refused():
    model = model_of(lambda x: dense(4, "next")(layers.Dense(4, activation=relu, name="d")(x)))
    with pytest.raises(UnsupportedLayer, match="'d' has an activation of its own by the name of Keras's 'relu'"):
        widen(model, "next", 6, rng=0)


def square(x):
    return x * x


@pytest.mark.parametrize("function", [square, lambda x: x * x])
def test_functions_of_the_user_are_kept(function):
    def make(x):
        x = layers.Lambda(function)(layers.Dense(8, activation=function, kernel_constraint=lambda w: w)(x))
        return dense(4, "d")(x)

    model = model_of(make)
    assert output_difference(model, widen(model, "d", 7, rng=0), BATCH) <= 1e-5


class Stubborn(layers.Layer):
    """Cannot be built from its configuration."""

    def __init__(self):
        super().__init__(name="stubborn")

    def call(self, inputs):
        return inputs


def test_a_layer_that_cannot_be_built_again_is_refused_by_name():
    model = model_of(lambda x: dense(4, "d")(Stubborn()(x)))
    with pytest.raises(
        UnsupportedLayer, match=r"'stubborn', a Stubborn, cannot be built again .* get_config"
    ) as caught:
        widen(model, "d", 6, rng=0)
    assert "\n" not in str(caught.value)


def test_a_stateful_layer_is_refused():
    inputs = keras.Input((5, 4), batch_size=2)
    model = keras.Model(inputs, dense(2, "d")(layers.GRU(3, stateful=True, name="gru")(inputs)))
    with pytest.raises(UnsupportedLayer, match="'gru' is stateful"):
        widenable(model)


def test_later_outputs_of_a_layer_an_operation_and_a_model():
    sequence, vector = keras.Input((5, 4)), keras.Input((8,))
    _, state, _ = layers.LSTM(6, return_state=True)(sequence)
    _, right = keras.ops.split(vector, [3], axis=-1)
    inner_input = keras.Input((8,))
    inner = keras.Model(
        inner_input, [layers.Dense(3, name="a")(inner_input), layers.Dense(4, name="b")(inner_input)], name="inner"
    )
    parts = [dense(4, "state")(state), dense(3, "part")(right), inner(vector)[1]]
    model = randomise(keras.Model([sequence, vector], layers.Dense(2)(layers.Concatenate()(parts))), RNG)
    assert widenable(model) == {"state": 4, "part": 3, "inner/a": 3, "inner/b": 4}
    grown = grow(model, [Widen("state", 6), Widen("inner/b", 7), Deepen("part")], rng=0)
    assert output_difference(model, grown, [RNG.normal(size=(3, 5, 4)), RNG.normal(size=(3, 8))]) <= 1e-5


def test_outputs_of_one_layer_with_other_numbers_of_channels():
    inputs = keras.Input((8,))
    left, right = keras.ops.split(layers.Dense(8, name="before")(inputs), [3], axis=-1)
    joined = layers.Concatenate()([right, dense(4, "beside")(inputs)])
    tied = layers.Add()([right, layers.Dense(5, name="tied")(inputs)])
    model = keras.Model(inputs, [layers.Dense(2)(joined), layers.Dense(1)(left), layers.Dense(1)(tied)])
    assert widenable(model) == {"beside": 4}
    assert output_difference(model, widen(model, "beside", 6, rng=0), BATCH) <= 1e-5


def test_masks_are_no_channels():
    def make(x):
        x = layers.Embedding(20, 6, mask_zero=True, name="words")(x)
        x = layers.ReLU(name="relu")(layers.BatchNormalization(name="bn")(x))
        return layers.GlobalAveragePooling1D(name="mean")(dense(5, "d")(x))

    model, words = model_of(make, (7,), dtype="int32"), np.array([[1, 2, 3, 0, 0, 0, 0], [4, 5, 0, 0, 0, 0, 0]])
    assert widenable(model) == {"words": 6, "d": 5}
    grown = grow(model, [Widen("words", 9), Widen("d", 8), Deepen("relu"), Deepen("mean")], data=words, rng=0)
    assert output_difference(model, grown, words) <= 1e-5


def test_strange_names():
    inputs = keras.Input((8,))
    inner = [keras.Input((8,)), layers.Dense(4, name="b"), layers.BatchNormalization(), layers.ReLU(name="r")]
    x = keras.Sequential(inner, name="a")(layers.Dense(8, name="a__b")(inputs))
    model = randomise(keras.Model(inputs, layers.Dense(2)(layers.Dense(3, name="d::1")(x))), RNG)
    assert widenable(model) == {"a__b": 8, "a/b": 4, "d::1": 3}
    grown = grow(model, [Deepen("a/r"), Widen("d::1", 5)], data=BATCH, rng=0)
    assert output_difference(model, grown, BATCH) <= 1e-5


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_a_layer_behind_a_causal_one_does_not_look_ahead(kernel_size):
    inputs = keras.Input((6, 3))
    x = layers.Conv1D(4, 3, padding="causal", activation="relu", name="causal")(inputs)
    model = randomise(keras.Model(inputs, layers.Dense(2)(dense(5, "each")(x))), RNG)
    batch = images(RNG, shape=(6, 3))
    grown = grow(model, [Deepen("causal", kernel_size), Deepen("each", kernel_size)])
    assert output_difference(model, grown, batch) <= 1e-5
    assert grown.get_layer("causal_deeper").padding == "causal"
    assert type(grown.get_layer("each_deeper")) is layers.Dense


def test_new_layers_have_the_precision_of_the_values_behind_which_they_are():
    inputs = keras.Input((8,))
    x = layers.Dense(4, dtype="mixed_float16", name="d")(inputs)
    model = keras.Model(inputs, layers.Activation("relu", dtype="float32", name="out")(x))
    assert deepen(model, "out").output.dtype == "float32"


def own_loss(truth, given):
    return keras.ops.mean(keras.ops.square(truth - given))


class OwnSGD(keras.optimizers.SGD):
    """A class that is registered nowhere."""


def test_losses_and_optimizers_of_the_user_survive():
    model = model_of(dense(4, "d"))
    model.compile(OwnSGD(0.25), loss=own_loss)
    grown = widen(model, "d", 6, rng=0)
    assert type(grown.optimizer) is OwnSGD
    assert grown.evaluate(BATCH, np.zeros((16, 2)), verbose=0) == pytest.approx(
        model.evaluate(BATCH, np.zeros((16, 2)), verbose=0), rel=1e-5
    )


class Mixing(layers.Layer):
    """A weight in which the channels are two axes."""

    def build(self, shape):
        self.mix = self.add_weight(shape=(shape[-1], shape[-1]), name="mix")

    def call(self, inputs):
        return keras.ops.matmul(inputs, self.mix)


class Forgetful(Rule):
    def channels(self, node, incoming, coupling):  # noqa: ARG002 - a rule's signature
        return incoming[0]


@pytest.mark.parametrize(("rule", "named"), [(PerChannel(), "'mixing', a Mixing"), (Forgetful(), "has no rewrite")])
def test_a_wrong_rule_is_an_error_in_one_line(rule, named):
    model = model_of(lambda x: Mixing(name="mixing")(dense(4, "d")(x)))
    register_rule(Mixing, rule)
    try:
        with pytest.raises(UnsupportedLayer, match=named) as caught:
            widen(model, "d", 6, rng=0)
    finally:
        register_rule(Mixing, Rule())
    assert "\n" not in str(caught.value)


def normalised():
    return model_of(lambda x: layers.ReLU(name="r")(layers.BatchNormalization(name="bn")(layers.Dense(4, name="d")(x))))


@pytest.mark.parametrize(
    "data",
    [np.full((4, 8), np.nan), np.ones((4, 7)), np.ones((0, 8)), "abc", 3, np.ones(8), {"wrong": BATCH}, object()],
)
def test_data_that_are_no_inputs_are_refused(data):
    with pytest.raises(InvalidData, match=r"[Dd]ata .* (inputs|finite)") as caught:
        deepen(normalised(), "r", data=data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rng", [-1, "abc", 1.5, True, object()])
def test_what_draws_nothing_is_refused(rng):
    with pytest.raises(InvalidConfiguration, match=r"rng is a np.random.Generator, or a seed"):
        widen(normalised(), "d", 6, rng=rng)


@pytest.mark.parametrize(
    ("operate", "named"),
    [
        (lambda model: widen(model, "d", 10**13, rng=0), "at most 1,048,576"),
        (lambda model: widen(model, ["d"], 6, rng=0), "given by its name"),
        (lambda model: explain(model, {"d": 1}), "given by its name"),
        (lambda model: deepen(model, ["r"], data=BATCH), "given by its name"),
        (lambda model: widen(model, model.get_layer("d"), 6, rng=0), r"layer.name. Received: <Dense"),
        (lambda model: grow(model, None), "Steps are a list"),
        (lambda model: grow(model, Widen("d", 6), rng=0), "Steps are a list"),
        (lambda model: deepen(model, "r", data=BATCH, kernel_size=True), "odd number"),
        (
            lambda model: grow(model, [Widen("d", 6), Widen("d", 6)], rng=0),
            "'d' cannot be widened to 6: .* the 6 channels",
        ),
        (lambda _: widenable(None), "models of Keras. Received: None"),
    ],
)
def test_bad_arguments_are_errors_in_one_line(operate, named):
    with pytest.raises(EASError, match=named) as caught:
        operate(normalised())
    assert "\n" not in str(caught.value)


def test_a_model_within_the_model_is_no_layer():
    inner = keras.Sequential([keras.Input((8,)), dense(4, "d")], name="inner")
    inputs = keras.Input((8,))
    model = keras.Model(inputs, layers.Dense(2)(inner(inputs)))
    for operate in (
        lambda: widen(model, "inner", 9, rng=0),
        lambda: deepen(model, "inner"),
        lambda: explain(model, "inner"),
    ):
        with pytest.raises(
            IllegalTransformation, match=r"'inner' is a model within the model. Its layers are .*inner/d"
        ):
            operate()


def test_why_nothing_can_be_inserted():
    inputs = keras.Input((8, 6, 3))
    x = layers.Conv2D(4, 3, data_format="channels_first", name="first")(inputs)
    model = keras.Model(inputs, dense(3, "d")(layers.Flatten()(x)))
    with pytest.raises(IllegalTransformation, match=r"'d': the model has layers with channels first"):
        deepen(model, "d")
