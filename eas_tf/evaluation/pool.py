"""Children in worker processes: all cores or GPUs at work, and no child can harm another."""

import math
import os
import weakref
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass, replace
from pathlib import Path

import tensorflow as tf

from eas_tf.data import ImageData
from eas_tf.evaluation import worker
from eas_tf.evaluation.child import Child, Family
from eas_tf.evaluation.engine import UNLIMITED, Admission, AwakeClock
from eas_tf.evaluation.engine_config import EngineConfig
from eas_tf.evaluation.process import Training, WorkerProcess
from eas_tf.evaluation.protocol import Request
from eas_tf.evaluation.scratch import ScratchFolder
from eas_tf.evaluation.share import pick_workers
from eas_tf.evaluation.worker_start import check_worker_start
from eas_tf.machine import visible_gpus

#: How often a child is tried again whose worker was ended from outside.
AGAIN = 1


class PoolEngine:
    """Trains children in worker processes, which are started for the first child and replaced when they end.

    Args:
        config: How many, and how long a child may take.
        images: The data set; the workers get it without the test images.
        folder: Where the images are kept for the workers, in a folder of their own, until `close` or the end of this
            process. What a killed process has left there is removed by the next one.
        checkpoints: The folder for checkpoints of long trainings; None to keep none.
        step: As for `pick_workers`.

    Raises:
        InvalidConfiguration: If there is not enough memory, or there are not enough GPUs, for so many workers, or if
            workers cannot be started from here.
    """

    def __init__(
        self, config: EngineConfig, images: ImageData, folder: Path, checkpoints: Path | None = None, step: int = 0
    ) -> None:
        check_worker_start()
        gpus = visible_gpus(len(tf.config.list_physical_devices("GPU")))
        self._workers, self._time_limit = pick_workers(config, images, gpus, step), config.child_seconds or math.inf
        self.at_once = self._workers.count
        self._images, self._folder, self._checkpoints = images, folder, checkpoints
        self._own_folder: ScratchFolder | None = None
        self._processes: list[WorkerProcess] = []
        # At the end of this process they end by themselves.
        weakref.finalize(self, _stop, self._processes, os.getpid()).atexit = False

    def start(self) -> None:
        """Start the workers."""
        if not self._processes:
            self._own_folder = ScratchFolder(self._folder, "workers")
            path = self._own_folder.path / "images.npz"
            self._images.save(path)
            workers = self._workers
            settings = worker.WorkerSettings(
                images=path,
                threads=workers.threads,
                operations=workers.cores,
                memory=workers.memory,
                checkpoints=self._checkpoints,
            )
            gpus = workers.gpus or [None] * workers.count
            self._processes += [WorkerProcess(replace(settings, gpu=gpu)) for gpu in gpus]

    def run(
        self, asked: Sequence[tuple[Family, Request]], admission: Admission = UNLIMITED
    ) -> Iterator[tuple[int, Child]]:
        """The children with their places in what is asked, in the order in which they are finished.

        Raises:
            WorkersFailed: If a worker does not stay alive.
        """
        waiting = deque(range(len(asked)))
        idle = self._idle() if waiting else []
        running: dict[Training, _Running] = {}
        begun: Counter[int] = Counter()
        clock, tick = AwakeClock(), min(1.0, self._time_limit / 4)

        def occupy() -> None:
            while waiting and idle and (begun[waiting[0]] or admission.may_start()):
                process, number = idle.pop(0), waiting.popleft()
                if not begun[number]:
                    admission.started()
                begun[number] += 1
                running[process.submit(*asked[number])] = _Running(process, number)

        try:
            occupy()
            while running and not admission.must_end():
                finished = []
                done = wait(running, timeout=tick, return_when=FIRST_COMPLETED).done
                now = clock.seconds()
                for task, each in list(running.items()):
                    if task in done:
                        child = each.process.child(task, now - (each.since or now), last=begun[each.number] > AGAIN)
                    elif self._is_overdue(task, each, now):
                        child = each.process.give_up(self._time_limit)
                    else:
                        continue
                    del running[task]
                    idle.append(each.process)
                    if child:
                        finished.append((each.number, child))
                    else:
                        waiting.appendleft(each.number)
                occupy()  # Before whoever wants the finished ones takes time for them.
                yield from finished
        finally:
            for each in running.values():
                each.process.stop()

    def _idle(self) -> list[WorkerProcess]:
        """Workers without a child. Where another run has them all, this one waits behind the first."""
        self.start()
        return [each for each in self._processes if not each.busy] or self._processes[:1]

    def _is_overdue(self, task: Training, each: "_Running", now: float) -> bool:
        if each.since is None and task.running():  # The worker had to start up before.
            each.since = now
        return each.since is not None and now - each.since > self._time_limit

    def __str__(self) -> str:
        return str(self._workers)

    def close(self) -> None:
        """End the workers, and with them what they are training."""
        for process in self._processes:
            process.stop()
        self._processes.clear()
        if self._own_folder:
            self._own_folder.close()


@dataclass
class _Running:
    """A child in training."""

    process: WorkerProcess
    number: int
    """Its place in what is asked."""
    since: float | None = None
    """When its training was seen to have begun, in seconds of the clock of all children."""


def _stop(processes: Sequence[WorkerProcess], owner: int) -> None:
    """Let workers end whose engine is no longer used, whatever thread finds that out; not in a forked process."""
    if os.getpid() == owner:
        for process in processes:
            process.abandon()
