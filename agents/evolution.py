"""Regularised evolution: parents are chosen by tournaments among the latest networks, and children differ a little."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import gymnasium
import numpy as np

from eas_tf.agents.base import Batch, Outcome
from eas_tf.agents.random_search import RandomSearchAgent, draw_chain
from eas_tf.errors import InvalidConfiguration
from eas_tf.fields import check_fields


@dataclass(frozen=True, kw_only=True)
class EvolutionConfig:
    """How networks are chosen and changed."""

    population: int = 50
    """The latest networks, which may be parents: whoever is older has died (P)."""
    sample: int = 10
    """Networks in a tournament, drawn with replacement (S)."""
    mutations: int = 3
    """The most moves that lead from a parent to its child; each number from 1 on is equally likely."""

    def __post_init__(self) -> None:
        check_fields(self)
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise InvalidConfiguration(f"`{field.name}` must be at least 1. Received: {getattr(self, field.name)}")


class EvolutionAgent(RandomSearchAgent):
    """Regularised evolution (Real, Aggarwal, Huang and Le, AAAI 2019, Algorithm 1), in batches.

    The population is the latest networks, whatever they reached: that is its regularisation. For each child a few
    networks are drawn from it, and the best of them is its parent. The mutations are the space's own moves: in one to
    three steps of an episode, drawn uniformly, it chooses what is legal, and it passes in all others. A step in which
    it may not pass is taken as well. Where a batch has several children, all their parents are from before the batch.

    Args:
        action_space: Of a single environment.
        rng: Where the decisions come from.
        config: Sizes; the paper's by default.

    Raises:
        InvalidConfiguration: If these are not the actions of an EAS environment.
    """

    def __init__(
        self, action_space: gymnasium.Space, *, rng: np.random.Generator, config: EvolutionConfig | None = None
    ) -> None:
        super().__init__(action_space, rng=rng)
        self._config = config or EvolutionConfig()
        parts: Any = action_space
        self._passes = {kind: getattr(parts[kind], "passes", False) for kind in self._kinds}
        self.population = self._config.population
        self._moves, self._steps_left = np.zeros(0, int), 0

    def parents(self, history: Sequence[Outcome], episodes: int) -> list[int] | None:
        """The winner of a tournament for each episode, of equals the earlier one; None until there is a sample."""
        alive = [place for place, outcome in enumerate(history) if not outcome.failure]
        if len(alive) < min(self._config.sample, self.population):
            return None
        drawn = self._rng.integers(len(alive), size=(episodes, self._config.sample))
        return [max((alive[i] for i in sorted(row)), key=lambda place: history[place].reward) for row in drawn]

    def act(self, observation: Batch, mask: Batch) -> dict[str, np.ndarray]:
        """Decide one step for every network; see `Agent.act`."""
        left = np.asarray(observation["steps_left"])
        if len(left) != len(self._moves) or left.max() >= self._steps_left:  # a new batch of episodes
            self._moves = self._rng.integers(1, self._config.mutations + 1, len(left))
        self._steps_left = left.max()
        # Of all ways to spread the moves over the steps that are left, each is equally likely.
        moves = self._rng.random(len(left)) * left < self._moves
        actions, moved = {}, np.zeros(len(left), bool)
        for kind, sizes in self._kinds.items():
            legal = np.asarray(mask[kind]).astype(bool)
            actions[kind] = (self._moved_chain if sizes else self._one_coin)(kind, legal, moves)
            moved |= actions[kind].any(axis=1)
        self._moves = np.maximum(0, self._moves - moved)
        return actions

    def _one_coin(self, kind: str, legal: np.ndarray, moves: np.ndarray) -> np.ndarray:  # noqa: ARG002 - as `_moved_chain`
        """One of the legal coins says yes where a move is made."""
        chosen = np.where(legal, self._rng.random(legal.shape), -1.0).argmax(axis=1)
        coins = np.zeros(legal.shape, np.int8)
        coins[np.arange(len(legal)), chosen] = moves & legal.any(axis=1)
        return coins

    def _moved_chain(self, kind: str, legal: np.ndarray, moves: np.ndarray) -> np.ndarray:
        """A legal choice where a move is made; zeros, which stand for none, where it is not and need not be."""
        if not self._passes[kind]:
            return draw_chain(legal, self._rng)
        may_pass = legal.reshape(len(legal), -1)[:, 0].copy()
        legal.reshape(len(legal), -1)[:, 0] = False
        return draw_chain(legal, self._rng) * (moves | ~may_pass)[:, None]
