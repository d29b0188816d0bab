"""What runs in a worker process. Importing this loads no TensorFlow: a worker first says which device it has."""

import contextlib
import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from eas_tf.backend import use_tensorflow
from eas_tf.data import ImageData
from eas_tf.evaluation.protocol import Request
from eas_tf.training.silence import silent_import

if TYPE_CHECKING:
    from eas_tf.evaluation.child import Child, ChildTrainer, Family


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """What a worker process may use."""

    images: Path
    """The data set, as `ImageData.save` writes it."""
    threads: int
    """Threads for one operation of TensorFlow. Equal numbers give equal results."""
    operations: int
    """Operations that run at the same time. On most processors it changes no result, on some the last bits."""
    memory: int
    """Bytes of data after which allocations fail."""
    checkpoints: Path | None = None
    """The folder for checkpoints of long trainings."""
    gpu: str | None = None
    """The GPU's number or name, as `CUDA_VISIBLE_DEVICES` has it; None for the CPU."""


_trainer: "ChildTrainer"


def start(settings: WorkerSettings) -> None:
    """Begin a worker process: its share of the machine, TensorFlow, the images."""
    global _trainer
    parent = multiprocessing.parent_process()
    for ends in (_end_with, _end_at_the_word_of):
        threading.Thread(target=ends, args=[parent], daemon=True).start()
    if settings.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = settings.gpu
    # Where memory runs out, the system ends this process, and the one that started it tells why.
    with contextlib.suppress(OSError):  # no Linux
        Path("/proc/self/oom_score_adj").write_text("1000")
    use_tensorflow(lambda _: None)  # the main script, which was imported first, may have set another backend
    with silent_import():
        from eas_tf.evaluation.child import ChildTrainer
        from eas_tf.training.trainer import Trainer

        configure(settings.threads, settings.operations)
    try:
        images = ImageData.load(settings.images)
    except OSError:
        if settings.images.parent.exists():
            raise
        os._exit(1)  # Who started this process has ended, and removed the folder.
    _limit_memory(settings.memory)
    _trainer = ChildTrainer(Trainer(images), images, settings.checkpoints)
    gc.freeze()  # else the collection after each child would look through all of TensorFlow, for 0.2 s


def configure(threads: int, operations: int) -> None:
    """Set TensorFlow up in a process that does nothing but train children, before it is used."""
    import tensorflow as tf

    for device in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, True)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(operations)
    # Rewriting a child's graph takes 0.2 to 0.4 s, and its steps are no faster for it.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def train(family: "Family", request: Request) -> "tuple[Child, int]":
    """One child, and the bytes that this process has in memory after it."""
    child = _trainer.train(family, request)
    gc.collect()
    return child, psutil.Process().memory_info().rss


def _end_with(parent: Any) -> None:
    """End this process when the one that started it has ended, however that was, and not only after the child."""
    parent.join()
    os._exit(1)


def _end_at_the_word_of(parent: Any) -> None:
    """End this process when the one that started it says so, and not when somebody ends a whole group of processes.

    Then the parent decides what becomes of the child in training.
    """
    if hasattr(signal, "sigwaitinfo"):  # macOS and Windows do not tell who sends a signal.
        while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent.pid:
            pass
        os._exit(1)


@contextmanager
def signals_blocked() -> Iterator[None]:
    """For starting a process: it and its threads have Ctrl-C and SIGTERM blocked from their first moment on."""
    if not hasattr(signal, "sigwaitinfo"):
        yield
        return
    resource_tracker.ensure_running()  # which would unblock them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _limit_memory(size: int) -> None:
    """Let allocations beyond `size` fail in this process, before the system kills another for want of memory."""
    try:
        import resource
    except ImportError:  # Windows has no such limit.
        return
    resource.setrlimit(resource.RLIMIT_DATA, (size, resource.RLIM_INFINITY))
