"""The start network: trained from random weights, the parent of the first children."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from eas_tf.architecture import Architecture
from eas_tf.data import ImageData
from eas_tf.evaluation.child import Family
from eas_tf.evaluation.fit import check_fits
from eas_tf.surgery import initialise, load_network, lower, save_network
from eas_tf.training.recipe import RATE_FROM_SCRATCH, Recipe
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
    key = json.dumps([str(architecture), architecture.input_shape, data.fingerprint, of_start.as_json(), seed])
    path = cache / f"start-{hashlib.sha256(key.encode()).hexdigest()}.keras"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        save_network(train_start(trainer, data, architecture, of_start, seed=seed).graph, path)
    return Family(
        parent=path,
        digest=load_network(path).digest,
        architecture=architecture,
        data=data.fingerprint,
        recipe=recipe,
    )
