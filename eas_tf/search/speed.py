"""What a network costs on this machine, before it is trained."""

from math import prod

import numpy as np

from eas_tf.architecture import Architecture

#: What each value of a layer costs, in multiply-adds: batch norm, ReLU and pooling, forward and backward, wait for
#: memory. By 14 plain networks on two cores, whose times this foretells within 7 percent, and multiply-adds alone
#: within 12.
VALUE = 150


class Speed:
    """Seconds of a pass over the training images, as a straight line over the work in a network.

    A small network takes longer than its arithmetic, and more so on several cores: multiply-adds alone would call a
    network of three times as many three times as slow, where one and a half times was measured.
    """

    def __init__(self) -> None:
        self._seen: list[tuple[float, float]] = []

    def saw(self, architecture: Architecture, seconds: float) -> None:
        """A pass of such a network took so long."""
        self._seen.append((_work(architecture), seconds))

    def epoch(self, architecture: Architecture) -> float:
        """Seconds for a pass of such a network, by all that were seen, at least one."""
        return self._seconds(_work(architecture))

    def multiply_adds(self, seconds: float, like: Architecture) -> int:
        """How many a network has at most of which a pass takes so long, if it has no fewer values than another one."""
        low, high = 0.0, 2.0
        while self._seconds(high) <= seconds:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) / 2
            low, high = (middle, high) if self._seconds(middle) <= seconds else (low, middle)
        return max(1, int(low - _work(like) + like.multiply_adds))

    def _seconds(self, work: float) -> float:
        works, seconds = np.array(self._seen).T
        if np.ptp(works) < 0.2 * works.min():
            return float(np.median(seconds) * max(1.0, work / np.median(works)))
        # Errors are in proportion to what is measured.
        slope, fixed = np.polyfit(works, seconds, 1, w=1 / seconds)
        return float(max(slope * work + fixed, seconds.min() * work / works.max()))


def _work(architecture: Architecture) -> float:
    """Multiply-adds, and what comes beside them."""
    return architecture.multiply_adds + VALUE * sum(map(prod, architecture.shapes))
