"""What every agent can do."""

from collections.abc import Mapping
from typing import Protocol, TypeAlias

import numpy as np

#: One array per key, each with the networks of a batch along its first axis.
Batch: TypeAlias = Mapping[str, np.ndarray]


class Agent(Protocol):
    """Grows a batch of n networks side by side.

    A batch of episodes is as many calls of `act` as the longest of them has steps, then one call of `learn`.
    """

    def act(self, observation: Batch, mask: Batch) -> dict[str, np.ndarray]:
        """Decide one step for every network.

        Args:
            observation: `layers` int `[n, max_layers, fields]`; `kind` int `[n]`, which of the mask's keys is due, in
                alphabetical order, or their number if the episode is over; `steps_left` int `[n]`.
            mask: For each kind of decision what is legal, nonzero: `[n, *sizes]` for a chain of categories, such as
                `deepen` `[n, blocks, positions, kernels]`, and `[n, max_layers]` for coins, such as `widen`. The mask
                of a kind that is not due is all zero.

        Returns:
            For each kind int64 `[n, categories]` or int8 `[n, max_layers]` (1: the layer's coin says yes). What is not
            due is zero.
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
