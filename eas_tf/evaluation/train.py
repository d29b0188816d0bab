"""Real children: grown from a trained parent, then trained for a few epochs in this process."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeAlias

import numpy as np
import tensorflow as tf

from eas_tf.architecture import PlainCNN
from eas_tf.data import ImageData
from eas_tf.errors import TrainingDiverged
from eas_tf.evaluation.fit import check_fits
from eas_tf.evaluation.protocol import Request, Result
from eas_tf.surgery import LayerGraph, initialise, load_network, lower, measure_moments, save_network, transform
from eas_tf.surgery.channel_map import SymmetryBreaking
from eas_tf.training.recipe import Recipe
from eas_tf.training.trainer import OnEpoch, Trained, Trainer

#: Told of a request, its result, and the trained network if the child did not fail.
OnResult: TypeAlias = Callable[[Request, Result, LayerGraph | None], None]

#: Training images on which a parent's moments are measured.
MOMENT_IMAGES = 512


class TrainEvaluator:
    """Grows and trains children of one parent, one after the other.

    Args:
        trainer: Trains on the data set of the search.
        data: That data set.
        recipe: How each child is trained.
        architecture: The parent's.
        parent: The trained parent.
        symmetry_breaking: How replicas are made to differ.
        on_epoch: Told of each epoch of each child.
        on_result: Told of each child, with its trained network if it did not fail.
    """

    def __init__(
        self,
        trainer: Trainer,
        data: ImageData,
        recipe: Recipe,
        architecture: PlainCNN,
        parent: LayerGraph,
        *,
        symmetry_breaking: SymmetryBreaking = "shares",
        on_epoch: OnEpoch | None = None,
        on_result: OnResult | None = None,
    ) -> None:
        self._trainer, self._recipe, self._architecture = trainer, recipe, architecture
        self._parent = measure_moments(parent, data.x_train[:MOMENT_IMAGES])
        self._symmetry_breaking = symmetry_breaking
        self._on_epoch, self._on_result = on_epoch, on_result
        self.parent = parent.digest
        self.validation_images = len(data.x_val)

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Result]:
        """Train one child after the other; one that diverges or needs too much memory is a failed result."""
        for request in requests:
            result, graph = self._evaluate(request)
            if self._on_result:
                self._on_result(request, result, graph)
            yield result

    def _evaluate(self, request: Request) -> tuple[Result, LayerGraph | None]:
        start = time.perf_counter()
        try:
            trained = self._train(request)
        except (TrainingDiverged, tf.errors.ResourceExhaustedError, MemoryError) as error:
            failure = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            return Result(accuracy=0.0, loss=None, seconds=time.perf_counter() - start, failure=failure), None
        seconds = time.perf_counter() - start
        return Result(accuracy=trained.accuracy, loss=trained.loss, seconds=seconds), trained.graph

    def _train(self, request: Request) -> Trained:
        surgery, training = np.random.SeedSequence(request.seed).spawn(2)
        child = transform(
            self._parent,
            self._architecture,
            request.transformations,
            rng=np.random.default_rng(surgery),
            symmetry_breaking=self._symmetry_breaking,
        )
        seed = int(training.generate_state(1)[0] >> 1)
        return self._trainer.train(child, self._recipe, seed=seed, on_epoch=self._on_epoch)


def train_start(
    trainer: Trainer,
    data: ImageData,
    architecture: PlainCNN,
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
    trainer: Trainer, data: ImageData, architecture: PlainCNN, recipe: Recipe, *, seed: int, cache: Path
) -> LayerGraph:
    """`train_start`, once: the network is kept under the digest of all that it depends on.

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
    return load_network(path)
