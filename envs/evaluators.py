"""Which evaluator stands behind an environment, as JSON types; built when the first episode ends."""

import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self, get_args

import gymnasium as gym

from eas_tf.architecture import AnySpace, Architecture
from eas_tf.backend import use_tensorflow
from eas_tf.envs.transition import Process
from eas_tf.errors import InvalidConfiguration
from eas_tf.evaluation import EVALUATORS, Evaluator, NeedsParents, check_evaluator, make_evaluator
from eas_tf.evaluation.engine_config import ChildrenConfig, EngineName
from eas_tf.evaluation.worker_start import check_worker_start
from eas_tf.metrics import Metric
from eas_tf.paths import expanded
from eas_tf.training.config import check_least
from eas_tf.training.forks import check_fork


@dataclass(frozen=True, kw_only=True)
class EvaluatorConfig(ChildrenConfig):
    """The keyword arguments of `gym.make` that real training needs: those of `ChildrenConfig`, and these."""

    # Worker processes import the main module again, which surprises scripts that do all their work in it.
    engine: EngineName = "inline"
    """inline: this process. pool: worker processes, in scripts with `if __name__ == "__main__":`. ray: a cluster."""

    kind: str = "train"
    """"train" for real children, or a name among `EVALUATORS`, such as "surrogate" for a closed form."""
    epochs: int = 20
    start_epochs: int = 20
    start_seed: int = 0
    """Decides the weights of the start network."""
    cache_dir: str | None = None
    """Where trained start networks and the results of children are kept; by default the user's cache folder for
    `eas_tf`."""

    def __post_init__(self) -> None:
        if self.engine not in get_args(EngineName):
            raise InvalidConfiguration(
                f'`engine` is one of {", ".join(get_args(EngineName))}; for a closed form give evaluator="surrogate". '
                f"Received: {self.engine!r}"
            )
        check_evaluator(self.kind)
        super().__post_init__()
        check_least(self, 0, "start_seed")
        if self.cache_dir is not None:
            object.__setattr__(self, "cache_dir", str(expanded(self.cache_dir)))

    def build(self, space: AnySpace, start: Architecture, metric: Metric = "accuracy") -> Evaluator:
        """Load the data, and train the start network or take it from the cache.

        Raises:
            InvalidConfiguration: If TensorFlow was used before this process was forked, if Keras was imported on
                another backend, or if workers cannot be started from here.
            InvalidData: If the data is not there, or does not fit the network.
        """
        if self.kind in EVALUATORS:
            return make_evaluator(self.kind, space, self.dataset)
        check_fork()
        use_tensorflow(gym.logger.warn)
        if self.engine == "pool":
            check_worker_start()
        # TensorFlow takes seconds to import, and an environment is made, checked and vectorised without it.
        from platformdirs import user_cache_dir

        from eas_tf import data
        from eas_tf.evaluation.cache import ResultCache
        from eas_tf.evaluation.engines import make_engine
        from eas_tf.evaluation.families import Families
        from eas_tf.evaluation.fit import check_fits, fitting_batch
        from eas_tf.evaluation.scratch import ScratchFolder
        from eas_tf.evaluation.start import memory_of_step, start_family
        from eas_tf.evaluation.train import TrainEvaluator
        from eas_tf.training.recipe import Recipe
        from eas_tf.training.strategy import make_strategy
        from eas_tf.training.trainer import Trainer

        images = data.load(self.dataset, data_dir=self.data_dir, crop_and_flip=self.crop_and_flip)
        check_fits(start, images)
        batch, why = self.batch, ""
        if batch is None:
            batch, why = fitting_batch(Recipe.batch, len(images.x_train))
        if why:
            gym.logger.warn(f"batch is {why}")
        recipe = Recipe(
            epochs=self.epochs,
            batch=batch,
            crop_and_flip=images.crop_and_flip,
            dropout=self.dropout,
            metric=metric,
        )
        trainer = Trainer(images, make_strategy(self.strategy))
        cache = Path(self.cache_dir or user_cache_dir("eas_tf"))
        family = start_family(
            trainer, images, start, recipe, epochs=self.start_epochs, seed=self.start_seed, cache=cache
        )
        engine = make_engine(self, trainer, images, cache, step=memory_of_step(images, start, batch))
        results = ResultCache(cache / "results.sqlite")
        return TrainEvaluator(
            Families([family], ScratchFolder(cache, "networks")),
            engine,
            validation_images=len(images.x_val),
            stopping=self.stopping,
            cache=results,
        )


