"""Progress and time left: a live bar on a terminal, plain lines on a pipe."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

#: On a pipe, seconds between two lines about epochs.
QUIET = 10.0

#: Columns on a pipe, where nobody says how wide the paper is.
PIPE_WIDTH = 200


class Progress:
    """Counts finished networks out of a total.

    Args:
        total: Networks to be trained, the start network included.
        console: Where to print; by default the standard output.
    """

    def __init__(self, total: int, console: Console | None = None) -> None:
        console = console or Console(highlight=False)
        self._console = (
            console if console.is_terminal else Console(file=console.file, width=PIPE_WIDTH, highlight=False)
        )
        self._total, self._done = total, 0
        self._started = self._last_line = time.monotonic()
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bars.add_task("start network", total=total)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bars.stop()

    def say(self, what: RenderableType) -> None:
        """Print something above the bar."""
        self._console.print(what, soft_wrap=isinstance(what, str), markup=False)
        self._last_line = time.monotonic()

    def epoch(self, number: int, epochs: int, loss: float) -> None:
        """An epoch of the current network is over; its mean loss is in nats."""
        text = f"epoch {number}/{epochs}, loss {loss:.3f}"
        self._bars.update(self._task, description=text)
        if self._bars.disable and time.monotonic() - self._last_line > QUIET:
            self.say(f"  {text}")

    def network(self, line: str) -> None:
        """A network is finished."""
        self._done += 1
        self._bars.update(self._task, advance=1)
        if self._bars.disable:
            left = (time.monotonic() - self._started) / self._done * (self._total - self._done)
            line = f"[{self._done}/{self._total}, {int(left) // 60}:{int(left) % 60:02d} left] {line}"
        self.say(line)
