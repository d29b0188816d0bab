"""The encoder network (EAS paper, Fig. 1): layer tokens to one state a layer, and one for the whole network."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from eas_tf.agents.layers import embedding, lstm_cell

#: Sizes of the paper's code: the embedding of a token, and the LSTM units of each direction.
EMBEDDING = 16
UNITS = 50
#: A layer's state: both directions.
STATE = 2 * UNITS


class Encoded(NamedTuple):
    """What the actors read."""

    layers: tf.Tensor
    """The state of each layer, `[n, max_layers, 100]`, forward then backward; meaningless at padding."""
    output: tf.Tensor
    """The LSTMs' last outputs, `[n, 100]`: forward after the last layer, backward after the first."""
    cell: tf.Tensor
    """The LSTMs' last cell states, `[n, 100]`, likewise."""


class Encoder(keras.layers.Layer):
    """Embedding of 16, then a one-layer bidirectional LSTM with 50 units a direction. Padding is skipped.

    The same numbers as Keras's `Bidirectional(LSTM(50, return_sequences=True))` under a mask, in less time.
    """

    def __init__(self, vocabulary: int, *, rng: np.random.Generator) -> None:
        super().__init__(dtype="float32")
        self.tokens = embedding(vocabulary, EMBEDDING, rng=rng)
        self.forward, self.backward = (lstm_cell(EMBEDDING, UNITS, rng=rng) for _ in range(2))

    def encode(self, tokens: tf.Tensor) -> Encoded:
        """Encode a batch of networks.

        Args:
            tokens: Vocabulary indices, int32 `[n, max_layers]`; at least one layer each, then zeros as padding.
        """
        lengths = tf.math.count_nonzero(tokens, axis=1, dtype=tf.int32)
        inputs = self.tokens(tf.transpose(tokens))  # [max_layers, n, 16]: the fused LSTM wants time first
        ahead, ahead_cell = _lstm(self.forward, inputs, lengths)
        # Only the layers are turned round, not the padding after them: so the backward LSTM, too, meets layers first.
        back, back_cell = _lstm(self.backward, tf.reverse_sequence(inputs, lengths, seq_axis=0, batch_axis=1), lengths)
        outputs = [_at_last(ahead, lengths), _at_last(back, lengths)]
        cells = [_at_last(ahead_cell, lengths), _at_last(back_cell, lengths)]
        layers = tf.concat([ahead, tf.reverse_sequence(back, lengths, seq_axis=0, batch_axis=1)], axis=-1)
        return Encoded(tf.transpose(layers, [1, 0, 2]), tf.concat(outputs, axis=-1), tf.concat(cells, axis=-1))


def _at_last(states: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """The state after each network's last layer, `[n, units]`, of states `[max_layers, n, units]`."""
    return tf.gather_nd(states, tf.stack([lengths - 1, tf.range(tf.size(lengths))], axis=1))


def _lstm(cell: keras.layers.LSTMCell, inputs: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Run the cell over `inputs` `[max_layers, n, 16]` up to the longest network: outputs and cell states.

    TensorFlow's fused kernel computes all steps in one operation. Measured on two cores for ten networks of 50 layers:
    4 ms for both directions, against 16 ms for a loop unrolled in the graph; Keras's masked layer took 7 ms for one
    direction. Shorter networks take less. The newer `BlockLSTMV2` has the same outputs but wrong gradients (TensorFlow
    2.21), so it is the first version here, whose gates stand in another order than Keras's.
    """
    weights = tf.concat([cell.kernel, cell.recurrent_kernel], axis=0)
    zeros, unused = tf.zeros([tf.shape(inputs)[1], cell.units]), tf.zeros([cell.units])
    fused = tf.raw_ops.BlockLSTM(
        seq_len_max=tf.cast(tf.reduce_max(lengths), tf.int64),
        x=inputs,
        cs_prev=zeros,
        h_prev=zeros,
        w=_reordered(weights),
        wci=unused,
        wcf=unused,
        wco=unused,
        b=_reordered(cell.bias),
        forget_bias=0.0,  # Keras keeps it in the bias
        cell_clip=-1.0,  # no clipping
    )
    return fused.h, fused.cs


def _reordered(weights: tf.Tensor) -> tf.Tensor:
    """Keras's gates (input, forget, candidate, output) in the fused kernel's order."""
    enter, forget, candidate, leave = tf.split(tf.convert_to_tensor(weights), 4, axis=-1)
    return tf.concat([enter, candidate, forget, leave], axis=-1)
