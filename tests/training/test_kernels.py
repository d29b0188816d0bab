import keras
import numpy as np
import pytest
import tensorflow as tf

from eas_tf.training.kernels import FusedBatchNormalization, HalvedConv2D, PixelNormalization


def pair(shape):
    """Keras's layer and ours with the same weights, off their defaults."""
    rng = np.random.default_rng(0)
    layers = [kind(epsilon=1e-5, momentum=0.9) for kind in (keras.layers.BatchNormalization, FusedBatchNormalization)]
    weights = [rng.uniform(0.5, 2, shape[-1]).astype(np.float32) for _ in range(4)]
    for layer in layers:
        layer.build(shape)
        layer.set_weights(weights)
    return layers


@pytest.mark.parametrize("shape", [(16, 5, 4, 6), (32, 6)])
def test_training_and_inference_are_keras_own(shape):
    keras_layer, fused = pair(shape)
    inputs = tf.constant(np.random.default_rng(1).normal(3, 2, shape).astype(np.float32))
    results = []
    for layer in (keras_layer, fused):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
            loss = tf.reduce_sum(outputs * tf.cos(inputs))
        gradients = tape.gradient(loss, [inputs, *(v.value for v in layer.trainable_variables)])
        results.append([outputs, *gradients, *layer.get_weights(), layer(inputs, training=False)])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-4)


def test_the_moving_variance_is_the_biased_one():
    """Of the values 0 and 2 in a batch of two the biased variance is 1, the unbiased 2: 0.9 * v + 0.1 * 1."""
    _, fused = pair((2, 1))
    before = fused.moving_variance.numpy()
    fused(tf.constant([[0.0], [2.0]]), training=True)
    np.testing.assert_allclose(fused.moving_variance.numpy(), 0.9 * before + 0.1 * 1.0, rtol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": "same", "use_bias": False},
        {"kernel_size": 5, "padding": "same", "strides": 2, "activation": "tanh"},
        {"kernel_size": (2, 3), "padding": "valid"},
        {"kernel_size": 3, "padding": "same", "dilation_rate": 2},
        {"kernel_size": 3, "padding": "same", "groups": 2},
    ],
)
@pytest.mark.parametrize("batch", [64, 7])
def test_a_halved_convolution_is_keras_own(options, batch):
    """So the number of cores that a worker has matters to rounding at most, and on most processors not even to that."""
    inputs = tf.random.stateless_normal([batch, 8, 8, 16], [0, 1])
    layers = [kind(32, **options) for kind in (keras.layers.Conv2D, HalvedConv2D)]
    for layer in layers:
        layer.build(inputs.shape)
        layer.set_weights([np.random.default_rng(0).normal(size=w.shape) for w in layer.weights])

    @tf.function(autograph=False)
    def results(layer):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs)
            loss = tf.reduce_sum(outputs * tf.cos(outputs))
        return outputs, *tape.gradient(loss, [inputs, *(v.value for v in layer.trainable_variables)])

    for ours, theirs in zip(*[results(layer) for layer in layers], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


def test_a_halved_convolution_is_two_operations():
    layer = HalvedConv2D(4, 3, padding="same")
    trace = tf.function(layer, autograph=False).get_concrete_function(tf.TensorSpec([8, 5, 5, 2]))
    assert [operation.type for operation in trace.graph.get_operations()].count("Conv2D") == 2


@pytest.mark.parametrize("shape", [(5, 4, 3), (None, None, 3)])
def test_pixel_normalization_is_keras_own_to_the_last_bit(shape):
    options = {"mean": [120.5, 100.0, 90.1], "variance": [60.0**2, 59.3**2, 0.0]}
    inputs = tf.random.stateless_uniform([7, 5, 4, 3], [0, 1], 0, 255)
    results = []
    for kind in (keras.layers.Normalization, PixelNormalization):
        layer = kind(**options)
        layer.build((None, *shape))
        layer.finalize_state()
        results.append(layer(inputs).numpy())
    assert np.array_equal(*results)
    assert layer.mean.shape == ((1, 5, 4, 3) if shape[0] else (1, 1, 1, 3))
