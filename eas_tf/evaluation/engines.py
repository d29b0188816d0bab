"""Where children are trained: in this process, in worker processes (`pool.py`), on other machines (`ray_engine.py`)."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from eas_tf.data import ImageData
from eas_tf.evaluation.child import Child, ChildTrainer, Family
from eas_tf.evaluation.engine import UNLIMITED, Admission, Engine
from eas_tf.evaluation.engine_config import EngineConfig
from eas_tf.evaluation.pool import PoolEngine
from eas_tf.evaluation.protocol import Request
from eas_tf.training.trainer import OnEpoch, Trainer


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
    return PoolEngine(config, images, folder, checkpoints, step)


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
        self, asked: Sequence[tuple[Family, Request]], admission: Admission = UNLIMITED
    ) -> Iterator[tuple[int, Child]]:
        """The children, in the order asked."""
        for number, (family, request) in enumerate(asked):
            if not admission.may_start():
                return
            admission.started()
            child = self._trainer.train(family, request, on_epoch=self._on_epoch, stops=admission.must_end)
            yield number, child

    def start(self) -> None:
        """Nothing is started."""

    def close(self) -> None:
        """Nothing was started."""

    def __str__(self) -> str:
        return "this process"
