"""How a search by the clock shares its time: until when the start network is trained, and networks are compared.

Pure arithmetic. All moments are seconds of work on the run, those of earlier processes included.
"""

from dataclasses import dataclass

#: What the training of the start network is of the whole.
START = 0.08

#: What is gone of the whole when the last training begins, which is that of the network that was found.
FOUND = 0.35

#: Rounds of comparison, if there is time for so many.
ROUNDS = 4

#: Seconds below which a training says nothing: a network is built in one or two.
LEAST_SECONDS = 1.5

#: Passes over the training images below which a training says nothing.
LEAST_EPOCHS = 1.5

#: Passes that the last training must be able to make: larger networks are not grown.
FINAL_EPOCHS = 60.0

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

    def most(self, now: float, seconds: float, slowdown: float) -> float:
        """Seconds that a pass of a child over the images may take in the last training, to be worth a comparison.

        Args:
            now: The moment.
            seconds: Of its training in the comparison.
            slowdown: How many times as long a step takes there as in the last training.
        """
        final = (self.end - max(now, self.found)) / FINAL_EPOCHS
        return min(final, seconds / (LEAST_EPOCHS * slowdown))

    def comparison(self, now: float, rounds: int, waves: int, overhead: float) -> float | None:
        """Seconds of training for each network of the next round; None if the last training comes next.

        Args:
            now: The moment.
            rounds: That there were.
            waves: How many networks of a round are trained one after the other.
            overhead: Seconds for each beside its training.
        """
        left = self.found - now
        for more in range(max(1, ROUNDS - rounds), 0, -1):
            seconds = left / (more * waves) - overhead
            if seconds >= max(LEAST_SECONDS, LEAST_EPOCHS * self.epoch):
                return seconds
        return None
