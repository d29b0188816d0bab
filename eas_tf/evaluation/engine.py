"""What every engine is: who trains children, and who is asked whether another one may start. See `engines.py`."""

import time
from collections.abc import Iterator, Sequence
from typing import Protocol

from eas_tf.evaluation.child import Child, Family
from eas_tf.evaluation.protocol import Evaluator, Request
from eas_tf.evaluation.registry import results_of


class Admission(Protocol):
    """Says whether another child may start, and, as long as they need not end, those that are running are finished."""

    def may_start(self) -> bool:
        """Whether there is room for another child. Asking takes none."""
        ...

    def started(self) -> None:
        """Another child is in training now; one that is trained again is told of once."""
        ...

    def must_end(self) -> bool:
        """Whether those that are running shall end now, too, without a result."""
        ...


class Unlimited:
    """Every child may start."""

    def may_start(self) -> bool:
        """It may."""
        return True

    def started(self) -> None:
        """Nothing counts them."""

    def must_end(self) -> bool:
        """They need not."""
        return False


UNLIMITED: Admission = Unlimited()


class AwakeClock:
    """Seconds that this process has run: a pause of it, or of the machine, is no time that a child takes.

    It must be read every second or so; what is longer between two readings was a pause.
    """

    #: Seconds between two readings, at most, that are not taken for a pause.
    LONGEST = 3.0

    def __init__(self) -> None:
        self._read, self._seconds = time.monotonic(), 0.0

    def seconds(self) -> float:
        """Until now."""
        before, self._read = self._read, time.monotonic()
        self._seconds += min(self._read - before, self.LONGEST)
        return self._seconds


class Engine(Protocol):
    """Trains children. A child that fails is a result with its reason; `str` says who trains."""

    @property
    def at_once(self) -> int:
        """How many children are trained at once."""
        ...

    def run(
        self, asked: Sequence[tuple[Family, Request]], admission: Admission = UNLIMITED
    ) -> Iterator[tuple[int, Child]]:
        """The children with their places in what is asked, each as soon as it is finished, in any order."""
        ...

    def start(self) -> None:
        """Start the workers now, rather than with the first child."""
        ...

    def close(self) -> None:
        """End what it has started."""
        ...


class LookupEngine:
    """Trains nothing: an evaluator tells the accuracies, and a search takes them in as those of children.

    Args:
        evaluator: Such as a closed form, or a table.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator, self.at_once = evaluator, 1

    def run(
        self, asked: Sequence[tuple[Family, Request]], admission: Admission = UNLIMITED
    ) -> Iterator[tuple[int, Child]]:
        """The children, in the order asked."""
        for number, (_, request) in enumerate(asked):
            if not admission.may_start():
                return
            admission.started()
            (result,) = results_of(self._evaluator, [request])
            yield number, Child(result=result)

    def start(self) -> None:
        """Nothing is started."""

    def close(self) -> None:
        """Close the evaluator."""
        self._evaluator.close()

    def __str__(self) -> str:
        return "nobody: accuracies come from a closed form"
