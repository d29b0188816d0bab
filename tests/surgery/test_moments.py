"""Per-channel statistics of what leaves each layer, and how far two models are apart."""

import keras
import numpy as np
import pytest
from trained_graphs import call, images, sequential_model

from eas_tf.surgery import LayerGraph, measure_moments, output_difference

layers = keras.layers


def scaled(factor, bias):
    """One dense unit a channel: `factor * x + bias`."""
    model = keras.Sequential([keras.Input((2, 1, 1)), layers.Dense(1, name="scaled"), layers.ReLU(name="relu")])
    model.get_layer("scaled").set_weights([np.full((1, 1), factor, np.float32), np.full(1, bias, np.float32)])
    return model


def test_hand_written_moments():
    """2x - 2 over the pixels 0, 1, 2, 3 is -2, 0, 2, 4: mean 1, biased variance 5; after ReLU 0, 0, 2, 4: 1.5, 2.75."""
    graph = LayerGraph.from_keras(scaled(2, -2))
    measured = measure_moments(graph, np.arange(4, dtype=np.uint8).reshape(2, 2, 1, 1))
    for name, mean, variance in (("scaled", 1, 5), ("relu", 1.5, 2.75)):
        assert measured[name].moments.mean.tolist() == [mean]
        assert measured[name].moments.variance.tolist() == [variance]
    assert measured.nodes[0].moments is None
    assert all(node.moments is None for node in graph.nodes)
    assert measured.digest == graph.digest


@pytest.mark.parametrize("batch", [1, 3, 128])
def test_moments_of_every_layer_in_batches_of_any_size(batch):
    """Against NumPy in float64 on each layer's output in inference mode."""
    rng = np.random.default_rng(0)
    model, data = sequential_model(rng), images(rng, 7, (8, 6, 3))
    measured = measure_moments(LayerGraph.from_keras(model), data, batch=batch)
    for layer in model.layers:
        values = call(keras.Model(model.inputs[0], layer.output), data).astype(np.float64)
        values = values.reshape(-1, values.shape[-1])
        moments = measured[layer.name].moments
        scale = np.abs(values).max()
        np.testing.assert_allclose(moments.mean, values.mean(0), rtol=0, atol=1e-6 * scale)
        np.testing.assert_allclose(moments.variance, values.var(0), rtol=0, atol=1e-6 * scale**2)
        assert moments.mean.dtype == moments.variance.dtype == np.float64


def test_a_constant_channel_has_variance_zero():
    graph = LayerGraph.from_keras(scaled(0, 0.1))
    measured = measure_moments(graph, images(np.random.default_rng(0), 50, (2, 1, 1)))
    assert 0 <= measured["scaled"].moments.variance[0] < 1e-12


def test_output_difference_is_relative_to_the_first_model():
    """x in 0 to 3 gives 0 to 6 and 0.5 to 6.5 (2x and 2x + 0.5): 0.5 / 6 and 0.5 / 6.5."""
    data = np.arange(4, dtype=np.float32).reshape(2, 2, 1, 1)
    first, second = scaled(2, 0), scaled(2, 0.5)
    assert output_difference(first, second, data) == pytest.approx(0.5 / 6)
    assert output_difference(second, first, data) == pytest.approx(0.5 / 6.5)
    assert output_difference(first, first, data) == 0


def test_output_difference_can_look_at_training_mode():
    """Batch norm with moving statistics of its own sees its batch instead."""
    data = np.arange(8, dtype=np.float32).reshape(8, 1)
    first, second = (keras.Sequential([keras.Input((1,)), layers.BatchNormalization()]) for _ in range(2))
    second.layers[0].moving_mean.assign([3.0])
    assert output_difference(first, second, data) > 0.1
    assert output_difference(first, second, data, training=True) == 0
