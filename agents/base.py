"""What every agent can do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

#: One array per key, each with the networks of a batch along its first axis.
Batch: TypeAlias = Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of an episode."""

    architecture: str
    """The layer string of the network that it led to."""
    reward: float
    """The episode's last and only reward; 0 for a child that failed."""
    parent: str = ""
    """The layer string of the network that it began with; empty for a network that no episode led to."""
    failure: str = ""
    """Why the child failed; empty if it did not."""


class Agent(Protocol):
    """Grows a batch of n networks side by side.

    A batch of episodes is as many calls of `act` as the longest of them has steps, then one call of `learn`.
    """

    #: How many networks, the latest of a run, may be parents that `parents` chooses: their weights are kept for that.
    population: int = 0

    def parents(self, history: Sequence[Outcome], episodes: int) -> list[int] | None:  # noqa: ARG002
        """Choose the networks that the next batch of episodes begins with.

        Args:
            history: The latest networks of the run in their order, `population` of them or as many as there are.
            episodes: How many there will be.

        Returns:
            For each episode a place in `history`; or None to leave it to the search, which goes on from the start
            network, the best of the stage before, or the best so far. By default None.
        """
        return None

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

    def learn(self, outcomes: Sequence[Outcome]) -> dict[str, float]:
        """Learn from the episodes that just ended.

        Args:
            outcomes: What came of each, in the order of `act`.

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
