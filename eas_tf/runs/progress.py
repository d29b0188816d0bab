"""Progress and time left: a live bar on a terminal, plain lines on a pipe."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

#: On a pipe, seconds between two lines about epochs.
QUIET = 10.0

#: Columns on a pipe, where nobody says how wide the paper is.
PIPE_WIDTH = 200


class Progress:
    """Counts finished networks, or epochs of a long training, out of a total.

    Args:
        total: Networks to be trained, the start network included; or epochs.
        console: Where to print; by default the standard output.
        first: What is done first.
    """

    def __init__(self, total: int, console: Console | None = None, first: str = "start network") -> None:
        console = console or Console(highlight=False)
        self._console = (
            console if console.is_terminal else Console(file=console.file, width=PIPE_WIDTH, highlight=False)
        )
        self._total, self._done, self._before, self._first = total, 0, 0, first
        self._budget: Callable[[], float | None] = lambda: None
        self._started = self._last_line = time.monotonic()
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bars.add_task(first, total=total)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Give the terminal back."""
        self._bars.stop()

    def begin(self, done: int, budget: Callable[[], float | None]) -> None:
        """Networks that are finished already, and how many seconds there are for the others, if that is limited."""
        self._done = self._before = done
        self._budget = budget
        self._started = time.monotonic()
        self._bars.update(self._task, completed=done, description=self._left() or self._first)

    def _left(self) -> str:
        """The time left, by the networks so far and by the budget."""
        new, budget = self._done - self._before, self._budget()
        seconds = [] if budget is None else [budget]
        if new:
            seconds.append((time.monotonic() - self._started) / new * (self._total - self._done))
        return f"{int(min(seconds)) // 60}:{int(min(seconds)) % 60:02d} left" if seconds else ""

    def say(self, what: RenderableType) -> None:
        """Print something above the bar."""
        self._console.print(what, soft_wrap=isinstance(what, str), markup=False)
        self._last_line = time.monotonic()

    def epoch(self, number: int, epochs: int | None, loss: float) -> None:
        """An epoch of the current network is over, of so many if that is known; its mean loss is in nats."""
        text = _epoch_line(number, epochs, loss)
        self._bars.update(self._task, description=text)
        if self._bars.disable and time.monotonic() - self._last_line > QUIET:
            self.say(f"  {text}")

    def step(self, text: str) -> None:
        """One of a total of epochs is over."""
        self._done += 1
        text = f"{text}, {self._left()}"
        self._bars.update(self._task, advance=1, description=text)
        if self._bars.disable and time.monotonic() - self._last_line > QUIET:
            self.say(text)

    def count(self, worked: Callable[[], float]) -> None:
        """What gives the seconds of work so far, in a search by the clock."""

    def phase(self, name: str, end: float) -> None:
        """What a search by the clock does now, and at which second of work it will end."""
        self.say(f"{name}, until {clock(end)}")

    def network(self, line: str) -> None:
        """A network is finished."""
        self._done += 1
        self._bars.update(self._task, advance=1, description=self._left())
        if self._bars.disable:
            line = f"[{self._done}/{self._total}, {self._left()}] {line}"
        self.say(line)


def _epoch_line(number: int, epochs: int | None, loss: float) -> str:
    """An epoch in words."""
    return f"epoch {number}{'' if epochs is None else f'/{epochs}'}, loss {loss:.3f}"


class ClockProgress(Progress):
    """Counts seconds of work out of a budget, and says which phase of the work is due.

    Args:
        total: Seconds of the budget.
        console: As for `Progress`.
    """

    def __init__(self, total: float, console: Console | None = None) -> None:
        super().__init__(max(1, round(total)), console, first="building the start network")
        self._worked: Callable[[], float] = lambda: 0.0
        self._phase = ""

    def count(self, worked: Callable[[], float]) -> None:
        """See `Progress.count`."""
        self._worked = worked

    def phase(self, name: str, end: float) -> None:
        """See `Progress.phase`."""
        self._phase = f"{name}, until {clock(end)} of {clock(self._total)}"
        self._show(self._phase)
        if self._bars.disable:
            self.say(self._now(self._phase))

    def epoch(self, number: int, epochs: int | None, loss: float) -> None:
        """See `Progress.epoch`."""
        text = _epoch_line(number, epochs, loss)
        self._show(f"{self._phase}: {text}")
        if self._bars.disable and time.monotonic() - self._last_line > QUIET:
            self.say(self._now(text))

    def network(self, line: str) -> None:
        """A network is finished."""
        self._show(self._phase)
        self.say(self._now(line))

    def _show(self, text: str) -> None:
        self._bars.update(self._task, completed=self._worked(), description=text)

    def _now(self, text: str) -> str:
        return f"[{clock(self._worked())}] {text}"


def clock(seconds: float) -> str:
    """Minutes and seconds, and hours if there are any."""
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
