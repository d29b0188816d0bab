"""The median stopping rule: a child that is clearly worse than its siblings were after as many epochs ends early.

Golovin et al., "Google Vizier: A Service for Black-Box Optimization" (KDD 2017), section 3.2.2: a trial is stopped
after step s if its best value so far is strictly worse than the median of the running averages, up to s, of all
completed trials.
"""

from collections.abc import Sequence

import numpy as np

#: Siblings that must have been trained to their end before anyone is compared with them.
FEWEST = 5


def median_floors(curves: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """What a child must have reached after each epoch but the last, in order to go on.

    Args:
        curves: Of each sibling that was trained to its end, the accuracy after each epoch: `[siblings, epochs]`.

    Returns:
        An accuracy for each epoch, or nothing where there are too few siblings.
    """
    if len(curves) < FEWEST:
        return ()
    averages = np.cumsum(curves, axis=1) / np.arange(1, len(curves[0]) + 1)
    return tuple(np.median(averages, axis=0)[:-1].tolist())


def keeps_up(curve: Sequence[float], floors: Sequence[float]) -> bool:
    """Whether a child with this accuracy after each epoch so far goes on."""
    return len(curve) > len(floors) or max(curve) >= floors[len(curve) - 1]
