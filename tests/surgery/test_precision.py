"""Surgery is as exact as the model's own precision: 1e-10 in float64."""

import keras
import numpy as np
import pytest
from trained_graphs import randomise

from eas_tf.surgery import Deepen, Widen, deepen, deepenable, grow, output_difference, widen

layers = keras.layers
BATCH = np.random.default_rng(0).normal(size=(64, 8, 8, 3))


def network(**options):
    inputs = keras.Input((8, 8, 3), dtype="float64")
    x = layers.Conv2D(6, 3, name="conv", **options)(inputs)
    x = layers.ReLU(name="relu", **options)(layers.BatchNormalization(name="norm", **options)(x))
    x = layers.Dense(5, activation="relu", name="hidden", **options)(layers.Flatten(**options)(x))
    x = layers.Multiply(**options)([x, layers.Dense(5, activation="sigmoid", name="gate", **options)(x)])
    return randomise(keras.Model(inputs, layers.Dense(2, **options)(x)), np.random.default_rng(1))


STEPS = [Deepen("relu"), Widen("relu_deeper", 9), Deepen("relu_deeper_relu", 1), Deepen("hidden"), Widen("gate", 7)]


@pytest.mark.usefixtures("float64")
def test_growing_a_float64_model_is_exact_to_1e_10():
    model = network()
    grown = grow(model, STEPS, data=BATCH, rng=0)
    assert {weight.dtype for weight in grown.weights} == {"float64"}
    assert output_difference(model, grown, BATCH) < 1e-10


def test_layers_of_float64_in_a_float32_process_are_deepened_in_float64():
    model = network(dtype="float64")
    grown = grow(model, STEPS, data=BATCH, rng=0)
    assert {weight.dtype for weight in grown.weights} == {"float64"}
    assert output_difference(model, grown, BATCH) < 1e-10


def test_an_operation_has_the_precision_of_its_output():
    inputs = keras.Input((8,), dtype="float64")
    model = keras.Model(inputs, layers.Dense(2, dtype="float64")(keras.ops.relu(inputs)))
    (place,) = deepenable(model)
    deeper = deepen(model, place)
    assert deeper.get_layer(f"{place}_deeper").kernel.dtype == "float64"
    assert output_difference(model, deeper, BATCH[:, 0, :, 0]) < 1e-10


@pytest.mark.usefixtures("float64")
def test_noise_is_of_the_models_precision():
    model = network()
    grown = grow(model, STEPS, data=BATCH, rng=0, symmetry_breaking="noise")
    assert 1e-6 < output_difference(model, grown, BATCH) < 1
    assert widen(model, "gate", 7, rng=0, symmetry_breaking="noise").get_layer("gate").kernel.dtype == "float64"
