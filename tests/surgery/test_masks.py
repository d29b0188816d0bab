"""Masks: an inserted layer passes them on, and what is given as a mask is an input that channels reach."""

import keras
import numpy as np
import pytest
from trained_graphs import randomise

from eas_tf.errors import EASError
from eas_tf.surgery import PerChannel, deepen, deepenable, grow, output_difference, register_rule, widen, widenable

# Keras warns of each model and each flattening that is given a mask, also where the mask does what it should.
pytestmark = pytest.mark.filterwarnings("ignore:Layer '(sequential|functional|flatten|gated)")
layers = keras.layers
RNG = np.random.default_rng(0)


def sequences(shape=(4, 7, 6)):
    batch = RNG.normal(size=shape).astype("float32")
    batch[:, 4:] = 0
    return batch


def recurrent(first, *between):
    stack = [*first, layers.LSTM(5, return_sequences=True), *between, layers.ReLU(name="r"), layers.LSTM(4)]
    return randomise(keras.Sequential([*stack, layers.Dense(2)]), np.random.default_rng(1))


@pytest.mark.parametrize(
    "between", [(), (layers.BatchNormalization,), (layers.Dropout, layers.Dense)], ids=["", "norm", "dense"]
)
def test_a_sequential_model_keeps_its_mask(between):
    arguments = {layers.Dropout: (0.1,), layers.Dense: (3,)}
    model = recurrent([keras.Input((7, 6)), layers.Masking()], *(kind(*arguments.get(kind, ())) for kind in between))
    batch = sequences()
    grown = deepen(model, "r", data=batch)
    assert isinstance(grown, keras.Sequential)
    assert output_difference(model, grown, batch) < 1e-6


def test_a_sequential_model_keeps_the_mask_of_an_embedding():
    model = recurrent([keras.Input((7,)), layers.Embedding(9, 6, mask_zero=True)])
    batch = RNG.integers(3, size=(4, 7))
    assert output_difference(model, deepen(model, "r"), batch) < 1e-6


@pytest.mark.parametrize("inner", ["sequential", "functional"])
def test_a_model_within_a_model_is_given_a_mask(inner):
    within = recurrent([keras.Input((7, 6))])
    if inner == "functional":
        within = keras.Model(within.inputs[0], within.outputs[0])
    inputs = keras.Input((7, 6))
    model = keras.Model(inputs, layers.Dense(2)(within(layers.Masking()(inputs))))
    batch = sequences()
    assert output_difference(model, deepen(model, f"{within.name}/r"), batch) < 1e-6


@pytest.mark.filterwarnings("error")
def test_a_functional_model_keeps_its_mask_without_a_warning_of_keras():
    inputs = keras.Input((7, 6))
    x = layers.Dense(5, activation="relu", name="d")(layers.Masking()(inputs))
    x = layers.LSTM(4, return_sequences=True)(x)
    model = keras.Model(inputs, layers.Dense(2)(layers.LSTM(3)(layers.ReLU(name="r")(x))))
    batch = sequences()
    for place in deepenable(model):
        assert output_difference(model, deepen(model, place), batch) < 1e-6


def test_a_mask_is_never_made_of_values_that_a_batch_norm_has_rounded():
    model = recurrent([keras.Input((7, 6)), layers.Dense(5), layers.BatchNormalization(), layers.ReLU(name="a")])
    stack = [layer for layer in model.layers if layer.name != "a"]
    model = keras.Sequential([keras.Input((7, 6)), *stack[:2], layers.ReLU(name="a"), layers.Masking(), *stack[2:]])
    batch = sequences()
    assert "a" not in deepenable(model)
    with pytest.raises(EASError, match="'a': a mask tells its zeros from other values"):
        deepen(model, "a", data=batch)
    for place in deepenable(model):
        assert output_difference(model, deepen(model, place, data=batch), batch) < 1e-6


class Gated(layers.Layer):
    """Multiplies by what it is given as a mask."""

    def call(self, x, mask=None):
        return x * keras.ops.mean(mask, axis=-1, keepdims=True)


class Scaled(layers.Layer):
    """Multiplies by another argument of its call."""

    def call(self, x, gate=None, *, scale=1.0):
        return x * keras.ops.mean(gate, axis=-1, keepdims=True) * scale


@pytest.mark.parametrize("known", [False, True], ids=["no rule", "a rule"])
@pytest.mark.parametrize(
    "call",
    [
        lambda x, gate: Gated(name="gated")(x, mask=gate),
        lambda x, gate: Scaled(name="scaled")(x, gate=gate),
        lambda x, gate: Scaled(name="scaled")(x, gate, scale=0.5),
    ],
    ids=["mask", "keyword", "position"],
)
def test_a_tensor_in_any_argument_is_an_input_that_channels_reach(call, known):
    inputs = keras.Input((8,))
    gate, x = layers.Dense(6, activation="sigmoid", name="gate")(inputs), layers.Dense(4, name="x")(inputs)
    model = keras.Model(inputs, layers.Dense(2)(call(x, gate)))
    if known:
        register_rule(Gated, PerChannel())
        register_rule(Scaled, PerChannel())
    assert not {"gate", "x"} & set(widenable(model))
    with pytest.raises(EASError, match=r"'gate' cannot be widened: .*'(gated|scaled)'"):
        widen(model, "gate", 9, rng=0)


def test_channels_that_are_a_mask_by_position_are_not_widened():
    inputs = keras.Input((7, 6))
    x, mask = layers.Dense(5, name="x")(inputs), layers.Dense(7, activation="relu", name="m")(layers.Flatten()(inputs))
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D(name="mean")(x, mask=mask)))
    assert widenable(model) == {"x": 5}
    batch = RNG.normal(size=(4, 7, 6))
    assert output_difference(model, widen(model, "x", 8, rng=0), batch) < 1e-6
    with pytest.raises(EASError, match="'m' cannot be widened: 'mean' takes them as a mask"):
        widen(model, "m", 8, rng=0)


def test_a_softmax_with_a_mask_of_channels_is_refused():
    inputs = keras.Input((7, 6))
    mask = layers.Dense(5, name="m")(inputs) > 0.0
    x = layers.Softmax(axis=1)(layers.Dense(5, name="x")(inputs), mask=mask)
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    batch = RNG.normal(size=(4, 7, 6))
    for name in widenable(model):
        assert output_difference(model, widen(model, name, 8, rng=0), batch) < 1e-6
    assert "x" not in widenable(model)


def test_truth_values_are_no_place_for_a_layer():
    inputs = keras.Input((7, 6))
    x = layers.Dense(5, activation="relu", name="d")(inputs)
    model = keras.Model(inputs, layers.Dense(2)(layers.LSTM(4)(layers.Masking(name="masking")(x))))
    assert deepenable(model) == ["d", "masking"]
    (mask,) = [operation.name for operation in model.operations if "not_equal" in operation.name]
    with pytest.raises(EASError, match=r"'not_equal.*': its values are of type bool"):
        deepen(model, mask)
    numbers = keras.Input((7,), dtype="int32")
    counted = keras.Model(numbers, layers.Embedding(9, 3)(keras.ops.absolute(numbers)))
    assert deepenable(counted) == []
    assert output_difference(model, grow(model, []), sequences()) == 0
