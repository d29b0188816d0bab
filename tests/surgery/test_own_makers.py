"""Layers of a user's own that make channels, known by a `Maker`."""

import keras
import numpy as np
import pytest
from trained_graphs import randomise

from eas_tf.errors import UnsupportedLayer
from eas_tf.surgery import Maker, Rule, deepen, deepenable, output_difference, register_rule, widen, widenable

layers = keras.layers
BATCH = np.random.default_rng(0).normal(size=(16, 5))
serializable = keras.saving.register_keras_serializable("own_makers")


@serializable
class OwnDense(layers.Dense):
    """A subclass: the kernel comes first, `[in, out]`."""


@serializable
class Gated(layers.Layer):
    """A layer of its own whose kernel comes last, `[out, in]`, behind a gain for each channel and a temperature."""

    def __init__(self, channels, activation=None, **options):
        super().__init__(**options)
        self.channels, self.activation = channels, keras.activations.get(activation)

    def build(self, shape):
        self.gain = self.add_weight(shape=(self.channels,), name="gain")
        self.temperature = self.add_weight(shape=(1,), name="temperature")
        self.kernel = self.add_weight(shape=(self.channels, shape[-1]), name="kernel")

    def call(self, x):
        return self.activation(keras.ops.matmul(x, keras.ops.transpose(self.kernel)) * self.gain / self.temperature)

    def get_config(self):
        activation = keras.activations.serialize(self.activation)
        return super().get_config() | {"channels": self.channels, "activation": activation}


GATED = Maker("channels", kernel=2, axis=-2)


@pytest.fixture(autouse=True)
def _rules():
    register_rule(OwnDense, Maker("units"))
    register_rule(Gated, GATED)
    yield
    register_rule(OwnDense, Rule())
    register_rule(Gated, Rule())


def network(last="relu"):
    """Own layers in a row and behind an addition, as makers and as consumers."""
    inputs = keras.Input((5,))
    x = OwnDense(4, activation="relu", name="own")(inputs)
    x = layers.Add(name="join")([Gated(4, "relu", name="gated")(x), x])
    x = OwnDense(6, name="behind")(Gated(3, last, name="last")(x))
    model = keras.Model(inputs, layers.Dense(2, name="head")(x))
    return randomise(model, np.random.default_rng(1))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("layer", "key"), [("own", "units"), ("gated", "channels"), ("last", "channels")])
def test_widening_is_exact_to_1e_10_and_the_configuration_has_the_width(layer, key):
    model = network()
    assert widenable(model) == {"own": 4, "gated": 4, "last": 3, "behind": 6}
    wider = widen(model, layer, 9, rng=0)
    assert wider.get_layer(layer).get_config()[key] == 9
    assert output_difference(model, wider, BATCH) < 1e-10
    assert output_difference(model, widen(wider, "behind", 11, rng=1), BATCH) < 1e-10


@pytest.mark.usefixtures("float64")
def test_noise_is_on_the_replicas_of_the_kernel_alone():
    model = network()
    wider = widen(model, "last", 9, rng=0, symmetry_breaking="noise")
    assert 1e-6 < output_difference(model, wider, BATCH) < 0.5
    gain, temperature, kernel = wider.get_layer("last").get_weights()
    old_gain, old_temperature, old_kernel = model.get_layer("last").get_weights()
    assert set(gain) == set(old_gain)
    assert temperature == old_temperature
    assert [old in kernel for old in old_kernel] == [True] * 3


def test_a_layer_can_be_inserted_behind_a_rectified_one():
    model = network()
    assert deepenable(model) == ["own", "gated", "join", "last"]
    assert output_difference(model, deepen(model, "last"), BATCH) < 1e-5


@pytest.mark.parametrize(
    ("rule", "received"),
    [
        (Maker("units", kernel=2, axis=-2), r"None, and a weight of shape \(3, 4\)"),
        (Maker("channels", kernel=2), r"3, and a weight of shape \(3, 4\)"),
        (Maker("channels", axis=-2), r"3, and a weight of shape \(3,\)"),
        (Maker("channels", kernel=3), r"3, and a weight of shape \(\)"),
    ],
    ids=["width", "axis", "kernel", "no kernel"],
)
def test_a_maker_that_does_not_describe_its_layer_is_refused(rule, received):
    register_rule(Gated, rule)
    model = network()
    assert "last" not in widenable(model)
    with pytest.raises(
        UnsupportedLayer, match=f"rule of 'last', a Gated, does not .* channels, 3. Received: {received}"
    ):
        widen(model, "last", 9, rng=0)


def test_an_activation_that_combines_channels_is_no_place_for_replicas():
    assert set(widenable(network(last="softmax"))) == {"own", "gated", "behind"}


class Both(layers.Layer):
    def build(self, shapes):
        self.kernel = self.add_weight(shape=(shapes[0][-1], 3))

    def call(self, pair):
        return keras.ops.matmul(pair[0] * pair[1], self.kernel)

    def get_config(self):
        return super().get_config() | {"units": 3}


def test_a_maker_has_one_input():
    inputs = keras.Input((5,))
    parts = [layers.Dense(4, name=name)(inputs) for name in ("a", "b")]

    register_rule(Both, Maker("units"))
    model = keras.Model(inputs, layers.Dense(2)(Both(name="both")(parts)))
    assert widenable(model) == {}
