"""The controller (EAS paper, Figs. 1 to 3).

An encoder reads the layers of a network; the Net2Wider actor decides which of them to widen, the Net2Deeper actor
where to insert a new one. Illegal decisions have probability 0: all probabilities here are those after masking.
"""

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from eas_tf.agents.encoder import EMBEDDING, STATE, Encoded, Encoder
from eas_tf.agents.layers import embedding, linear, lstm_cell, lstm_step
from eas_tf.agents.spaces import Sizes

#: In place of a masked logit: exp of it is exactly 0 in float32, and 0 times it is 0, not NaN as with infinity.
_NEVER = -1e9
#: A uniform draw of exactly 0 has no Gumbel value; the smallest normal float32 has.
_TINY = float(np.finfo(np.float32).tiny)


class Samples(NamedTuple):
    """Decisions of one kind, each in the network's state at that time."""

    tokens: tf.Tensor
    """int32 `[samples, max_layers]`, 0 = padding."""
    legal: tf.Tensor
    """bool `[samples, blocks, positions, kernels]` or `[samples, max_layers]`."""
    decisions: tf.Tensor
    """Net2Deeper: int64 `[samples, 3]`. Net2Wider: int8 `[samples, max_layers]`."""


class Scores(NamedTuple):
    """What the policy thinks of decisions, each `[samples]`, in nats."""

    log_probability: tf.Tensor
    """Of all that was decided in that step."""
    entropy: tf.Tensor
    """Of the distributions that were drawn from, summed over the step's decisions."""


_TOKENS = tf.TensorSpec([None, None], tf.int32)
_PLACES = tf.TensorSpec([None, None, None, None], tf.bool)
_LAYERS = tf.TensorSpec([None, None], tf.bool)
_NOISE = tf.TensorSpec([None, None], tf.float32)
DEEPEN_SAMPLES = Samples(_TOKENS, _PLACES, tf.TensorSpec([None, 3], tf.int64))
WIDEN_SAMPLES = Samples(_TOKENS, _LAYERS, tf.TensorSpec([None, None], tf.int8))


class Net2WiderActor(keras.layers.Layer):
    """One linear map 100 -> 1 and a sigmoid, shared by all layers: an independent coin for each (Fig. 2)."""

    def __init__(self, *, rng: np.random.Generator) -> None:
        super().__init__(dtype="float32")
        self.classifier = linear(STATE, 1, rng=rng)

    def logits(self, encoded: Encoded) -> tf.Tensor:
        """The log-odds of widening each layer, `[n, max_layers]`, before masking."""
        return self.classifier(encoded.layers)[..., 0]

    def score(self, encoded: Encoded, legal: tf.Tensor, decisions: tf.Tensor) -> Scores:
        """Log-probability and entropy; layers that may not be widened add nothing to either."""
        logits, legal = self.logits(encoded), tf.cast(legal, tf.float32)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.cast(decisions, tf.float32), logits=logits)
        # -p ln p - (1 - p) ln(1 - p), written so that no logarithm meets 0.
        entropies = tf.math.softplus(-logits) + logits * tf.sigmoid(-logits)
        return Scores(-tf.reduce_sum(losses * legal, axis=1), tf.reduce_sum(entropies * legal, axis=1))


