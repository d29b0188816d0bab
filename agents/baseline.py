"""The reward that REINFORCE expects: what an episode's reward is compared with."""

import numpy as np


class MovingAverage:
    """An exponential moving average of batch means, free of the bias towards its empty start.

    After values x1 ... xk it is sum(decay^(k-i) * xi) / sum(decay^(k-i)): a weighted mean in which each value counts
    `decay` times as much as the one after it, and the first value alone is itself.

    The paper's baseline is "an exponential moving average of previous rewards with a decay of 0.95":
    it remembers about the last 1 / (1 - 0.95) = 20 batches, and a batch is compared with those before
    it. The released code moves 95 % of the way to each *new* batch mean before it subtracts, so that a batch is
    compared nearly with its own mean: that is a decay of 0.05 and an update before use,
    `ReinforceConfig(baseline_decay=0.05, baseline_sees_batch=True)` (the code starts at the first batch's mean instead
    of correcting the bias; from the second batch on the weights differ by less than 0.003, then less and less).

    Args:
        decay: Weight that a value keeps with each value after it, from 0 (only the last counts) to below 1.
    """

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._sum = 0.0
        self._weight = 0.0

    def update(self, value: float) -> float:
        """Take in one more value; the average with it."""
        self._sum = self._decay * self._sum + value
        self._weight = self._decay * self._weight + 1.0
        return self._sum / self._weight

    @property
    def value(self) -> float | None:
        """The average so far; None before the first value."""
        return self._sum / self._weight if self._weight else None

    @property
    def sums(self) -> np.ndarray:
        """The two sums above, `[2]`: all that it remembers."""
        return np.array([self._sum, self._weight])

    @sums.setter
    def sums(self, values: np.ndarray) -> None:
        self._sum, self._weight = values.tolist()
