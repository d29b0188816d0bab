"""How long all processes of a run have worked on it, however they ended."""

import json
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from eas_tf.errors import StorageFailed
from eas_tf.files import write_whole

#: The file's name in a run directory.
WORK_CLOCK = "clock.json"

#: Seconds between two notes: so much of the time of a process that is killed may be lost.
BEAT = 1.0


class WorkClock:
    """Counts seconds of work, and notes them in a file while it is open, which a kill does not undo.

    Args:
        path: The file.
        earlier: Seconds that the record knows of.
        begun: When the work of this process began, as `time.monotonic` counts.
    """

    def __init__(self, path: Path, earlier: float, begun: float) -> None:
        self._path, self._ends = path, threading.Event()
        with suppress(OSError, ValueError, TypeError, KeyError):
            earlier = max(earlier, float(json.loads(path.read_bytes())["seconds"]))
        self._zero = begun - earlier
        self._thread = threading.Thread(target=self._note, name="work clock", daemon=True)

    def worked(self) -> float:
        """Seconds until now, those of earlier processes included."""
        return time.monotonic() - self._zero

    def _note(self) -> None:
        while not self._ends.is_set():
            with suppress(OSError, StorageFailed):  # a full disk is told of by what matters more
                write_whole(self._path, json.dumps({"seconds": self.worked()}).encode())
            self._ends.wait(BEAT)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ends.set()
        self._thread.join()
