"""Somebody's wish that long work ends."""

import signal
import sys
from types import FrameType, TracebackType
from typing import Self


class Interruption:
    """Ctrl-C and SIGTERM: the first ends work in an orderly way, the second at once (`KeyboardInterrupt`).

    Args:
        first: What to tell a person at the first.
    """

    def __init__(self, first: str) -> None:
        self._first, self.asked = first, False

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signal module's signature
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print(self._first, file=sys.stderr, flush=True)
