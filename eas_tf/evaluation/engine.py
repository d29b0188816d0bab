"""Where children are trained: in this process, in worker processes (`pool.py`), on other machines (`ray_engine.py`)."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from eas_tf.architecture import AnySpace
from eas_tf.data import ImageData
from eas_tf.evaluation.child import Child, ChildTrainer, Family
from eas_tf.evaluation.engine_config import EngineConfig
from eas_tf.evaluation.protocol import Request
from eas_tf.evaluation.surrogate import SurrogateEvaluator
from eas_tf.training.trainer import OnEpoch, Trainer


class Admission(Protocol):
    """Says whether another child may start. Where it says no, those that are running are finished."""

    def may_start(self) -> bool:
        """Whether there is room for another child. Asking takes none."""
        ...

    def started(self) -> None:
        """Another child is in training now; one that is trained again is told of once."""
        ...


class Unlimited:
    """Every child may start."""

    def may_start(self) -> bool:
        """It may."""
        return True

    def started(self) -> None:
        """Nothing counts them."""


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
        self, family: Family, requests: Sequence[Request], admission: Admission = UNLIMITED
    ) -> Iterator[tuple[int, Child]]:
        """The children with the numbers of their requests, each as soon as it is finished, in any order."""
        ...

    def start(self) -> None:
        """Start the workers now, rather than with the first child."""
        ...

    def close(self) -> None:
        """End what it has started."""
        ...


def make_engine(
    config: EngineConfig,
    trainer: Trainer,
    images: ImageData,
    folder: Path,
    *,
    checkpoints: Path | None = None,
    on_epoch: OnEpoch | None = None,
    step: int = 0,
) -> Engine:
    """The engine of a configuration. Its workers are not started yet.

    Args:
        config: Which, and how many workers.
        trainer: Trains children in this process, for "inline".
        images: The data set.
        folder: Where worker processes find the images, in a folder of their own, until the engine is closed.
        checkpoints: The folder for checkpoints of long trainings, in this process or in workers; None to keep none.
        on_epoch: Told of each epoch of each child, by "inline".
        step: Bytes of the values that the start network computes in one step of training: how much memory a worker
            needs.

    Raises:
        InvalidConfiguration: If there is not memory enough for so many workers, or Ray is not installed.
        WorkersFailed: If the Ray cluster does not answer.
    """
    if config.engine == "inline":
        return InlineEngine(ChildTrainer(trainer, images, checkpoints), on_epoch=on_epoch)
    if config.engine == "ray":
        from eas_tf.evaluation.ray_engine import RayEngine  # Ray is an extra.

        return RayEngine(config, images)
    from eas_tf.evaluation.pool import PoolEngine

    return PoolEngine(config, images, folder, checkpoints, step)


class SurrogateEngine:
    """Trains nothing: accuracies come from a closed form.

    Args:
        space: See `SurrogateEvaluator`.
    """

    def __init__(self, space: AnySpace) -> None:
        self._evaluator = SurrogateEvaluator(space)
        self.at_once = 1

    def run(
        self,
        family: Family,  # noqa: ARG002 - there are no weights
        requests: Sequence[Request],
        admission: Admission = UNLIMITED,
    ) -> Iterator[tuple[int, Child]]:
        """The children, in the order asked."""
        for number, result in enumerate(self._evaluator.evaluate(requests)):
            if not admission.may_start():
                return
            admission.started()
            yield number, Child(result=result)

    def start(self) -> None:
        """Nothing is started."""

    def close(self) -> None:
        """Nothing was started."""

    def __str__(self) -> str:
        return "nobody: accuracies come from a closed form"


class InlineEngine:
    """One child after the other in this process.

    Args:
        trainer: Trains children.
        on_epoch: Told of each epoch of each child.
    """

    def __init__(self, trainer: ChildTrainer, *, on_epoch: OnEpoch | None = None) -> None:
        self._trainer, self._on_epoch = trainer, on_epoch
        self.at_once = 1

    def run(
        self, family: Family, requests: Sequence[Request], admission: Admission = UNLIMITED
    ) -> Iterator[tuple[int, Child]]:
        """The children, in the order asked."""
        for number, request in enumerate(requests):
            if not admission.may_start():
                return
            admission.started()
            yield number, self._trainer.train(family, request, on_epoch=self._on_epoch)

    def start(self) -> None:
        """Nothing is started."""

    def close(self) -> None:
        """Nothing was started."""

    def __str__(self) -> str:
        return "this process"
