"""A training between two epochs, on the disk: with it a training goes on after any end of its process."""

import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np

from eas_tf.errors import RunDamaged, Stopped
from eas_tf.files import write_whole
from eas_tf.training.loop import TrainingState

#: Seconds of training between two checkpoints. Shorter trainings leave none.
CHECKPOINT_SECONDS = 10.0

#: Of the time of training, the share that writing checkpoints may take.
SHARE = 0.05


class Checkpoint:
    """The file of one training.

    Args:
        path: Where it is. Its folder is made when it is written.
        key: Says which training it is, by all that its result depends on.
        every: Seconds between two checkpoints, at least; 0 for one after each epoch. By default `CHECKPOINT_SECONDS`.
        stops: Asked after each epoch whether the training shall end there, with a checkpoint.
    """

    def __init__(
        self, path: Path, key: str, *, every: float | None = None, stops: Callable[[], bool] = lambda: False
    ) -> None:
        self.path, self._key, self._stops = path, key, stops
        self._every = CHECKPOINT_SECONDS if every is None else every
        self._due = time.monotonic() + self._every

    def read(self) -> TrainingState | None:
        """Where the training was; None if there is no file.

        Raises:
            RunDamaged: If it is not as it was written, or of another training.
        """
        if not self.path.exists():
            return None
        content = self.path.read_bytes()
        content, digest = content[:-32], content[-32:]
        if sha256(content).digest() != digest:
            raise RunDamaged(f"{self.path} is damaged: delete it, and its training begins anew.")
        with np.load(BytesIO(content), allow_pickle=False) as file:
            values = {name: file[name] for name in file.files}
        if values.pop("key", None) != self._key:
            raise RunDamaged(f"{self.path} is of another training: delete it, and this one begins anew.")
        curve = values.pop("curve", np.zeros(0))  # earlier files have none
        return TrainingState(
            epoch=int(values.pop("epoch")),
            losses=tuple(values.pop("losses").tolist()),
            curve=tuple(curve.tolist()),
            seconds=float(values.pop("seconds")),
            progress=float(values.pop("progress", 0.0)),  # earlier files have none
            variables=values,
        )

    def resume(self) -> TrainingState | None:
        """Where the training was; None if it begins anew, because there is no file, or none of this training."""
        with suppress(RunDamaged):
            return self.read()
        return None

    def offer(self, state: Callable[[], TrainingState]) -> None:
        """Write the state of a training after an epoch, if it is time.

        Raises:
            Stopped: If the training shall end here.
        """
        stops, before = self._stops(), time.monotonic()
        if not stops and before < self._due:
            return
        file, values = BytesIO(), dict(vars(state()))
        np.savez(file, **values.pop("variables"), **values, key=self._key)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, file.getvalue() + sha256(file.getbuffer()).digest())
        if stops:
            raise Stopped("A training is not at its end; there is a checkpoint.")
        now = time.monotonic()
        self._due = now + (max(self._every, (now - before) / SHARE) if self._every else 0.0)

    def delete(self) -> None:
        """The training is at its end."""
        self.path.unlink(missing_ok=True)
