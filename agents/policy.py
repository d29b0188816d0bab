"""The controller (EAS paper, Figs. 1 to 3).

An encoder reads the layers of a network; an actor for each kind of decision decides: coins which layers to widen, a
chain of categories where to insert a new one. Illegal decisions have probability 0: all probabilities here are those
after masking.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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
    """bool `[samples, *sizes]` of a chain, `[samples, max_layers]` of coins."""
    decisions: tf.Tensor
    """int64 `[samples, categories]` of a chain, int8 `[samples, max_layers]` of coins."""


class Scores(NamedTuple):
    """What the policy thinks of decisions, each `[samples]`, in nats."""

    log_probability: tf.Tensor
    """Of all that was decided in that step."""
    entropy: tf.Tensor
    """Of the distributions that were drawn from, summed over the step's decisions."""


_TOKENS = tf.TensorSpec([None, None], tf.int32)
_NOISE = tf.TensorSpec([None, None], tf.float32)


class CoinsActor(keras.layers.Layer):
    """One linear map 100 -> 1 and a sigmoid, shared by all layers: an independent coin for each (Fig. 2, Net2Wider)."""

    signature = Samples(_TOKENS, tf.TensorSpec([None, None], tf.bool), tf.TensorSpec([None, None], tf.int8))

    def __init__(self, max_layers: int, *, rng: np.random.Generator) -> None:
        super().__init__(dtype="float32")
        self.choices = max_layers
        self.classifier = linear(STATE, 1, rng=rng)

    def sample(self, encoded: Encoded, legal: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Whose coins say yes, int8 `[n, max_layers]`, from noise `[n, max_layers]` in [0, 1)."""
        return tf.cast((noise < tf.sigmoid(self.logits(encoded))) & legal, tf.int8)

    def logits(self, encoded: Encoded) -> tf.Tensor:
        """The log-odds of each layer's yes, `[n, max_layers]`, before masking."""
        return self.classifier(encoded.layers)[..., 0]

    def score(self, encoded: Encoded, legal: tf.Tensor, decisions: tf.Tensor) -> Scores:
        """Log-probability and entropy; layers whose coin may not say yes add nothing to either."""
        logits, legal = self.logits(encoded), tf.cast(legal, tf.float32)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.cast(decisions, tf.float32), logits=logits)
        # -p ln p - (1 - p) ln(1 - p), written so that no logarithm meets 0.
        entropies = tf.math.softplus(-logits) + logits * tf.sigmoid(-logits)
        return Scores(-tf.reduce_sum(losses * legal, axis=1), tf.reduce_sum(entropies * legal, axis=1))


