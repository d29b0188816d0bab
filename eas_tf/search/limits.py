"""When a search ends before its last network: budgets, signals, and children that all fail."""

import time

from eas_tf.runs.interruption import Interruption
from eas_tf.runs.ranking import ranked
from eas_tf.runs.record import Network
from eas_tf.search.config import SearchConfig

#: So many failures one after the other are no accident.
FAILURES_IN_A_ROW = 20


class Limits:
    """Says whether another child may start.

    Args:
        config: The budgets.
        interruption: Somebody's wish to end.
        seconds: Worked before, by other processes.
    """

    def __init__(self, config: SearchConfig, interruption: Interruption, seconds: float) -> None:
        self._config, self._interruption = config, interruption
        self._began = time.monotonic() - seconds
        self._since_best = self._failures = self._children = self._running = 0
        self._best: Network | None = None

    def worked(self) -> float:
        """Seconds, those of earlier processes included."""
        return time.monotonic() - self._began

    def seconds_left(self) -> float | None:
        """Of the budget; None where there is no such limit."""
        hours = self._config.max_hours if self._config.hours is None else self._config.hours
        return None if hours is None else max(0.0, hours * 3600 - self.worked())

    @property
    def interrupted(self) -> bool:
        """Whether somebody wants it to end."""
        return self._interruption.asked

    def count(self, network: Network, *, earlier: bool = False) -> None:
        """Take in one more finished network; the failures of earlier processes may have been mended since."""
        self._failures = self._failures + 1 if network.failure and not earlier else 0
        self._children += network.kind == "child"
        self._running -= self._running > 0 and not network.reused
        best = ranked([*filter(None, [self._best]), network])[:1]
        self._since_best = 0 if best == [network] else self._since_best + (network.kind == "child")
        self._best = best[0] if best else None

    @property
    def hopeless(self) -> bool:
        """Whether too many children have failed, one after the other."""
        return self._failures >= FAILURES_IN_A_ROW

    def reason(self) -> str:
        """Why no further child starts; empty as long as one may."""
        if self._interruption.asked:
            return "interrupted"
        if self.seconds_left() == 0:
            name = "max_hours" if self._config.hours is None else "hours"
            return f"{name} {getattr(self._config, name):g} is used up"
        most = self._config.max_networks
        if most is not None and self._children + self._running >= most:
            return f"max_networks {most} is reached"
        if self._config.patience is not None and self._since_best >= self._config.patience:
            return f"patience: no new best network in {self._since_best} children"
        return ""

    def may_start(self) -> bool:
        """Whether another child may start."""
        return not self.reason()

    def must_end(self) -> bool:
        """Whether the time is used up, so that children in training are given up, too: a resume trains them anew."""
        return self.seconds_left() == 0

    def started(self) -> None:
        """Another child counts as running until it is counted as finished."""
        self._running += 1