class Net2DeeperActor(keras.layers.Layer):
    """An LSTM of 100 units, started from the encoder's final state: block, then position, then kernel (Fig. 3)."""

    def __init__(self, sizes: Sizes, *, rng: np.random.Generator) -> None:
        super().__init__(dtype="float32")
        self.cell = lstm_cell(EMBEDDING, STATE, rng=rng)
        # One table: what is fed first, then every block, then every position. Nothing comes after the kernel.
        self.inputs = embedding(1 + sizes.blocks + sizes.positions, EMBEDDING, rng=rng)
        self.offsets = (1, 1 + sizes.blocks, 0)
        self.classifiers = [linear(STATE, n, rng=rng) for n in (sizes.blocks, sizes.positions, sizes.kernels)]

    def unroll(
        self, encoded: Encoded, legal: tf.Tensor, choose: Callable[[int, tf.Tensor], tf.Tensor]
    ) -> tuple[tf.Tensor, Scores]:
        """Decide three times, each decision masked by, and fed with, the one before.

        Args:
            encoded: Of n networks.
            legal: bool `[n, blocks, positions, kernels]`.
            choose: Takes the number of the decision and the masked log-probabilities `[n, choices]`, gives int64 `[n]`.

        Returns:
            The decisions int64 `[n, 3]`, and their scores. The entropy is that of the three distributions met on the
            way, not the expectation over all ways.
        """
        output, memory, fed = encoded.output, encoded.cell, tf.zeros_like(legal[:, 0, 0, 0], tf.int64)
        decisions, chosen, entropies = [], [], []
        for number, (classifier, offset) in enumerate(zip(self.classifiers, self.offsets, strict=True)):
            output, memory = lstm_step(self.cell, self.inputs(fed), output, memory)
            # A choice is legal if anything is legal after it.
            choices = tf.reduce_any(legal, axis=list(range(2, len(legal.shape))))
            log_probabilities = tf.nn.log_softmax(tf.where(choices, classifier(output), _NEVER))
            decision = choose(number, log_probabilities)
            decisions.append(decision)
            chosen.append(tf.gather(log_probabilities, decision, batch_dims=1))
            entropies.append(-tf.reduce_sum(tf.exp(log_probabilities) * log_probabilities, axis=1))
            legal, fed = tf.gather(legal, decision, batch_dims=1), decision + offset
        return tf.stack(decisions, axis=1), Scores(tf.add_n(chosen), tf.add_n(entropies))


class Policy(keras.layers.Layer):
    """Encoder and both actors: about 76,000 trainable parameters and 16 for each token of the vocabulary.

    It draws nothing itself: uniform noise is passed in, so the same noise gives the same decisions. It stays on the
    CPU, where networks this small are fastest, and leaves accelerators to the networks that are trained.
    """

    def __init__(self, sizes: Sizes, *, rng: np.random.Generator) -> None:
        super().__init__(dtype="float32")
        self.widths = (sizes.blocks, sizes.positions, sizes.kernels)
        with tf.device("/CPU:0"):
            self.encoder = Encoder(sizes.vocabulary, rng=rng)
            self.wider = Net2WiderActor(rng=rng)
            self.deeper = Net2DeeperActor(sizes, rng=rng)
        self.built = True  # all weights exist: lets Keras count them

    @tf.function(input_signature=[_TOKENS, _LAYERS, _NOISE], autograph=False)
    def sample_widen(self, tokens: tf.Tensor, legal: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Which layers to widen, int8 `[n, max_layers]`, from noise `[n, max_layers]` in [0, 1)."""
        with tf.device("/CPU:0"):
            probabilities = tf.sigmoid(self.wider.logits(self.encoder.encode(tokens)))
            return tf.cast((noise < probabilities) & legal, tf.int8)

    @tf.function(input_signature=[_TOKENS, _PLACES, _NOISE], autograph=False)
    def sample_deepen(self, tokens: tf.Tensor, legal: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Block, position and kernel, int64 `[n, 3]`, from noise `[n, blocks + positions + kernels]` in [0, 1)."""
        with tf.device("/CPU:0"):
            # The largest of log-probability plus Gumbel noise is a draw from the categorical distribution.
            gumbels = tf.split(-tf.math.log(-tf.math.log(tf.maximum(noise, _TINY))), self.widths, axis=1)
            decisions, _ = self.deeper.unroll(
                self.encoder.encode(tokens), legal, lambda i, log_p: tf.argmax(log_p + gumbels[i], axis=1)
            )
            return decisions

    def score(self, deepen: Samples, widen: Samples) -> Scores:
        """Scores of decisions of both kinds, those of `deepen` first, from one pass of the encoder."""
        tokens = tf.concat([deepen.tokens, widen.tokens], axis=0)
        sizes = [tf.shape(deepen.tokens)[0], tf.shape(widen.tokens)[0]]
        deep, wide = (
            Encoded(*parts) for parts in zip(*(tf.split(x, sizes) for x in self.encoder.encode(tokens)), strict=True)
        )
        _, deeper = self.deeper.unroll(deep, deepen.legal, lambda i, _: deepen.decisions[:, i])
        wider = self.wider.score(wide, widen.legal, widen.decisions)
        return Scores(*(tf.concat(parts, axis=0) for parts in zip(deeper, wider, strict=True)))