#: What an environment may be given for it; its `evaluator` says the kind.
EVALUATOR_OPTIONS = tuple(field.name for field in fields(EvaluatorConfig) if field.name != "kind")


class EvaluatorSource:
    """What gives an environment its evaluator when the first episode ends; a wrong configuration is refused now.

    A copy, a pickle or a forked process builds an evaluator of its own; copies share an evaluator that was given.

    Args:
        evaluator: "train", "surrogate", or an evaluator.
        process: The environment's.
        options: The fields of `EvaluatorConfig`; an evaluator needs none, but registered ids bring theirs.
    """

    def __init__(self, evaluator: str | Evaluator, process: Process, options: Mapping[str, Any]) -> None:
        self._process, self._is_ours = process, not isinstance(evaluator, Evaluator)
        kind: Any = evaluator if self._is_ours and isinstance(evaluator, str | None) else "surrogate"
        self._config = EvaluatorConfig(kind=kind, **options)
        if kind in EVALUATORS and self._is_ours and process.metric != "accuracy":
            raise InvalidConfiguration(f'metric={process.metric!r} needs children that are trained: evaluator="train".')
        if kind == "train" and not getattr(process.start, "trainable", True):
            raise InvalidConfiguration(
                f"Networks of the space {process.space.name!r} cannot be trained: name another evaluator, such as "
                f"{', '.join(EVALUATORS)}. Received: evaluator={evaluator!r}"
            )
        if isinstance(evaluator, type) or not (isinstance(evaluator, str | Evaluator) or evaluator is None):
            raise InvalidConfiguration(
                f"An evaluator is a name, or an object with what eas_tf.evaluation.Evaluator has. Received: {evaluator}"
            )
        self._evaluator = evaluator if isinstance(evaluator, Evaluator) else None
        self._built_by = os.getpid()
        if self._is_ours and kind in EVALUATORS:
            self()

    def __getstate__(self) -> dict[str, Any]:
        # TensorFlow's state, open files and processes can be neither copied nor pickled.
        return self.__dict__ | ({"_evaluator": None} if self._is_ours else {})

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return copy.copy(self)

    def check_parent(self, architecture: Architecture) -> None:
        """Refuse a parent, other than the start network, from whose weights children would have to grow and cannot.

        Raises:
            InvalidConfiguration: If no child with its layer string was trained here.
        """
        self._leave_to_parent()
        if self._evaluator is None:
            raise InvalidConfiguration(
                "Children grow from the weights of their parent. Nothing was trained here since this environment was "
                "made, copied, unpickled or closed, so that the parent must be the start network. Received: "
                f"{architecture}"
            )
        if isinstance(self._evaluator, NeedsParents):
            self._evaluator.check_parent(architecture)

    def __call__(self) -> Evaluator:
        """The evaluator, built if it is not yet."""
        self._leave_to_parent()
        if self._evaluator is None:
            self._evaluator = self._config.build(self._process.space, self._process.start, self._process.metric)
            self._built_by = os.getpid()
        return self._evaluator

    def close(self) -> None:
        """End what the evaluator has started, if it was built here."""
        self._leave_to_parent()
        if self._is_ours and self._evaluator is not None:
            self._evaluator.close()
            self._evaluator = None

    def _leave_to_parent(self) -> None:
        """Forget an evaluator that another process has built: its workers do not answer to this one."""
        if self._is_ours and self._built_by != os.getpid():
            self._evaluator = None
