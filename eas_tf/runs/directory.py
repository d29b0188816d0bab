"""A run directory: one process owns it. The record (`record.py`) is the truth; what else is in it is found through it.

| file | what it is |
|---|---|
| `run.sqlite`, `run.copy.sqlite` | the record, and its copy after the last batch |
| `start.keras`, `best.keras` | the trained start network, the best network so far |
| `weights/17.keras` | network 17: the best few, and those that children grow from |
| `agent-3.npz` | what the agent has learned after batch 3: the last two batches |
| `checkpoints/…npz` | trainings that are not at their end, if they are long |
| `config.json`, `split.json`, `tested.json`, `progress.png` | made for people |
| `clock.json` | seconds of work, in a search by the clock |
| `lock`, `owner.json` | who works on it |
"""

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Collection
from contextlib import ExitStack, suppress
from datetime import datetime
from fnmatch import fnmatch
from io import BytesIO
from pathlib import Path
from shlex import quote
from typing import Any, Self
from zipfile import ZipFile

import numpy as np
from filelock import FileLock, Timeout

from eas_tf.errors import InvalidConfiguration, RunBusy
from eas_tf.files import partials, write_whole, written_whole
from eas_tf.runs.paths import checked_path
from eas_tf.runs.record import Batch, Record, Run
from eas_tf.storing import storing

#: Batches whose agent state is kept.
GENERATIONS = 2

#: The folder for checkpoints.
CHECKPOINTS = "checkpoints"
#: Seconds in which a process that only looks whether a run is in use has looked.
PROBE_SECONDS = 0.3

#: What a process leaves behind that was killed before there was a record.
_EMPTY = ("lock", "owner.json", partials("owner"), "run.partial*")

#: What a process that was killed may leave behind.
_LEFTOVERS = (
    *("run.partial*", "run.copy.partial", "workers-*.lock"),
    *map(
        partials,
        ("owner", "config", "split", "tested", "clock", "agent-*", "best", "start", "weights/*", "checkpoints/*"),
    ),
)


