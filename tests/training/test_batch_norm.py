import keras
import numpy as np
import pytest
import tensorflow as tf

from eas_tf.training.batch_norm import FusedBatchNormalization


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
