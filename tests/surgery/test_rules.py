"""Each layer that has a rule, behind a layer that is widened and before one that takes the replicas."""

import keras
import numpy as np
import pytest
from trained_graphs import images, randomise

from eas_tf.surgery import output_difference, widen, widenable

layers = keras.layers
SHAPES = {0: (6,), 1: (6, 3), 2: (6, 5, 3), 3: (4, 5, 3, 2)}


def of_rank(name, **options):
    """The layer for each number of spatial dimensions that Keras has it for."""
    found = {rank: name.replace("#", str(rank)) for rank in (1, 2, 3)}
    return [(rank, getattr(layers, full), options) for rank, full in found.items() if hasattr(layers, full)]


MAKERS = [
    *of_rank("Conv#D", filters=4, kernel_size=3),
    *of_rank("Conv#D", filters=4, kernel_size=3, strides=2, padding="same", use_bias=False, activation="gelu"),
    *of_rank("Conv#D", filters=6, kernel_size=2, dilation_rate=2, groups=2),
    *of_rank("Conv#DTranspose", filters=4, kernel_size=3, strides=2),
    *of_rank("SeparableConv#D", filters=4, kernel_size=3, depth_multiplier=2),
    *[(rank, layers.Dense, {"units": 5}) for rank in range(4)],
]
OTHERS = [
    *of_rank("DepthwiseConv#D", kernel_size=3, activation="relu"),
    *of_rank("DepthwiseConv#D", kernel_size=3, depth_multiplier=3, use_bias=True),
    *of_rank("MaxPooling#D", pool_size=2),
    *of_rank("AveragePooling#D", pool_size=2, padding="same"),
    *of_rank("GlobalMaxPooling#D", keepdims=True),
    *of_rank("AdaptiveMaxPooling#D", output_size=2),
    *of_rank("ZeroPadding#D", padding=1),
    *of_rank("Cropping#D", cropping=1),
    *of_rank("UpSampling#D", size=2),
    *of_rank("SpatialDropout#D", rate=0.1),
    (2, layers.Resizing, {"height": 3, "width": 4}),
    (2, layers.CenterCrop, {"height": 3, "width": 4}),
    *[(rank, layers.BatchNormalization, {"center": rank > 1, "scale": rank < 2}) for rank in range(4)],
    *[(rank, layers.GroupNormalization, {"groups": -1}) for rank in range(4)],
    (2, layers.UnitNormalization, {"axis": 1}),
    (1, layers.Softmax, {"axis": 1}),
    *[(2, layers.PReLU, {"shared_axes": axes}) for axes in (None, [1, 2], [1, 2, 3])],
    (2, layers.Rescaling, {"scale": [0.5, 1.0, 2.0, 3.0], "offset": 0.5}),
    (2, layers.Normalization, {"mean": [0.5, 1.0, 2.0, 3.0], "variance": [1.0, 2.0, 3.0, 4.0]}),
    (2, layers.Dropout, {"rate": 0.5, "noise_shape": (None, 1, 1, 4)}),
    (2, layers.Reshape, {"target_shape": (5, 6, 4)}),
    (2, layers.Reshape, {"target_shape": (6, 20)}),
    (2, layers.Reshape, {"target_shape": (-1, 8)}),
    (1, layers.Reshape, {"target_shape": (3, -1)}),
    (2, layers.Permute, {"dims": (2, 1, 3)}),
    (0, layers.RepeatVector, {"n": 3}),
    *[(rank, layers.Flatten, {}) for rank in range(4)],
    *[
        (2, kind, {})
        for kind in (layers.ELU, layers.LeakyReLU, layers.ReLU, layers.Identity, layers.ActivityRegularization)
    ],
    *[(2, layers.Activation, {"activation": name}) for name in ("tanh", "relu6", "mish", "hard_swish", "softsign")],
    *[(2, kind, {"rate": 0.2}) for kind in (layers.Dropout, layers.AlphaDropout, layers.GaussianDropout)],
]


def identity(case):
    rank, kind, options = case
    return f"{kind.__name__}-{rank}-{'-'.join(f'{key}={value}' for key, value in options.items())}"


def model_with(rank, kind, options):
    """A dense layer of four channels, the layer, a flattened head."""
    inputs = keras.Input(SHAPES[rank])
    x = kind(**options, name="it")(layers.Dense(4, name="before")(inputs))
    return randomise(keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x))), np.random.default_rng(0))


@pytest.mark.parametrize("case", MAKERS, ids=identity)
def test_what_makes_channels_takes_replicas_and_is_widened(case):
    model, batch = model_with(*case), images(np.random.default_rng(1), shape=SHAPES[case[0]])
    width = widenable(model)["it"]
    for layer, units in (("before", 8), ("it", 2 * width)):
        assert output_difference(model, widen(model, layer, units, rng=2), batch) <= 1e-5
    both = widen(widen(model, "it", width + 2, rng=3), "before", 6, rng=3)
    assert output_difference(model, both, batch) <= 1e-5


@pytest.mark.parametrize("case", OTHERS, ids=identity)
def test_what_passes_channels_on_repeats_its_weights(case):
    model, batch = model_with(*case), images(np.random.default_rng(1), shape=SHAPES[case[0]])
    wider = widen(model, "before", 7, rng=2)
    assert wider.get_layer("before").units == 7
    assert output_difference(model, wider, batch) <= 1e-5


def test_the_channels_of_an_embedding():
    inputs = keras.Input((5,), dtype="int32")
    x = layers.Flatten()(layers.Embedding(9, 3, name="words")(inputs))
    model = randomise(keras.Model(inputs, layers.Dense(3)(x)), np.random.default_rng(0))
    words = np.random.default_rng(1).integers(9, size=(4, 5))
    wider = widen(model, "words", 7, rng=0)
    assert wider.get_layer("words").output_dim == 7
    assert output_difference(model, wider, words) <= 1e-5


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_concatenation_on_any_axis(axis):
    inputs = keras.Input((6, 5, 3))
    parts = [layers.Conv2D(4, 1, name=name)(inputs) for name in ("left", "right")]
    x = layers.Flatten()(layers.Concatenate(axis=axis)([*parts, parts[0]]))
    model = randomise(keras.Model(inputs, layers.Dense(3)(x)), np.random.default_rng(0))
    wider = widen(model, "left", 7, rng=0)
    assert output_difference(model, wider, images(np.random.default_rng(1), shape=(6, 5, 3))) <= 1e-5
    assert wider.get_layer("right").filters == (4 if axis == -1 else 7)
