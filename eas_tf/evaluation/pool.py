"""Children in worker processes: all cores or GPUs at work, and no child can harm another."""

import contextlib
import math
import os
import signal
import weakref
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any, TypeAlias

import tensorflow as tf
from pebble import ProcessExpired, ProcessPool

from eas_tf.data import ImageData
from eas_tf.errors import InvalidConfiguration, WorkersFailed
from eas_tf.evaluation import worker
from eas_tf.evaluation.child import WORKER_ENDED, Child, Family, failed
from eas_tf.evaluation.engine import UNLIMITED, Admission, AwakeClock
from eas_tf.evaluation.engine_config import EngineConfig
from eas_tf.evaluation.protocol import Request
from eas_tf.evaluation.scratch import ScratchFolder
from eas_tf.evaluation.worker_start import check_worker_start
from eas_tf.machine import free_memory, usable_cores, visible_gpus

#: Memory of a worker that trains small networks, in bytes, without its images: measured, and rounded up.
WORKER_MEMORY = 1_200_000_000

#: The same for one that is alone and replaced often, because there is no more.
LEAST_MEMORY = 300_000_000

#: What the process that starts the workers will yet take for itself, in bytes: measured, and rounded up.
OWN_MEMORY = 200_000_000

#: Children that a worker trains before it is replaced: each leaves some megabytes behind.
CHILDREN_PER_WORKER = 100

#: Pixels up to which two threads are slower than one for one operation: handing work over takes longer than the work.
SMALL_IMAGE = 16 * 16

#: Signals that a process gets for what it does itself. Others come from outside, or from a system short of memory.
OWN_DOING = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL} | {getattr(signal, "SIGBUS", 0)})

#: How often a child is tried again whose worker was ended from outside.
AGAIN = 1

#: How often in a row a worker may end without a child's doing before that is an error.
BREAKDOWNS = 3

_Task: TypeAlias = Future[tuple[Child, int]]


@dataclass(frozen=True, kw_only=True)
class Workers:
    """How many worker processes there are, and what each has of the machine."""

    count: int
    cores: int
    """For each."""
    threads: int
    """For one operation in each."""
    memory: int
    """Bytes that each may allocate."""
    gpus: tuple[str, ...] = ()
    """One for each worker; none for workers on the CPU."""

    def __str__(self) -> str:
        on = f"GPU {', '.join(self.gpus)}" if self.gpus else f"{self.cores} CPU core{'s' * (self.cores > 1)} each"
        return f"{self.count} worker{'s' * (self.count > 1)}, {on}"