class ChainActor(keras.layers.Layer):
    """An LSTM of 100 units, started from the encoder's final state: one category after the other (Fig. 3, Net2Deeper).

    Net2Deeper's are block, position and kernel.
    """

    def __init__(self, sizes: tuple[int, ...], *, rng: np.random.Generator) -> None:
        super().__init__(dtype="float32")
        self.sizes, self.choices = sizes, sum(sizes)
        self.cell = lstm_cell(EMBEDDING, STATE, rng=rng)
        # One table: what is fed first, then each category's choices in turn. Nothing comes after the last category.
        self.inputs = embedding(1 + sum(sizes[:-1]), EMBEDDING, rng=rng)
        self.offsets = (*(1 + sum(sizes[:number]) for number in range(len(sizes) - 1)), 0)
        self.classifiers = [linear(STATE, n, rng=rng) for n in sizes]
        places, decisions = [None] * (1 + len(sizes)), [None, len(sizes)]
        self.signature = Samples(_TOKENS, tf.TensorSpec(places, tf.bool), tf.TensorSpec(decisions, tf.int64))

    def sample(self, encoded: Encoded, legal: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """A number for each category, int64 `[n, categories]`, from noise `[n, choices]` in [0, 1)."""
        # The largest of log-probability plus Gumbel noise is a draw from the categorical distribution.
        gumbels = tf.split(-tf.math.log(-tf.math.log(tf.maximum(noise, _TINY))), self.sizes, axis=1)
        decisions, _ = self.unroll(encoded, legal, lambda i, log_p: tf.argmax(log_p + gumbels[i], axis=1))
        return decisions

    def score(self, encoded: Encoded, legal: tf.Tensor, decisions: tf.Tensor) -> Scores:
        """Log-probability and entropy of decisions that were taken."""
        return self.unroll(encoded, legal, lambda i, _: decisions[:, i])[1]

    def unroll(
        self, encoded: Encoded, legal: tf.Tensor, choose: Callable[[int, tf.Tensor], tf.Tensor]
    ) -> tuple[tf.Tensor, Scores]:
        """Decide for each category, each decision masked by, and fed with, the one before.

        Args:
            encoded: Of n networks.
            legal: bool `[n, *sizes]`.
            choose: Takes the number of the decision and the masked log-probabilities `[n, choices]`, gives int64 `[n]`.

        Returns:
            The decisions int64 `[n, categories]`, and their scores. The entropy is that of the distributions met on
            the way, not the expectation over all ways.
        """
        output, memory, fed = encoded.output, encoded.cell, tf.zeros([tf.shape(legal)[0]], tf.int64)
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
    """Encoder and actors: for Net2Wider and Net2Deeper about 76,000 trainable parameters, and 16 for each token.

    It draws nothing itself: uniform noise is passed in, so the same noise gives the same decisions. It stays on the
    CPU, where networks this small are fastest, and leaves accelerators to the networks that are trained.
    """

    def __init__(self, sizes: Sizes, *, rng: np.random.Generator) -> None:
        super().__init__(dtype="float32")
        with tf.device("/CPU:0"):
            self.encoder = Encoder(sizes.vocabulary, rng=rng)
            # Coins before chains: the order in which a seed has always drawn their weights.
            self.actors: dict[str, Any] = {
                kind: ChainActor(sizes.kinds[kind], rng=rng)
                if sizes.kinds[kind]
                else CoinsActor(sizes.max_layers, rng=rng)
                for kind in sorted(sizes.kinds, key=lambda kind: len(sizes.kinds[kind]))
            }
        self.kinds = tuple(sizes.kinds)
        self._samplers = {kind: self._sampler(actor) for kind, actor in self.actors.items()}
        self.built = True  # all weights exist: lets Keras count them

    def _sampler(self, actor: Any) -> Any:
        def sample(tokens: tf.Tensor, legal: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
            with tf.device("/CPU:0"):
                return actor.sample(self.encoder.encode(tokens), legal, noise)

        return tf.function(sample, input_signature=[_TOKENS, actor.signature.legal, _NOISE], autograph=False)

    def sample(self, kind: str, tokens: tf.Tensor, legal: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Decisions of one kind, as `Samples.decisions` has them, from noise `[n, actors[kind].choices]` in [0, 1)."""
        return self._samplers[kind](tokens, legal, noise)

    @property
    def signature(self) -> tuple[Samples, ...]:
        """What `score` takes."""
        return tuple([self.actors[kind].signature for kind in self.kinds])

    def score(self, samples: Sequence[Samples]) -> Scores:
        """Scores of decisions of every kind, in the order of `kinds`, from one pass of the encoder."""
        tokens, sizes = (
            tf.concat([each.tokens for each in samples], axis=0),
            [tf.shape(each.tokens)[0] for each in samples],
        )
        parts = zip(*(tf.split(x, sizes) for x in self.encoder.encode(tokens)), strict=True)
        scores = [
            self.actors[kind].score(Encoded(*part), each.legal, each.decisions)
            for kind, part, each in zip(self.kinds, parts, samples, strict=True)
        ]
        return Scores(*(tf.concat(each, axis=0) for each in zip(*scores, strict=True)))
