"""What a network costs on this machine, before it is trained."""

import numpy as np

from eas_tf.architecture import Architecture
from eas_tf.architecture.work import work


class Speed:
    """Seconds of a pass over the training images, as a straight line over the work in a network.

    A small network takes longer than its arithmetic, and more so on several cores: multiply-adds alone would call a
    network of three times as many three times as slow, where one and a half times was measured.
    """

    def __init__(self) -> None:
        self._seen: list[tuple[float, float]] = []

    def saw(self, architecture: Architecture, seconds: float) -> None:
        """A pass of such a network took so long."""
        self._seen.append((float(work(architecture)), seconds))

    def epoch(self, architecture: Architecture) -> float:
        """Seconds for a pass of such a network, by all that were seen, at least one."""
        return self._seconds(work(architecture))

    def work(self, seconds: float) -> int:
        """How much there is in the largest network of which a pass takes so long."""
        low, high = 1, 2
        while self._seconds(high) <= seconds:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._seconds(middle) <= seconds else (low, middle)
        return low

    def _seconds(self, size: float) -> float:
        sizes, seconds = np.array(self._seen).T
        if np.ptp(sizes) < 0.2 * sizes.min():
            return float(np.median(seconds) * max(1.0, size / np.median(sizes)))
        # Errors are in proportion to what is measured.
        slope, fixed = np.polyfit(sizes, seconds, 1, w=1 / seconds)
        return float(max(slope * size + fixed, seconds.min() * size / sizes.max()))
