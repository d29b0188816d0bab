"""Models within models, called in any of the ways that Keras knows."""

import keras
import numpy as np
import pytest
from trained_graphs import randomise

from eas_tf.errors import EASError, UnsupportedLayer
from eas_tf.surgery import Deepen, LayerGraph, Widen, deepen, deepenable, grow, output_difference, widen, widenable

layers = keras.layers
RNG = np.random.default_rng(0)
BATCH = RNG.normal(size=(16, 8)).astype("float32")


def difference_model(names, structure):
    """`z` and `a` are read by different layers, so that it shows if they change places."""
    inputs = {name: keras.Input((4,), name=name) for name in names}
    outputs = layers.Subtract()([layers.Dense(3, name=f"of_{name}")(inputs[name]) for name in ("z", "a")])
    return keras.Model(structure(inputs), outputs, name="inner")


STRUCTURES = {
    "list": lambda inputs: [inputs["z"], inputs["a"]],
    "list in another order": lambda inputs: [inputs["a"], inputs["z"]],
    "dictionary": lambda inputs: {"a": inputs["a"], "z": inputs["z"]},
}
CALLS = {
    "dictionary": lambda inner, z, a: inner({"z": z, "a": a}),
    "dictionary in another order": lambda inner, z, a: inner({"a": a, "z": z}),
    "keyword": lambda inner, z, a: inner(inputs={"z": z, "a": a}),
}


@pytest.mark.parametrize("names", ["za", "az"])
@pytest.mark.parametrize("structure", STRUCTURES.values(), ids=STRUCTURES)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_inputs_by_name(names, structure, call):
    inner = difference_model(names, structure)
    inputs = keras.Input((8,))
    z, a = (layers.Dense(4, activation="relu", name=f"d{name}")(inputs) for name in "za")
    model = randomise(keras.Model(inputs, layers.Dense(2)(call(inner, z, a))), np.random.default_rng(1))
    assert widenable(model) == {"dz": 4, "da": 4, "inner/of_z": 3, "inner/of_a": 3}
    for name in widenable(model):
        assert output_difference(model, widen(model, name, 7, rng=0), BATCH) < 1e-6
    for place in deepenable(model):
        assert output_difference(model, deepen(model, place), BATCH) < 1e-6
    steps = [Widen("da", 8), Widen("dz", 8), Deepen("dz"), Widen("inner/of_a", 5)]
    assert output_difference(model, grow(model, steps, rng=0), BATCH) < 1e-6


@pytest.mark.parametrize(
    ("outer", "inner"),
    [((5, 1), (5,)), ((5,), (5, 1)), ((1,), (1, 1)), ((1, 1), (1,))],
    ids=str,
)
def test_keras_may_change_the_shape_of_what_a_model_is_given(outer, inner):
    """It drops or adds a last axis of length one, so what were channels are positions, or the other way round."""
    taken = keras.Input(inner)
    flat = layers.Flatten()(taken) if len(inner) > 1 else taken
    within = keras.Model(taken, layers.Dense(3, activation="relu", name="d")(flat), name="inner")
    inputs = keras.Input((8,))
    x = layers.Dense(int(np.prod(outer)), activation="relu", name="maker")(inputs)
    x = layers.Reshape(outer)(x) if len(outer) > 1 else x
    x = layers.BatchNormalization()(layers.Dense(outer[-1], name="last")(x))
    model = randomise(keras.Model(inputs, layers.Dense(2)(within(x))), np.random.default_rng(1))
    for name in widenable(model):
        assert output_difference(model, widen(model, name, 2 * widenable(model)[name], rng=0), BATCH) < 1e-6
    assert "inner/d" in widenable(model)
    assert "last" not in widenable(model)
    for place in deepenable(model):
        assert output_difference(model, deepen(model, place, data=BATCH), BATCH) < 1e-6


def test_moments_are_measured_within_models_as_they_run():
    """The inner model's input is cast to whole numbers, which its layers taken by themselves would not do."""
    taken = keras.Input((4,), dtype="int32")
    within = layers.ReLU(name="r")(layers.BatchNormalization()(layers.Dense(3)(taken)))
    inner = keras.Model(taken, within, name="inner")
    inputs = keras.Input((4,))
    outer = keras.Sequential([keras.Input((4,)), inner], name="outer")
    model = randomise(keras.Model(inputs, layers.Dense(2)(outer(inputs * 3.0))), np.random.default_rng(1))
    part = LayerGraph.from_keras(model).until("outer/inner/r").to_keras()
    expected = keras.Model(inputs, inner(inputs * 3.0))
    batch = RNG.normal(size=(16, 4)).astype("float32")
    assert output_difference(expected, part, batch) == 0
    assert output_difference(model, deepen(model, "outer/inner/r", data=batch), batch) < 1e-6


