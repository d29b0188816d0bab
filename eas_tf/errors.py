"""Everything that eas_tf raises on purpose: one class per cause, all children of `EASError`.

A message says what is wrong, what was expected, what was received, and what to do. It names options in backquotes, as
Python has them: `max_hours`. The scripts print it in one line, with dashes, and end with the error's exit code.
"""

import atexit
import os
import re
import signal
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import Any, ClassVar


class EASError(Exception):
    """Anything that a user can mend: a wrong value, a missing file, an operation that cannot be done."""

    exit_code: ClassVar[int] = 2
    """What a script ends with."""


class InvalidArchitecture(EASError):
    """A layer string that cannot be read, or that describes a network which cannot be built."""


class IllegalTransformation(EASError):
    """A transformation that this architecture, or the search space around it, does not allow."""


class UnsupportedLayer(EASError):
    """A Keras layer, or a way of connecting layers, for which surgery has no exact rule."""


class InvalidData(EASError):
    """A data set that cannot be found, read, or trained on."""


class InvalidConfiguration(EASError):
    """A setting outside its range, or settings that contradict each other."""


class TrainingDiverged(EASError):
    """A network whose loss is no longer a finite number. Fails this child, not the search."""


class WorkersFailed(EASError):
    """Worker processes or machines that do not answer, or that do not stay alive."""


class RunDamaged(EASError):
    """A file of a run directory that is not as it was written."""


class RunBusy(EASError):
    """A run directory on which another process works."""


class Stopped(EASError):
    """Work that ends before its end, because somebody or a budget says so. What is finished is kept."""

    exit_code = 130


class NoNetwork(EASError):
    """A budget that was used up before there was a network."""

    exit_code = 5


class SearchFailed(EASError):
    """A search whose children fail one after the other."""

    exit_code = 3


class StorageFailed(EASError):
    """A file that cannot be read or written: a full or broken disk, a missing right, another program's lock."""

    exit_code = 4


def exit_code(main: Callable[[], int]) -> int:
    """What a script ends with: what `main` returns, or an error's own code after its line on the standard error.

    After it, a signal ends the process at once, with this code.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal or a pipe in ASCII has no way to write a name in another script: as \xfc it can.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    code = _code(main)
    _handle_signals(lambda *_: os._exit(code))
    # At its very end Python gives signals back to the system, but those that are ignored.
    atexit.register(_handle_signals, signal.SIG_IGN)
    return code


def _handle_signals(handler: Any) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def _code(main: Callable[[], int]) -> int:
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
        return main()
    except EASError as error:
        print(f"error: {_for_command_line(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return Stopped.exit_code
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        return StorageFailed.exit_code


def _for_command_line(message: str) -> str:
    return re.sub(r"`([a-z_]+)`", lambda name: "--" + name[1].replace("_", "-"), message)
