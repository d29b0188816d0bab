"""One child: grown from its trained parent, then trained for a few epochs. What every engine runs, wherever it runs."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import numpy as np
import tensorflow as tf

from eas_tf.architecture import Architecture, Move
from eas_tf.data import ImageData
from eas_tf.errors import InvalidConfiguration, TrainingDiverged
from eas_tf.evaluation.protocol import Request, Result
from eas_tf.evaluation.stopping import keeps_up
from eas_tf.surgery import LayerGraph, growth_moments, load_network, measure_moments, transform
from eas_tf.surgery.channel_map import SymmetryBreaking
from eas_tf.surgery.moments import MOMENT_BATCH
from eas_tf.training.checkpoint import Checkpoint
from eas_tf.training.recipe import Recipe
from eas_tf.training.trainer import OnEpoch, Trained, Trainer

#: How the reason begins of a child whose process was ended, which somebody from outside may have done.
WORKER_ENDED = "WorkerEnded"

#: Parents whose weights and moments a process keeps, the latest.
PARENTS_KEPT = 4

#: Training images on which a parent's moments are measured.
MOMENT_IMAGES = 512


@dataclass(frozen=True, kw_only=True)
class Family:
    """What all children of one parent have in common. Plain data, so that it can be sent anywhere."""

    parent: Path
    """The trained parent, a `.keras` file."""
    digest: str
    """The digest of the parent's graph."""
    architecture: Architecture
    """The parent's."""
    data: str
    """The fingerprint of the images."""
    recipe: Recipe
    """How each child is trained."""
    symmetry_breaking: SymmetryBreaking = "shares"
    """How replicas are made to differ."""

    def load(self) -> LayerGraph:
        """The parent.

        Raises:
            InvalidConfiguration: If the file cannot be read, or holds another network than it did.
        """
        graph = load_network(self.parent)
        if graph.digest != self.digest:
            raise InvalidConfiguration(
                f"{self.parent} has changed: a search needs its parent as it was. Expected digest "
                f"{self.digest[:12]}... Received: {graph.digest[:12]}..."
            )
        return graph


@dataclass(frozen=True, kw_only=True, eq=False)
class Child:
    """A result, and the trained network if the child did not fail."""

    result: Result
    graph: LayerGraph | None = None


def identity(family: Family, request: Request) -> str:
    """All that a child's result depends on, as JSON: equal texts are equal children."""
    content = {
        "parent": family.digest,
        "transformations": [str(transformation) for transformation in request.transformations],
        "seed": request.seed,
        "recipe": (request.recipe or family.recipe).as_json(),
        "floors": request.floors,
        "symmetry_breaking": family.symmetry_breaking,
        "data": family.data,
        "fields": [field.name for field in fields(Result)],  # Results of other versions of this code have others.
        "versions": {package: version(package) for package in ("eas_tf", "tensorflow", "keras", "numpy")},
    }
    return json.dumps(content, sort_keys=True)


def failed(reason: str, seconds: float) -> Child:
    """A child without a network, for a reason in one line."""
    return Child(result=Result(accuracy=0.0, loss=None, seconds=seconds, failure=reason))


def measured(parent: LayerGraph, images: ImageData, trained: int = 1) -> LayerGraph:
    """A trained parent, on so many images in one step, with the moments that its children are grown by."""
    batch = parent.batch_in_memory(MOMENT_BATCH, trained)
    return measure_moments(parent, images.x_train[:MOMENT_IMAGES], names=growth_moments(parent), batch=batch)


def grown(
    parent: LayerGraph,
    architecture: Architecture,
    transformations: Sequence[Move],
    *,
    seed: int,
    symmetry_breaking: SymmetryBreaking,
) -> tuple[LayerGraph, int]:
    """A child before its training, and the seed of that.

    Args:
        parent: With moments.
        architecture: The parent's.
        transformations: What turns it into the child, in order.
        seed: The request's.
        symmetry_breaking: How replicas are made to differ.
    """
    surgery, training = np.random.SeedSequence(seed).spawn(2)
    child = transform(
        parent,
        architecture,
        transformations,
        rng=np.random.default_rng(surgery),
        symmetry_breaking=symmetry_breaking,
    )
    return child, int(training.generate_state(1)[0] >> 1)


class ChildTrainer:
    """Grows and trains children, and keeps the last parents with their moments.

    Args:
        trainer: Trains on `images`.
        images: The data set.
        checkpoints: The folder for checkpoints of long trainings; None to keep none.
    """

    def __init__(self, trainer: Trainer, images: ImageData, checkpoints: Path | None = None) -> None:
        self._trainer, self._images, self._checkpoints = trainer, images, checkpoints
        self._parents: dict[str, LayerGraph] = {}

    def train(
        self,
        family: Family,
        request: Request,
        *,
        parent: LayerGraph | None = None,
        on_epoch: OnEpoch | None = None,
        stops: Callable[[], bool] = lambda: False,
    ) -> Child:
        """Train one child; one that diverges or needs too much memory is a failed result.

        Args:
            family: What it has in common with its siblings.
            request: What it is.
            parent: The parent, where its file is out of reach.
            on_epoch: Told of each epoch.
            stops: Asked after each epoch whether the training shall end there, with a checkpoint, if any are kept.

        Raises:
            Stopped: If it shall.
        """
        start = time.perf_counter()
        try:
            trained = self._train(family, self._measured(family, parent), request, on_epoch, stops)
        except (TrainingDiverged, tf.errors.ResourceExhaustedError, MemoryError) as error:
            reason = f"{type(error).__name__}: {(str(error).splitlines() or ['out of memory'])[0]}"
            return failed(reason, time.perf_counter() - start)
        result = Result(
            accuracy=trained.accuracy,
            loss=trained.loss,
            seconds=time.perf_counter() - start,
            found=trained.found,
            curve=trained.curve,
            stopped=trained.stopped,
            epochs=trained.epochs,
        )
        return Child(result=result, graph=trained.graph)

    def _measured(self, family: Family, parent: LayerGraph | None) -> LayerGraph:
        if family.digest not in self._parents:
            graph = parent or family.load()
            while len(self._parents) >= PARENTS_KEPT:
                del self._parents[next(iter(self._parents))]
            self._parents[family.digest] = measured(graph, self._images, family.recipe.batch)
        return self._parents[family.digest]

    def _train(
        self,
        family: Family,
        parent: LayerGraph,
        request: Request,
        on_epoch: OnEpoch | None,
        stops: Callable[[], bool],
    ) -> Trained:
        child, seed = grown(
            parent,
            family.architecture,
            request.transformations,
            seed=request.seed,
            symmetry_breaking=family.symmetry_breaking,
        )
        floors = request.floors
        goes_on = None if floors is None else lambda curve: keeps_up(curve, floors)
        file = self._checkpoint(family, request, stops)
        return self._trainer.train(
            child,
            request.recipe or family.recipe,
            seed=seed,
            on_epoch=on_epoch,
            goes_on=goes_on,
            on_state=file.offer if file else None,
            resume_from=file.resume() if file else None,
        )

    def _checkpoint(self, family: Family, request: Request, stops: Callable[[], bool]) -> Checkpoint | None:
        if self._checkpoints is None:
            return None
        key = sha256(identity(family, request).encode()).hexdigest()
        return Checkpoint(self._checkpoints / f"{key[:32]}.npz", key, stops=stops)