class RunDirectory:
    """A run directory that this process owns until `close`.

    Args:
        path: The directory.
        new: The run to begin there; None to go on with the one that is there.

    Raises:
        InvalidConfiguration: If it cannot be made, holds something already, or holds no run.
        RunBusy: If another process owns it.
        RunDamaged: If its record is not as it was written.
        StorageFailed: If it cannot be written, or another program keeps its record locked.
    """

    def __init__(self, path: Path, new: Run | None = None) -> None:
        self.path = path
        with ExitStack() as undo:
            if new:
                check_free(path)
                with storing(path, "Name another directory."):
                    path.mkdir(parents=True, exist_ok=True)
            elif not self.record_file.is_file():
                raise InvalidConfiguration(f"{path} is no run directory: it holds no {self.record_file.name}.")
            self._lock = _owned(path)
            undo.callback(self._lock.release)
            if new and self.record_file.exists():  # begun and ended by another process since
                raise _holds_run(path)
            with storing(path):
                self._sweep()
            self.record = Record.create(self.record_file, new) if new else Record(self.record_file, writable=True)
            undo.callback(self.record.close)
            self.copy_record()
            undo.pop_all()

    def _sweep(self) -> None:
        for pattern in _LEFTOVERS:
            for left in self.path.glob(pattern):
                left.unlink()
        for images in self.path.glob("workers-*/images.npz"):
            if not images.parent.is_symlink():
                shutil.rmtree(images.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.record.close()
        with suppress(OSError):  # which would hide why the search ends
            (self.path / "owner.json").unlink(missing_ok=True)
        self._lock.release()

    @property
    def record_file(self) -> Path:
        """The record."""
        return self.path / "run.sqlite"

    @property
    def best(self) -> Path:
        """The best network so far."""
        return self.path / "best.keras"

    def weights(self, network: int) -> Path:
        """Where the weights of a network are, if they are kept."""
        return weights_file(self.path, network)

    @property
    def checkpoints(self) -> Path:
        """The folder for checkpoints of trainings that are not at their end."""
        return self.path / CHECKPOINTS

    def forget_checkpoints(self) -> None:
        """Delete them all: what was in training is recorded."""
        for path in self.checkpoints.glob("*.npz"):
            path.unlink()

    def keep_weights(self, networks: Collection[int]) -> None:
        """Delete the weights of all networks but these and the start network."""
        kept = {self.weights(network) for network in networks}
        for path in (self.path / "weights").glob("*.keras"):
            if path not in kept:
                path.unlink()

    def publish_best(self, network: int) -> None:
        """Make a network the `best.keras`."""
        with storing(self.best), written_whole(self.best) as partial:
            shutil.copyfile(self.weights(network), partial)

    def write_state(self, batch: int, state: dict[str, np.ndarray]) -> tuple[str, str]:
        """Write what an agent has learned; the file's name and its SHA-256, which belong into the batch's row."""
        path = self.path / f"agent-{batch}.npz"
        content = BytesIO()
        with ZipFile(content, "w") as archive:  # as `np.savez` writes it, which keeps some names for itself
            for name, array in state.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, array, allow_pickle=False)
        write_whole(path, content.getvalue())
        return path.name, hashlib.sha256(content.getvalue()).hexdigest()

    def read_state(self, batch: Batch) -> dict[str, np.ndarray] | None:
        """What the agent had learned after a batch; None if the file is not there or not as it was written."""
        path = self.path / Path(batch.state).name
        content = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(content).hexdigest() != batch.sha256:
            return None
        with np.load(BytesIO(content), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}

    def forget_states(self, before: int) -> None:
        """Delete the states of all batches before this one."""
        for path in self.path.glob("agent-*.npz"):
            number = path.stem.removeprefix("agent-")
            if number.isdecimal() and int(number) < before:
                path.unlink()

    def copy_record(self) -> None:
        """Keep a copy of the record as it is now."""
        self.record.copy_to(self.record_file.with_suffix(".copy.sqlite"))

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write something for people."""
        write_whole(self.path / name, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def weights_file(run: Path, network: int) -> Path:
    """Where a run directory has the weights of a network, if they are kept."""
    return run / "weights" / f"{network}.keras" if network else run / "start.keras"


def check_free(path: Path) -> None:
    """Refuse to write among other files.

    Raises:
        InvalidConfiguration: If the directory is not empty, is a file, or has a name that cannot be shown or stored.
        RunBusy: If another process works on a run there.
    """
    checked_path(path)
    names = [each.name for each in path.iterdir()] if path.is_dir() else []
    if "run.sqlite" in names:
        check_not_busy(path)
        raise _holds_run(path)
    foreign = not all(any(fnmatch(name, pattern) for pattern in _EMPTY) for name in names)
    if foreign or (path.exists() and not path.is_dir()):
        raise InvalidConfiguration(f"`output` must be a new or empty directory. {path} holds something already.")


def _holds_run(path: Path) -> InvalidConfiguration:
    return InvalidConfiguration(
        f"`output` must be a new or empty directory, and {path} holds a run already. To go on with it: "
        f"`resume` {quote(str(path))}"
    )


def check_not_busy(path: Path) -> None:
    """Refuse a run directory on which another process works.

    Where this user may not lock, there is nothing to refuse: a search there fails before it writes.

    Raises:
        RunBusy: Naming the process.
    """
    try:
        FileLock(path / "lock").acquire(timeout=0).lock.release()
    except Timeout:  # which is an OSError too
        raise _busy(path) from None
    except OSError:
        return


def _busy(path: Path) -> RunBusy:
    name = "another process"
    with suppress(OSError, ValueError, TypeError, KeyError):
        told = json.loads((path / "owner.json").read_text())
        name = f"process {int(told['pid'])} on {told['host']!r}, since {told['since']!r}"
    return RunBusy(f"{path} is in use by {name}. Wait until it is done, or end it.")


def _owned(path: Path) -> FileLock:
    """The lock of a directory, after this process has become its owner."""
    lock, owner = FileLock(path / "lock"), path / "owner.json"
    with storing(path / "lock"):
        try:
            lock.acquire(timeout=PROBE_SECONDS)
        except Timeout:  # which is an OSError too
            raise _busy(path) from None
    try:
        since = datetime.now().isoformat(" ", "seconds")
        write_whole(owner, json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}).encode())
    except BaseException:
        lock.release()
        raise
    return lock
