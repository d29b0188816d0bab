"""The policy-gradient step of REINFORCE, as the EAS paper's code takes it: one Adam update a batch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import keras
import tensorflow as tf

from eas_tf.agents.policy import Policy, Samples


@contextmanager
def _float32() -> Iterator[None]:
    """Within it, Keras's optimizer computes its constants in float32, whatever `keras.config.floatx()` is."""
    floatx = keras.config.floatx()
    keras.config.set_floatx("float32")
    try:
        yield
    finally:
        keras.config.set_floatx(floatx)


class Learner:
    """Moves a policy towards decisions that were rewarded more than expected.

    Args:
        policy: Changed in place.
        learning_rate: Of Adam, whose other constants are the paper's code's: TensorFlow 1's defaults.
        entropy_bonus: Weight of the entropy in the loss.
    """

    def __init__(self, policy: Policy, *, learning_rate: float, entropy_bonus: float) -> None:
        self._policy = policy
        self._entropy_bonus = entropy_bonus
        with tf.device("/CPU:0"):
            with _float32():
                self._optimizer = keras.optimizers.Adam(learning_rate, epsilon=1e-8)
            self._optimizer.build(policy.trainable_variables)
        numbers = tf.TensorSpec([None], tf.float32), tf.TensorSpec([], tf.float32)
        self.update = tf.function(self._update, input_signature=[policy.signature, *numbers], autograph=False)

    @property
    def variables(self) -> list[keras.Variable]:
        """The policy's and the optimizer's."""
        return [*self._policy.trainable_variables, *self._optimizer.variables]

    def _update(self, samples: Sequence[Samples], advantages: tf.Tensor, networks: tf.Tensor) -> dict[str, tf.Tensor]:
        """One update on all decisions of a batch.

        The loss is -(1/B) sum over the B networks of (R - b) times the summed log-probability of a network's
        decisions, minus the bonus times the mean over networks of their summed entropies (in nats).

        Args:
            samples: The decisions of all steps and networks, for each of the policy's kinds.
            advantages: R - b of each sample's network, `[samples]`, kind after kind.
            networks: B.

        Returns:
            `entropy`, `loss` and `gradient_norm`, of the policy before the update.
        """
        with tf.device("/CPU:0"):
            loss, entropy, gradients = self.gradients(samples, advantages, networks)
            with _float32():
                self._optimizer.apply(gradients, self._policy.trainable_variables)
            return {"entropy": entropy, "loss": loss, "gradient_norm": tf.linalg.global_norm(gradients)}

    def gradients(
        self, samples: Sequence[Samples], advantages: tf.Tensor, networks: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        """The loss of `update`, the entropy, and the loss's gradient by the policy's trainable variables."""
        variables = [variable.value for variable in self._policy.trainable_variables]
        with tf.GradientTape() as tape:
            scores = self._policy.score(samples)
            entropy = tf.reduce_sum(scores.entropy) / networks
            gain = tf.reduce_sum(advantages * scores.log_probability) / networks
            loss = -gain - self._entropy_bonus * entropy
        gradients = tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        # An embedding's gradient comes as the rows that were looked up.
        return loss, entropy, [tf.convert_to_tensor(gradient) for gradient in gradients]
