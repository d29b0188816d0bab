"""What runs in a worker process. Importing this loads no TensorFlow: a worker first says which device it has."""

import gc
import multiprocessing
import os
import threading
from dataclasses import dataclass
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
    """Threads for one operation of TensorFlow. Equal numbers give equal results, to the last bit."""
    operations: int
    """Operations that run at the same time. It changes no result."""
    memory: int
    """Bytes of data after which allocations fail."""
    gpu: str | None = None
    """The GPU's number, as `CUDA_VISIBLE_DEVICES` has it; None for the CPU."""


_trainer: "ChildTrainer"


def start(settings: WorkerSettings) -> None:
    """Begin a worker process: its share of the machine, TensorFlow, the images."""
    global _trainer
    threading.Thread(target=_end_with, args=[multiprocessing.parent_process()], daemon=True).start()
    if settings.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = settings.gpu
    use_tensorflow(lambda _: None)  # the main script, which was imported first, may have set another backend
    with silent_import():
        from eas_tf.evaluation.child import ChildTrainer
        from eas_tf.training.trainer import Trainer

        configure(settings.threads, settings.operations)
    images = ImageData.load(settings.images)
    _trainer = ChildTrainer(Trainer(images), images)
    gc.freeze()  # else the collection after each child would look through all of TensorFlow, for 0.2 s
    _limit_memory(settings.memory)


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


def _limit_memory(size: int) -> None:
    """Let allocations beyond `size` fail in this process, before the system kills another for want of memory."""
    try:
        import resource
    except ImportError:  # Windows has no such limit.
        return
    resource.setrlimit(resource.RLIMIT_DATA, (size, resource.RLIM_INFINITY))
