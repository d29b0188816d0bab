"""How a training goes through its steps: a number of epochs, or as many steps as fit into a time. No TensorFlow."""

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

#: Seconds of steps between two looks at the clock.
LOOK_SECONDS = 0.3

#: The share of the time that is left which passes at most between two looks.
LOOK_SHARE = 0.05

#: The weight of the latest steps in the estimate of how long one takes.
LATEST = 0.5


class Part(NamedTuple):
    """Steps that are taken in one call, and where on the cosine they are."""

    steps: int
    done: float
    """Steps of the cosine that lie before them."""
    total: float
    """Steps of the whole cosine."""


class Pace(Protocol):
    """Says how many steps come next."""

    @property
    def progress(self) -> float:
        """How far the cosine has fallen, from 0 to 1."""

    def next(self, most: int) -> Part | None:
        """The steps that are taken now, at most so many of one epoch; None if the training is over."""

    def took(self, part: Part, seconds: float) -> None:
        """Those have been taken."""


class Epochs:
    """A number of epochs, each in one part.

    Args:
        epochs: All of them.
        steps: Of an epoch.
        done: Epochs that are over.
    """

    def __init__(self, epochs: int, steps: int, done: int = 0) -> None:
        self._done, self._total = done * steps, epochs * steps

    @property
    def progress(self) -> float:
        """See `Pace.progress`."""
        return self._done / self._total

    def next(self, most: int) -> Part | None:
        """See `Pace.next`."""
        return Part(most, float(self._done), float(self._total)) if self._done < self._total else None

    def took(self, part: Part, seconds: float) -> None:  # noqa: ARG002 - time does not matter
        """See `Pace.took`."""
        self._done += part.steps


class Deadline:
    """As many steps as fit into a time. The cosine reaches zero with the last one, however the speed varies.

    How many are left is estimated anew before each part, by how long the latest ones took; the cosine is stretched or
    shrunk from where it is, so that the rate never jumps.

    Args:
        seconds_left: Until the deadline.
        after: What comes between the last step and the deadline, in steps: what takes as long as so many.
        progress: How far the cosine has fallen, from 0 to 1.

    Attributes:
        progress: The same now.
    """

    def __init__(self, seconds_left: Callable[[], float], *, after: float = 0.0, progress: float = 0.0) -> None:
        self._left, self._after, self.progress = seconds_left, after, progress
        self._step: float | None = None
        self._calls = 0

    def next(self, most: int) -> Part | None:
        """See `Pace.next`."""
        if self.progress >= 1:
            return None
        left = self._left()
        if self._step is None:
            # The first steps are slower, and say nothing of the others. One is always taken, however late it is.
            steps, remaining = 1, 1 if left <= 0 and not self._calls else 1_000_000
            return Part(min(steps, most), self.progress * remaining, float(remaining))
        remaining = math.floor(left / self._step - self._after)
        if remaining < 1:
            return None
        steps = max(1, math.ceil(max(LOOK_SECONDS, LOOK_SHARE * left) / self._step))
        # What would be left after these is no part of its own.
        steps = min(most, remaining if remaining < 2 * steps else steps)
        total = remaining / (1 - self.progress)
        return Part(steps, self.progress * total, total)

    def took(self, part: Part, seconds: float) -> None:
        """See `Pace.took`."""
        self.progress += part.steps / part.total
        self._calls += 1
        if self._calls > 1:
            one = seconds / part.steps
            self._step = one if self._step is None else LATEST * one + (1 - LATEST) * self._step
