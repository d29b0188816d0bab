"""Random search: the same space, masks and schedule as the controller, without a controller."""

import numpy as np

from eas_tf.agents.base import Batch
from eas_tf.agents.state import check_state, generator_state, restore_generator


class RandomSearchAgent:
    """Draws every decision uniformly from what the mask allows.

    Net2Wider: a fair coin for each layer. Net2Deeper: a uniform block among those where anything is legal, then a
    uniform position in it, then a uniform kernel there. That is the order of the paper's code; it is not uniform
    over triples, as a position in a short block is likelier than one in a long block.
    """

    def __init__(self, *, rng: np.random.Generator) -> None:
        self._rng = rng

    def act(self, observation: Batch, mask: Batch) -> dict[str, np.ndarray]:  # noqa: ARG002 - it looks at the mask only
        """Decide one step for every network; see `Agent.act`."""
        widen = np.asarray(mask["widen"]).astype(bool)
        coins = self._rng.random(widen.shape) < 0.5
        return {
            "deepen": self._deepen(np.asarray(mask["deepen"]).astype(bool)),
            "widen": (coins & widen).astype(np.int8),
        }

    def learn(self, rewards: np.ndarray) -> dict[str, float]:  # noqa: ARG002 - nothing is learned
        """Nothing is learned and nothing reported."""
        return {}

    def state(self) -> dict[str, np.ndarray]:
        """Where its generator is; see `Agent.state`."""
        return {"generator": generator_state(self._rng)}

    def restore(self, state: Batch) -> None:
        """Go on from a state; see `Agent.restore`."""
        check_state(state, self.state())
        restore_generator(self._rng, state["generator"])

    def _deepen(self, legal: np.ndarray) -> np.ndarray:
        """Block, position and kernel `[n, 3]`, one after the other; zeros where nothing is legal."""
        networks, decisions = np.arange(len(legal)), []
        while legal.ndim > 1:
            choices = legal.any(axis=tuple(range(2, legal.ndim)))
            # The legal entry with the largest random key is a uniform draw; an illegal one's key is below them all.
            keys = np.where(choices, self._rng.random(choices.shape), -1.0)
            decisions.append(keys.argmax(axis=1))
            legal = legal[networks, decisions[-1]]
        return np.stack(decisions, axis=1).astype(np.int64)