def pick_workers(config: EngineConfig, images: ImageData, gpus: Sequence[str] = (), step: int = 0) -> Workers:
    """Share the machine among workers.

    Args:
        config: How many are wanted.
        images: What each worker holds in memory.
        gpus: The GPUs' numbers or names, as `CUDA_VISIBLE_DEVICES` has them.
        step: Bytes of the values that the start network computes in one step of training.

    Raises:
        InvalidConfiguration: If there is not enough memory, or there are not enough GPUs, for so many.
    """
    of_images = 2 * (images.x_train.nbytes + images.x_val.nbytes)
    step = 0 if gpus else step
    # Children are larger than the start network, and the way back takes memory of its own.
    needed, least = WORKER_MEMORY + of_images + 2 * step, LEAST_MEMORY + of_images + step
    free, cores = max(0, free_memory() - OWN_MEMORY), usable_cores()
    places = [gpu for gpu in gpus for _ in range(config.workers_per_gpu)]
    most = max(1, free // needed)
    count = min(len(places) or cores, most) if config.workers == "auto" else config.workers
    if free < least:
        raise InvalidConfiguration(
            f"A worker needs at least {least / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free beside this "
            "process. Give it more, or smaller batches (`batch`), or train without workers: `engine` inline."
        )
    if count > most:
        raise InvalidConfiguration(
            f"{count} workers need about {count * needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free. "
            f"Take at most {most}."
        )
    if places and count > len(places):
        raise InvalidConfiguration(
            f"{count} workers do not fit on {len(gpus)} GPUs with {config.workers_per_gpu} on each. Raise "
            "`workers_per_gpu`."
        )
    share = max(1, cores // count)
    return Workers(
        count=count,
        cores=share,
        threads=pick_threads(images, share),
        memory=max(needed, int(0.9 * free / count)),
        gpus=tuple(places[:count]),
    )


def pick_threads(images: ImageData, cores: int) -> int:
    """How many threads work on one operation, in a process that has so many cores.

    Args:
        images: What it trains on.
        cores: The process' own.
    """
    height, width, _ = images.input_shape
    return 1 if height * width <= SMALL_IMAGE else cores


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
        self._processes: list[_Worker] = []
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
            self._processes += [_Worker(replace(settings, gpu=gpu)) for gpu in gpus]

    def run(
        self, family: Family, requests: Sequence[Request], admission: Admission = UNLIMITED
    ) -> Iterator[tuple[int, Child]]:
        """The children with the numbers of their requests, in the order in which they are finished.

        Raises:
            WorkersFailed: If a worker does not stay alive.
        """
        waiting = deque(range(len(requests)))
        idle = self._idle() if waiting else []
        running: dict[_Task, _Running] = {}
        begun: Counter[int] = Counter()
        clock, tick = AwakeClock(), min(1.0, self._time_limit / 4)

        def occupy() -> None:
            while waiting and idle and (begun[waiting[0]] or admission.may_start()):
                process, number = idle.pop(0), waiting.popleft()
                if not begun[number]:
                    admission.started()
                begun[number] += 1
                running[process.submit(family, requests[number])] = _Running(process, number)

        try:
            occupy()
            while running:
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

    def _idle(self) -> list["_Worker"]:
        """Workers without a child. Where another run has them all, this one waits behind the first."""
        self.start()
        return [each for each in self._processes if not each.busy] or self._processes[:1]

    def _is_overdue(self, task: _Task, each: "_Running", now: float) -> bool:
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

    process: "_Worker"
    number: int
    """Of its request."""
    since: float | None = None
    """When its training was seen to have begun, in seconds of the clock of all children."""


class _Spawn(SpawnContext):
    """Starts processes, and knows them and the locks that they share."""

    def __init__(self) -> None:
        super().__init__()
        self._locks: list[Any] = []
        self._processes: list[SpawnProcess] = []

    def RLock(self) -> Any:  # noqa: N802 - the name of multiprocessing
        # pebble drops its own before it ends the process, and with its last owner a lock's name is gone. A process that
        # is only starting up would look for it in vain, and say so on the terminal.
        self._locks.append(super().RLock())
        return self._locks[-1]

    def Process(self, *args: Any, **options: Any) -> SpawnProcess:  # type: ignore[override]  # noqa: N802 - the same
        self._processes.append(SpawnProcess(*args, **options))
        return self._processes[-1]

    def kill(self) -> None:
        for process in self._processes:
            if process.pid:
                process.kill()


class _Worker:
    """A process that trains one child after the other, and another process when it has ended.

    It is a pool of its own: what the workers of one pool of pebble share stays locked for all when one is killed.
    """

    def __init__(self, settings: worker.WorkerSettings) -> None:
        self._settings, self._breakdowns = settings, 0
        # Bytes that children may leave behind before the process is replaced.
        self._growth = settings.memory // 4
        self._start()

    def _start(self) -> None:
        self._context = _Spawn()
        self._pool = ProcessPool(
            max_workers=1,
            max_tasks=CHILDREN_PER_WORKER,
            initializer=worker.start,
            initargs=[self._settings],
            context=self._context,
        )
        with worker.signals_blocked():
            self._pool.schedule(os.getpid)  # The process starts with the first task.
        self.busy, self._first_size = False, 0

    def revive(self) -> None:
        """Start another process if this one has ended since its last child."""
        if not self._pool.active:
            self._restart()

    def submit(self, family: Family, request: Request) -> _Task:
        self.revive()  # It may have been killed while it was idle and others were training.
        self.busy = True
        return self._pool.schedule(worker.train, args=(family, request))

    def give_up(self, seconds: float) -> Child:
        """The child in training, ended because it takes longer than so many seconds."""
        self._restart()
        return failed(f"TimeLimit: it took longer than {seconds:g} s", seconds)

    def child(self, task: _Task, seconds: float, *, last: bool) -> Child | None:
        """A finished task's child; None if it is to be tried again, because it had no part in the worker's end.

        Args:
            task: That is finished.
            seconds: That it took.
            last: Whether it has been tried again already.
        """
        self.busy = False
        try:
            child, size = task.result()
        except ProcessExpired as expired:
            self._restart()
            code = expired.exitcode
            outside = isinstance(code, int) and code < 0 and -code not in OWN_DOING
            return None if outside and not last else failed(_reason(code), seconds)
        except CancelledError:
            return None
        except BrokenProcessPool:
            self._breakdowns += 1
            if self._breakdowns > BREAKDOWNS:
                raise WorkersFailed(
                    f"A worker process ended {BREAKDOWNS} times before it had trained anything. What it printed says "
                    "why; `engine` inline trains without workers."
                ) from None
            self._restart()
            return None
        self._breakdowns = 0
        # The first child takes memory that no other does: a process's first use of TensorFlow.
        self._first_size = self._first_size or size
        if size - self._first_size > self._growth:
            self._restart()
        return child

    def _restart(self) -> None:
        self.stop()
        self._start()

    def abandon(self) -> None:
        self._pool.stop()
        self._context.kill()

    def stop(self) -> None:
        self.busy = False
        self.abandon()
        self._pool.join()


def _stop(processes: Sequence[_Worker], owner: int) -> None:
    """Let workers end whose engine is no longer used, whatever thread finds that out; not in a forked process."""
    if os.getpid() == owner:
        for process in processes:
            process.abandon()


def _reason(exit_code: Any) -> str:
    """Why a process ended."""
    if not isinstance(exit_code, int) or exit_code >= 0:
        return f"{WORKER_ENDED}: its process ended with exit code {exit_code}"
    name = str(-exit_code)
    with contextlib.suppress(ValueError):
        name = signal.Signals(-exit_code).name
    hint = ", as the system does when memory runs out" if name == "SIGKILL" else ""
    return f"{WORKER_ENDED}: its process was ended by {name}{hint}"
