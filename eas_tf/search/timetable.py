"""How a search by the clock shares its time: until when the start network is trained, and networks are compared.

Pure arithmetic. All moments are seconds of work on the run, those of earlier processes included.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, log

#: What the training of the start network is of the whole.
START = 0.08

#: What is gone of the whole when the last training begins, which is that of the network that was found.
FOUND = 0.3

#: How many times as long as its parent's an epoch of a child takes at most, if there is time for smaller steps.
GROWTH = 4.0

#: And at least: less is not worth a round.
LEAST_GROWTH = 1.3

#: Seconds below which a training says nothing: a network is built in one or two.
LEAST_SECONDS = 1.5

#: Passes over the training images below which a training says nothing.
LEAST_EPOCHS = 2.0

#: Passes beyond which it is better to compare more networks.
ENOUGH_EPOCHS = 4.0

#: Passes that the last training must be able to make: larger networks are not grown.
FINAL_EPOCHS = 70.0

#: Seconds for the report and the pictures.
REPORT_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Timetable:
    """When which phase ends.

    Args:
        total: The whole budget.
        begun: When the first training could begin.
        epoch: What a pass of the start network over the training images takes.
        measured: How many images are classified at the end, of the number of training images.
    """

    total: float
    begun: float
    epoch: float
    measured: float

    @property
    def end(self) -> float:
        """When the last training ends, if the network is no slower than the start network."""
        return self.end_for(1.0)

    def end_for(self, cost: float) -> float:
        """The same for a network of which an image takes so many times as long as of the start network."""
        # Classifying is a third of the arithmetic of training.
        return self.total - min(REPORT_SECONDS, 0.1 * self.total) - 0.5 * self.measured * self.epoch * cost

    def _at(self, share: float) -> float:
        return self.begun + share * (self.end - self.begun)

    @property
    def start(self) -> float:
        """When the start network's training ends."""
        return self._at(START)

    @property
    def found(self) -> float:
        """When no network is compared any more."""
        return self._at(FOUND)

    def most(self, now: float) -> float:
        """Seconds that an epoch of a network may take, so that the last training passes over the images often enough.

        Args:
            now: The moment.
        """
        return (self.end - max(now, self.found)) / FINAL_EPOCHS

    def round(self, now: float, room: float, least: Callable[[float], float]) -> tuple[float, float] | None:
        """Seconds of the next round, and how many times as long as its parent's an epoch of a child may take in it.

        Networks of each round are larger than those of the one before, and get more time in proportion.

        Args:
            now: The moment.
            room: How many times as long as it does now an epoch may take in the end.
            least: Seconds below which a round says nothing, by that growth.

        Returns:
            None if the last training comes next.
        """
        left = self.found - now
        if room < LEAST_GROWTH:
            return None
        for more in range(ceil(log(room, GROWTH)), 0, -1):
            growth = room ** (1 / more)
            seconds = left * (growth - 1) / (room - 1)
            if seconds >= least(growth):
                return seconds, growth
        while room >= LEAST_GROWTH:
            if left >= least(room):
                return left, room
            room /= LEAST_GROWTH
        return None


def compared(costs: Sequence[float], seconds: float, overhead: float) -> tuple[float, list[int]]:
    """Over how many passes networks are compared, and which: the first one and as many of its children as time allows.

    Args:
        costs: What a pass over the training images takes of a round, for each network, in seconds.
        seconds: Of the round.
        overhead: What each network takes of it beside its training.

    Returns:
        The passes, of which all make equally many, and the places of the networks; only the first if no child fits.
    """
    chosen = [*range(len(costs))]
    while True:
        passes = (seconds - overhead * len(chosen)) / sum(costs[place] for place in chosen)
        if passes >= LEAST_EPOCHS or len(chosen) == 1:
            return passes, chosen
        chosen.remove(max(chosen[1:], key=costs.__getitem__))
