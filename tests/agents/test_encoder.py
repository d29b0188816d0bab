import keras
import numpy as np
import pytest
import tensorflow as tf

from eas_tf.agents.encoder import Encoder


@pytest.fixture(scope="module")
def encoder():
    encoder = Encoder(12, rng=np.random.default_rng(0))
    for variable in encoder.trainable_variables:  # large weights, so that nothing hides in the linear range
        variable.assign(variable * 4.0)
    return encoder


TOKENS = np.array([[3, 7, 2, 9, 1, 4, 4], [5, 0, 0, 0, 0, 0, 0], [1, 2, 3, 11, 0, 0, 0]], np.int32)


def keras_states(encoder, tokens):
    """Keras's own masked bidirectional LSTM with the same weights: layer states, last outputs, last cell states."""
    lstm = keras.layers.LSTM(50, return_sequences=True, return_state=True)
    both = keras.layers.Bidirectional(lstm)
    both.build((None, None, 16))
    pairs = zip(both.trainable_variables, encoder.trainable_variables[1:], strict=True)
    for theirs, ours in pairs:
        theirs.assign(ours)
    with tf.GradientTape() as tape:
        states, h1, c1, h2, c2 = both(tf.gather(encoder.tokens.embeddings, tokens), mask=tokens != 0)
        loss = score(
            states * tf.cast(tokens != 0, tf.float32)[..., None], tf.concat([h1, h2], 1), tf.concat([c1, c2], 1)
        )
    gradients = tape.gradient(loss, [v.value for v in both.trainable_variables])
    return (states, tf.concat([h1, h2], 1), tf.concat([c1, c2], 1)), gradients


def score(layers, output, cell):
    return tf.reduce_sum(tf.sin(layers)) + tf.reduce_sum(output**2) + tf.reduce_sum(tf.cos(cell))


def test_it_computes_what_keras_computes_under_a_mask_and_so_do_its_gradients(encoder):
    """The gradients matter: the kernel's second version (`BlockLSTMV2`) has wrong ones behind right outputs."""
    expected, expected_gradients = keras_states(encoder, TOKENS)
    with tf.GradientTape() as tape:
        encoded = encoder.encode(TOKENS)
        layers = encoded.layers * tf.cast(TOKENS != 0, tf.float32)[..., None]
        loss = score(layers, encoded.output, encoded.cell)
    gradients = tape.gradient(loss, [v.value for v in encoder.trainable_variables[1:]])
    there = TOKENS != 0
    np.testing.assert_allclose(encoded.layers.numpy()[there], expected[0].numpy()[there], atol=2e-6)
    np.testing.assert_allclose(encoded.output, expected[1], atol=2e-6)
    np.testing.assert_allclose(encoded.cell, expected[2], atol=1e-5)
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


def test_padding_changes_nothing_in_either_direction(encoder):
    short, long = encoder.encode(TOKENS[2:, :4]), encoder.encode(np.pad(TOKENS[2:], ((0, 0), (0, 9))))
    np.testing.assert_allclose(long.layers[:, :4], short.layers, atol=1e-6)
    np.testing.assert_allclose(long.output, short.output, atol=1e-6)
    np.testing.assert_allclose(long.cell, short.cell, atol=1e-6)
    beside = encoder.encode(TOKENS)
    np.testing.assert_allclose(beside.output[2:], short.output, atol=1e-6)


def test_cell_states_are_not_clipped():
    """The fused kernel clips at 3 unless told otherwise; saturated gates take the state up by about 1 a layer."""
    encoder = Encoder(2, rng=np.random.default_rng(0))
    encoder.forward.bias.assign(np.full(200, 20.0))
    assert encoder.encode(np.ones((1, 10), np.int32)).cell.numpy()[0, 0] == pytest.approx(10.0, abs=0.1)
