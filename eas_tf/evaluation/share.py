"""How many worker processes share a machine, and what each of them has of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from eas_tf.data import ImageData
from eas_tf.errors import InvalidConfiguration
from eas_tf.evaluation.engine_config import EngineConfig
from eas_tf.machine import free_memory, usable_cores

#: Memory of a worker that trains small networks, in bytes, without its images: measured, and rounded up.
WORKER_MEMORY = 1_200_000_000

#: The same for one that is alone and replaced often, because there is no more.
LEAST_MEMORY = 300_000_000

#: What the process that starts the workers will yet take for itself, in bytes: measured, and rounded up.
OWN_MEMORY = 200_000_000

#: Pixels up to which two threads are slower than one for one operation: handing work over takes longer than the work.
SMALL_IMAGE = 16 * 16


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
            f"`workers` {count} need about {count * needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free. "
            f"Take at most {most}."
        )
    if places and count > len(places):
        raise InvalidConfiguration(
            f"`workers` {count} do not fit on {len(gpus)} GPUs with {config.workers_per_gpu} on each. Raise "
            "`workers_per_gpu`."
        )
    share = max(1, cores // count)
    return Workers(
        count=count,
        cores=share,
        threads=pick_threads(images.input_shape, share),
        memory=max(needed, int(0.9 * free / count)),
        gpus=tuple(places[:count]),
    )


def pick_threads(input_shape: Sequence[int], cores: int) -> int:
    """How many threads work on one operation, in a process that has so many cores.

    Args:
        input_shape: Height, width and channels of the images that it trains on.
        cores: The process' own.
    """
    height, width, _ = input_shape
    return 1 if height * width <= SMALL_IMAGE else cores
