"""The Keras layers that the controller is made of, built at once, with initial weights drawn from a generator.

All are float32 whatever Keras's global policy: a search that trains its children in half precision must not change
its controller. None depends on Keras's or TensorFlow's global seed.
"""

import keras
import numpy as np
import tensorflow as tf

_DTYPE = "float32"


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def embedding(entries: int, size: int, *, rng: np.random.Generator) -> keras.layers.Embedding:
    """A table of `entries` learned vectors, `[entries, size]`."""
    uniform = keras.initializers.RandomUniform(seed=_seed(rng))
    layer = keras.layers.Embedding(entries, size, embeddings_initializer=uniform, dtype=_DTYPE)
    layer.build()
    return layer


def linear(inputs: int, outputs: int, *, rng: np.random.Generator) -> keras.layers.Dense:
    """A linear map with bias, `[inputs, outputs]`."""
    layer = keras.layers.Dense(
        outputs, kernel_initializer=keras.initializers.GlorotUniform(seed=_seed(rng)), dtype=_DTYPE
    )
    layer.build((None, inputs))
    return layer


def lstm_cell(inputs: int, units: int, *, rng: np.random.Generator) -> keras.layers.LSTMCell:
    """An LSTM cell: kernel `[inputs, 4 units]`, recurrent kernel `[units, 4 units]`, bias `[4 units]`."""
    layer = keras.layers.LSTMCell(
        units,
        kernel_initializer=keras.initializers.GlorotUniform(seed=_seed(rng)),
        recurrent_initializer=keras.initializers.Orthogonal(seed=_seed(rng)),
        dtype=_DTYPE,
        seed=0,  # of a dropout that is never used; without it Keras would draw one from global state
    )
    layer.build((None, inputs))
    return layer


def lstm_step(
    cell: keras.layers.LSTMCell, inputs: tf.Tensor, output: tf.Tensor, memory: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """One step of a cell: its next output and cell state, each `[n, units]`; n may be 0.

    The same as calling the cell, which fails for n = 0 (Keras 3.15 takes the empty recurrent part for a bias).
    """
    gates = inputs @ cell.kernel + output @ cell.recurrent_kernel + cell.bias
    enter, forget, candidate, leave = tf.split(gates, 4, axis=-1)
    memory = tf.sigmoid(forget) * memory + tf.sigmoid(enter) * tf.tanh(candidate)
    return tf.sigmoid(leave) * tf.tanh(memory), memory
