"""What a network costs on this machine, before it is trained."""

import numpy as np


class Speed:
    """Seconds of a pass over the training images, as a straight line over multiply-adds.

    A small network takes longer than its arithmetic, and more so on several cores: multiply-adds alone would call a
    network of three times as many three times as slow, where one and a half times was measured.
    """

    def __init__(self) -> None:
        self._seen: list[tuple[float, float]] = []

    def saw(self, multiply_adds: int, seconds: float) -> None:
        """A pass of such a network took so long."""
        self._seen.append((float(multiply_adds), seconds))

    def epoch(self, multiply_adds: int) -> float:
        """Seconds for a pass of such a network, by all that were seen, at least one."""
        sizes, seconds = np.array(self._seen).T
        if np.ptp(sizes) < 0.2 * sizes.min():
            return float(np.median(seconds) * max(1.0, multiply_adds / np.median(sizes)))
        # Errors are in proportion to what is measured.
        slope, fixed = np.polyfit(sizes, seconds, 1, w=1 / seconds)
        return float(max(slope * multiply_adds + fixed, seconds.min() * multiply_adds / sizes.max()))