def test_a_model_that_is_called_on_a_constant_is_refused_by_name():
    inner = difference_model("za", STRUCTURES["list"])
    inputs = keras.Input((8,))
    x = inner([layers.Dense(4, name="d")(inputs), keras.ops.ones((1, 4))])
    model = keras.Model(inputs, layers.Dense(2)(x))
    with pytest.raises(
        UnsupportedLayer, match="The model 'inner' within the model is called on something other"
    ) as caught:
        widenable(model)
    assert "\n" not in str(caught.value)


def test_outputs_in_a_tuple_stay_in_one():
    inputs = keras.Input((8,))
    model = keras.Model(inputs, (layers.Dense(2)(layers.Dense(3, name="d")(inputs)), layers.Dense(1)(inputs)))
    assert isinstance(widen(model, "d", 5, rng=0)(BATCH), tuple)


def dense(name):
    return layers.Dense(5, activation="relu", name=name)


@keras.saving.register_keras_serializable("tied")
class TiedDense(layers.Layer):
    """Decodes with the transposed kernel of another layer."""

    def __init__(self, dense, **options):
        super().__init__(**options)
        self.dense = dense

    def call(self, x):
        return keras.ops.matmul(x, keras.ops.transpose(self.dense.kernel))

    def get_config(self):
        return {**super().get_config(), "dense": keras.saving.serialize_keras_object(self.dense)}


class Borrowed(layers.Layer):
    """Has a variable of another layer."""

    def __init__(self, variable, **options):
        super().__init__(**options)
        self.borrowed = variable

    def call(self, x):
        return x * keras.ops.sum(self.borrowed)


def tied_by_a_layer(code, hidden):
    return TiedDense(code, name="back")(hidden)


def tied_by_a_variable(code, hidden):
    return Borrowed(code.kernel, name="back")(hidden)


def tied_by_an_operation(code, hidden):
    return hidden * code.bias


def tied_by_a_lambda(code, hidden):
    return layers.Lambda(lambda x: x * keras.ops.sum(code.kernel), name="back")(hidden)


def tied_by_a_helper(code, hidden):
    def back(x):
        return x * keras.ops.sum(code.kernel)

    return layers.Lambda(lambda x: back(x), name="back")(hidden)


def tied_by_default(code, hidden):
    return layers.Lambda(lambda x, w=code.kernel: x * keras.ops.sum(w), name="back")(hidden)


SHARED = {}


class Borrowing(layers.Layer):
    """Uses a layer that is a global."""

    def call(self, x):
        return x * keras.ops.sum(SHARED["code"].kernel)


class Applying(layers.Layer):
    """Keeps a function."""

    def __init__(self, function=None, **options):
        super().__init__(**options)
        self.function = function

    def call(self, x):
        return self.function(x)

    def get_config(self):
        return super().get_config()


def tied_by_a_method(code, hidden):
    SHARED["code"] = code
    return Borrowing(name="back")(hidden)


def tied_by_a_kept_function(code, hidden):
    return Applying(lambda x: x * keras.ops.sum(code.kernel), name="back")(hidden)


def tied_by_a_wrapper(code, hidden):
    sequence = layers.RepeatVector(3)(layers.Dense(8)(hidden))
    return layers.Flatten()(layers.TimeDistributed(code, name="back")(sequence))


def tied_within_a_model(code, hidden):
    taken = keras.Input((8,))
    return keras.Model(taken, code(taken), name="back")(layers.Dense(8)(hidden))


TIES = [
    tied_by_a_layer,
    tied_by_a_variable,
    tied_by_an_operation,
    tied_by_a_lambda,
    tied_by_a_helper,
    tied_by_a_method,
    tied_by_a_kept_function,
    tied_by_default,
    tied_by_a_wrapper,
    tied_within_a_model,
]


@pytest.mark.parametrize("tie", TIES)
def test_tied_weights_are_never_made_two(tie):
    code, inputs = dense("code"), keras.Input((8,))
    encoded = code(inputs)
    model = keras.Model(inputs, layers.Dense(2)(tie(code, dense("hidden")(encoded))))
    for operate in (widenable, deepenable, lambda each: widen(each, "hidden", 7, rng=0), lambda each: grow(each, [])):
        with pytest.raises(
            EASError,
            match=r"share the weight|uses the weights|called 2 times|Cannot serialize object <Variable",
        ) as caught:
            operate(model)
        assert "code" in str(caught.value) or "bias" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_layers_that_another_model_shares_are_no_tie():
    code, inputs = dense("code"), keras.Input((8,))
    encoder = keras.Model(inputs, code(inputs))
    whole = keras.Model(inputs, layers.Dense(8)(encoder.output))
    assert output_difference(whole, widen(whole, "code", 7, rng=0), BATCH) < 1e-6
    assert len(encoder.weights) == 2
