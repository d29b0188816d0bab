"""All that a search needs, found to fit together before anything is written. Imports no TensorFlow by itself."""

from dataclasses import dataclass, replace
from typing import Self

from eas_tf import data
from eas_tf.architecture import AnySpace, Architecture, parse_architecture, space_named
from eas_tf.errors import InvalidConfiguration
from eas_tf.evaluation.fit import check_fits, fitting_batch
from eas_tf.runs.directory import check_free
from eas_tf.search.config import ResolvedConfig, SearchConfig
from eas_tf.training.recipe import RATE_FROM_SCRATCH, Recipe


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """A configuration and what it stands for."""

    config: ResolvedConfig
    images: data.ImageData
    space: AnySpace
    start: Architecture
    recipe: Recipe
    """For children."""
    start_recipe: Recipe
    notes: tuple[str, ...] = ()
    """What was decided about the data, and is told at the beginning."""

    @property
    def trains(self) -> bool:
        """Whether networks are trained, and have weights."""
        return self.config.engine != "surrogate"

    @property
    def networks(self) -> int:
        """All that will be recorded: the start network, the children, the best of each stage but the last."""
        sizes = self.config.stage_sizes
        return 1 + sum(sizes) + (len(sizes) - 1) * bool(self.config.promote_epochs)

    @classmethod
    def of(cls, config: SearchConfig) -> Self:
        """Load the data and check everything that can be checked before training.

        Raises:
            EASError: If something does not fit; one line that says what to do.
        """
        resolved = config.resolved()
        if not resolved.resume:
            check_free(resolved.output)
        space = space_named(resolved.space, max_parameters=config.max_params, schedule=resolved.schedule)
        images = data.load(
            config.dataset, data_dir=config.data_dir, download=config.download, crop_and_flip=config.crop_and_flip
        )
        if config.start is None:
            start = space.start_network(images.input_shape, images.classes)
        else:
            start = parse_architecture(config.start, images.input_shape)
        check_fits(start, images)
        space.check(start)
        notes, count = [images.note, *images.cautions], len(images.x_train)
        if resolved.batch > count and config.batch is None:
            batch, why = fitting_batch(resolved.batch, count)
            notes.append(f"--batch is {why}")
            resolved = replace(resolved, batch=batch)
        if resolved.batch > count:
            raise InvalidConfiguration(
                f"--batch must be at most the {count} training images. Received: {resolved.batch}"
            )
        recipe = Recipe(
            epochs=resolved.epochs,
            batch=resolved.batch,
            crop_and_flip=images.crop_and_flip,
            dropout=resolved.dropout,
            metric=resolved.metric,
        )
        start_recipe = replace(recipe, epochs=resolved.start_epochs, learning_rate=RATE_FROM_SCRATCH)
        return cls(
            config=resolved,
            images=images,
            space=space,
            start=start,
            recipe=recipe,
            start_recipe=start_recipe,
            notes=tuple(filter(None, notes)),
        )
