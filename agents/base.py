"""What every agent can do, and how it is told what is due."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Protocol, TypeAlias

import numpy as np

#: One array per key, each with the networks of a batch along its first axis.
Batch: TypeAlias = Mapping[str, np.ndarray]


class Kind(IntEnum):
    """What the environment waits for: the values of the observation's `kind`."""

    DEEPEN = 0
    WIDEN = 1
    OVER = 2


class Agent(Protocol):
    """Grows a batch of n networks side by side, all of them on the same schedule.

    A batch of episodes is as many calls of `act` as the schedule has steps, then one call of `learn`.
    """

    def act(self, observation: Batch, mask: Batch) -> dict[str, np.ndarray]:
        """Decide one step for every network.

        Args:
            observation: `layers` int `[n, max_layers, fields]`, `kind` int `[n]`, `steps_left` int `[n]`.
            mask: `deepen` `[n, blocks, positions, kernels]` and `widen` `[n, max_layers]`, nonzero where legal. The
                mask of the kind that is not due is all zero.

        Returns:
            `deepen` int64 `[n, 3]` (block, position, kernel) and `widen` int8 `[n, max_layers]` (1: widen this
            layer). The part that is not due is all zero.
        """

    def learn(self, rewards: np.ndarray) -> dict[str, float]:
        """Learn from the episodes that just ended.

        Args:
            rewards: `[n]`, the last and only reward of each network's episode, in the order of `act`.

        Returns:
            Diagnostics by name; empty for an agent that does not learn.
        """

    def state(self) -> dict[str, np.ndarray]:
        """All that it has learned and where its generator is, between two batches of episodes: arrays by name."""

    def restore(self, state: Batch) -> None:
        """Go on from what `state` gave, so that all later decisions are the same.

        Raises:
            RunDamaged: If it is the state of another agent.
        """
