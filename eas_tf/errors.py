"""Everything that eas_tf raises on purpose: one class per cause, all children of `EASError`.

A message says what is wrong, what was expected, what was received, and what to do. The scripts print it in one
line and end with exit code 2.
"""

import sys
from collections.abc import Callable


class EASError(Exception):
    """Anything that a user can mend: a wrong value, a missing file, an operation that cannot be done."""


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


def exit_code(main: Callable[[], int]) -> int:
    """What a script ends with: what `main` returns, or 2 after bad input, which is one line on the standard error."""
    try:
        return main()
    except EASError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
