"""One worker process, as the process that started it sees it: started, asked for children, ended and replaced."""

import contextlib
import os
import signal
from concurrent.futures import CancelledError, Future
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, TypeAlias

from pebble import ProcessExpired, ProcessPool

from eas_tf.errors import WorkersFailed
from eas_tf.evaluation import worker
from eas_tf.evaluation.child import WORKER_ENDED, Child, Family, failed
from eas_tf.evaluation.protocol import Request

#: Children that a worker trains before it is replaced: each leaves some megabytes behind.
CHILDREN_PER_WORKER = 100

#: Signals that a process gets for what it does itself. Others come from outside, or from a system short of memory.
OWN_DOING = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL} | {getattr(signal, "SIGBUS", 0)})

#: How often in a row a worker may end without a child's doing before that is an error.
BREAKDOWNS = 3

#: A child in training, and what its process then has in memory, in bytes.
Training: TypeAlias = Future[tuple[Child, int]]


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


class WorkerProcess:
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

    def submit(self, family: Family, request: Request) -> Training:
        """Let it train a child."""
        self.revive()  # It may have been killed while it was idle and others were training.
        self.busy = True
        return self._pool.schedule(worker.train, args=(family, request))

    def give_up(self, seconds: float) -> Child:
        """The child in training, ended because it takes longer than so many seconds."""
        self._restart()
        return failed(f"TimeLimit: it took longer than {seconds:g} s", seconds)

    def child(self, task: Training, seconds: float, *, last: bool) -> Child | None:
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
        """End the process, and do not wait until it has ended."""
        self._pool.stop()
        self._context.kill()

    def stop(self) -> None:
        """End the process, and wait until it has ended."""
        self.busy = False
        self.abandon()
        self._pool.join()


def _reason(exit_code: Any) -> str:
    """Why a process ended."""
    if not isinstance(exit_code, int) or exit_code >= 0:
        return f"{WORKER_ENDED}: its process ended with exit code {exit_code}"
    name = str(-exit_code)
    with contextlib.suppress(ValueError):
        name = signal.Signals(-exit_code).name
    hint = ", as the system does when memory runs out" if name == "SIGKILL" else ""
    return f"{WORKER_ENDED}: its process was ended by {name}{hint}"
