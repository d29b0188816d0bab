"""The start network: trained from random weights, the parent of the first children."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from eas_tf.architecture import Architecture
from eas_tf.data import ImageData
from eas_tf.evaluation.fit import check_fits
from eas_tf.surgery import initialise, load_network, lower, save_network
from eas_tf.training.recipe import Recipe
from eas_tf.training.trainer import OnEpoch, Trained, Trainer


def train_start(
    trainer: Trainer,
    data: ImageData,
    architecture: Architecture,
    recipe: Recipe,
    *,
    seed: int,
    on_epoch: OnEpoch | None = None,
) -> Trained:
    """Train a network from random weights.

    Args:
        trainer: Trains on `data`.
        data: The data set, which also gives the normalisation inside the network.
        architecture: What to train.
        recipe: How; its initial rate should be `RATE_FROM_SCRATCH`.
        seed: Decides the weights and the order of the images.
        on_epoch: Told of each epoch.

    Raises:
        InvalidData: If the architecture is for other images or another number of classes.
    """
    check_fits(architecture, data)
    weights, training = np.random.SeedSequence(seed).spawn(2)
    graph = initialise(lower(architecture, data.mean, data.std), rng=np.random.default_rng(weights))
    return trainer.train(graph, recipe, seed=int(training.generate_state(1)[0] >> 1), on_epoch=on_epoch)


def cached_start(
    trainer: Trainer, data: ImageData, architecture: Architecture, recipe: Recipe, *, seed: int, cache: Path
) -> tuple[Path, str]:
    """`train_start`, once: the `.keras` file, kept under the digest of all that it depends on, and its graph's digest.

    Args:
        trainer: Trains on `data`.
        data: The data set.
        architecture: The start network's.
        recipe: How it is trained.
        seed: Decides its weights and the order of the images.
        cache: The folder in which networks are kept. It is made if it is not there.
    """
    key = json.dumps([str(architecture), architecture.input_shape, data.fingerprint, asdict(recipe), seed])
    path = cache / f"start-{hashlib.sha256(key.encode()).hexdigest()}.keras"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        save_network(train_start(trainer, data, architecture, recipe, seed=seed).graph, path)
    return path, load_network(path).digest
