"""The start network: trained from random weights, the parent of the first children."""

import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf
from filelock import FileLock, Timeout

from eas_tf.architecture import Architecture
from eas_tf.data import ImageData
from eas_tf.errors import InvalidConfiguration
from eas_tf.evaluation.child import Family
from eas_tf.evaluation.fit import check_fits
from eas_tf.files import partials
from eas_tf.surgery import initialise, load_network, lower, save_network
from eas_tf.training.loop import TrainingState
from eas_tf.training.recipe import RATE_FROM_SCRATCH, Recipe
from eas_tf.training.trainer import OnEpoch, OnState, Trained, Trainer, step_memory

#: Seconds until a process says that it waits for another one. Later it says so twelve times less often.
PATIENCE = 5.0


def train_start(
    trainer: Trainer,
    data: ImageData,
    architecture: Architecture,
    recipe: Recipe,
    *,
    seed: int,
    on_epoch: OnEpoch | None = None,
    on_state: OnState | None = None,
    resume_from: TrainingState | None = None,
) -> Trained:
    """Train a network from random weights.

    Args:
        trainer: Trains on `data`.
        data: The data set, which also gives the normalisation inside the network.
        architecture: What to train.
        recipe: How; its initial rate should be `RATE_FROM_SCRATCH`.
        seed: Decides the weights and the order of the images.
        on_epoch: Told of each epoch.
        on_state: As for `Trainer.train`.
        resume_from: As for `Trainer.train`.

    Raises:
        InvalidData: If the architecture is for other images or another number of classes.
        InvalidConfiguration: If there is not memory enough.
    """
    check_fits(architecture, data)
    weights, training = np.random.SeedSequence(seed).spawn(2)
    graph = initialise(lower(architecture, data.mean, data.std), rng=np.random.default_rng(weights))
    try:
        return trainer.train(
            graph,
            recipe,
            seed=int(training.generate_state(1)[0] >> 1),
            on_epoch=on_epoch,
            on_state=on_state,
            resume_from=resume_from,
        )
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        raise InvalidConfiguration(
            f"The start network needs more memory in training than there is: give a smaller `batch` (it is "
            f"{recipe.batch}) or a smaller `start`. {(str(error).splitlines() or [''])[0]}"
        ) from error


def seconds_of_step(trainer: Trainer, data: ImageData, architecture: Architecture, recipe: Recipe) -> float:
    """What a step of a start network's training takes on this machine, by a few of them."""
    graph = initialise(lower(architecture, data.mean, data.std), rng=np.random.default_rng(0))
    return trainer.seconds_of_step(graph, recipe)


def memory_of_step(data: ImageData, architecture: Architecture, batch: int) -> int:
    """Bytes of the values that a start network computes in one step of training."""
    return step_memory(lower(architecture, data.mean, data.std), batch)


def start_key(data: ImageData, architecture: Architecture, recipe: Recipe, seed: int) -> str:
    """The digest of all that a start network depends on, in hexadecimal."""
    told = json.dumps([str(architecture), architecture.input_shape, data.fingerprint, recipe.as_json(), seed])
    return hashlib.sha256(told.encode()).hexdigest()


def start_family(
    trainer: Trainer,
    data: ImageData,
    architecture: Architecture,
    recipe: Recipe,
    *,
    epochs: int,
    seed: int,
    cache: Path,
) -> Family:
    """The children of a start network, which is trained once: its file is named by the digest of all it depends on.

    Of several processes one trains it, and the others wait. If its file is damaged, it is trained again.

    Args:
        trainer: Trains on `data`.
        data: The data set.
        architecture: The start network's.
        recipe: The children's; the start network's differs in epochs and initial rate only.
        epochs: Passes over the training images for the start network.
        seed: Decides its weights and the order of the images.
        cache: The folder in which networks are kept. It is made if it is not there.

    Raises:
        InvalidData: If the architecture is for other images or another number of classes.
    """
    of_start = replace(recipe, epochs=epochs, learning_rate=RATE_FROM_SCRATCH)
    path = cache / f"start-{start_key(data, architecture, of_start, seed)}.keras"
    _sweep(cache)
    digest = digest_of(path)
    if digest is None:
        cache.mkdir(parents=True, exist_ok=True)
        with _alone(path):
            digest = digest_of(path)  # if another process has trained it meanwhile
            if digest is None:
                graph = train_start(trainer, data, architecture, of_start, seed=seed).graph
                save_network(graph, path)
                digest = graph.digest
    return Family(parent=path, digest=digest, architecture=architecture, data=data.fingerprint, recipe=recipe)


def digest_of(path: Path) -> str | None:
    """The digest of a network on the disk; None if there is none, or it cannot be read."""
    with suppress(InvalidConfiguration):
        return load_network(path).digest
    return None


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process trains a start network; the others wait until it is done or has ended, and say so."""
    lock, patience = FileLock(path.with_suffix(".lock"), thread_local=False), PATIENCE
    while not lock.is_locked:
        try:
            lock.acquire(timeout=patience)
        except Timeout:
            print(
                f"Waiting for the start network, which another process trains. Its lock is {lock.lock_file}",
                file=sys.stderr,
                flush=True,
            )
            patience = 12 * PATIENCE
    try:
        yield
    finally:
        lock.release()


def _sweep(cache: Path) -> None:
    """Remove what processes have left that were killed while they wrote a start network."""
    for partial in cache.glob(partials("start-*")):
        lock = FileLock(cache / f"{partial.name.partition('.')[0]}.lock", timeout=0)
        with suppress(OSError), lock:  # a lock that is held is an OSError, too
            partial.unlink()
