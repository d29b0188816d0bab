"""Random search: the same space, masks and schedule as the controller, without a controller."""

from collections.abc import Sequence

import gymnasium
import numpy as np

from eas_tf.agents.base import Agent, Batch, Outcome
from eas_tf.agents.spaces import kinds_of
from eas_tf.agents.state import check_state, generator_state, restore_generator


class RandomSearchAgent(Agent):
    """Draws every decision uniformly from what the mask allows.

    Coins, such as Net2Wider's, are fair. Of a chain, such as Net2Deeper's, the first category is drawn uniformly where
    anything is legal after it, then the second, and so on: a uniform block, then a uniform position in it, then a
    uniform kernel there. That is the order of the paper's code; it is not uniform over triples, as a position in a
    short block is likelier than one in a long block.

    Args:
        action_space: Of a single environment.
        rng: Where the decisions come from.

    Raises:
        InvalidConfiguration: If these are not the actions of an EAS environment.
    """

    def __init__(self, action_space: gymnasium.Space, *, rng: np.random.Generator) -> None:
        self._kinds, self._rng = kinds_of(action_space), rng

    def act(self, observation: Batch, mask: Batch) -> dict[str, np.ndarray]:  # noqa: ARG002 - it looks at the mask only
        """Decide one step for every network; see `Agent.act`."""
        actions = {}
        for kind in sorted(self._kinds, key=lambda kind: len(self._kinds[kind])):  # coins first, as seeds always had it
            legal = np.asarray(mask[kind]).astype(bool)
            actions[kind] = draw_chain(legal, self._rng) if self._kinds[kind] else self._coins(legal)
        return actions

    def learn(self, outcomes: Sequence[Outcome]) -> dict[str, float]:  # noqa: ARG002 - nothing is learned
        """Nothing is learned and nothing reported."""
        return {}

    def state(self) -> dict[str, np.ndarray]:
        """Where its generator is; see `Agent.state`."""
        return {"generator": generator_state(self._rng)}

    def restore(self, state: Batch) -> None:
        """Go on from a state; see `Agent.restore`."""
        check_state(state, self.state())
        restore_generator(self._rng, state["generator"])

    def _coins(self, legal: np.ndarray) -> np.ndarray:
        return ((self._rng.random(legal.shape) < 0.5) & legal).astype(np.int8)


def draw_chain(legal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Numbers `[networks, categories]`, one after the other; zeros where nothing is legal.

    Args:
        legal: Which combinations are legal, bool `[networks, *sizes]`.
        rng: Where the numbers come from.
    """
    networks, decisions = np.arange(len(legal)), []
    while legal.ndim > 1:
        choices = legal.any(axis=tuple(range(2, legal.ndim)))
        # The legal entry with the largest random key is a uniform draw; an illegal one's key is below them all.
        keys = np.where(choices, rng.random(choices.shape), -1.0)
        decisions.append(keys.argmax(axis=1))
        legal = legal[networks, decisions[-1]]
    return np.stack(decisions, axis=1).astype(np.int64)
