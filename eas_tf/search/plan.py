"""All that a search needs, found to fit together before anything is written. Imports no TensorFlow by itself."""

from dataclasses import dataclass, replace
from typing import Self

from eas_tf import data
from eas_tf.agents import PASSING
from eas_tf.architecture import AnySpace, Architecture, parse_architecture, space_named, start_network
from eas_tf.errors import InvalidConfiguration
from eas_tf.evaluation import SurrogateEvaluator
from eas_tf.evaluation.fit import check_fits, check_sizes, fitting_batch
from eas_tf.registration import ENVIRONMENTS
from eas_tf.runs.directory import check_free
from eas_tf.search.config import ResolvedConfig, SearchConfig
from eas_tf.training.recipe import RATE_FROM_SCRATCH, Recipe

#: L2 of a search by the clock. The paper's is too weak for networks that are grown and trained for long on few images.
DECAY_BY_CLOCK = 5e-4

#: The side of the square that the last training of such a search hides of each image, in eighths of the image's.
CUTOUT = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """A configuration and what it stands for."""

    config: ResolvedConfig
    loaded: data.ImageData | None
    """The data set; None where nothing is trained on it."""
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
    def images(self) -> data.ImageData:
        """The data set.

        Raises:
            InvalidConfiguration: If nothing is trained on it.
        """
        if self.loaded is None:
            raise InvalidConfiguration("The accuracies of this search come from a closed form: it has no images.")
        return self.loaded

    @property
    def validation_images(self) -> int:
        """How many images an accuracy is measured on."""
        return len(self.images.x_val) if self.trains else SurrogateEvaluator.validation_images

    @property
    def networks(self) -> int:
        """All that will be recorded: the start network, the children, the best of each stage but the last."""
        sizes = self.config.stage_sizes
        return 1 + sum(sizes) + (len(sizes) - 1) * bool(self.config.promote_epochs)

    @property
    def final_recipe(self) -> Recipe:
        """Of the last training of a search by the clock.

        It begins as from scratch: at lower rates a network stays near what it has learned by heart (Ash & Adams 2020).
        It is long enough to learn all images by heart, so a part of each is hidden.
        """
        hidden = CUTOUT * min(self.images.input_shape[:2]) // 8 if self.recipe.crop_and_flip else 0
        return replace(self.recipe, learning_rate=RATE_FROM_SCRATCH, cutout=hidden)

    @classmethod
    def of(cls, config: SearchConfig) -> Self:
        """Load the data and check everything that can be checked before training.

        Raises:
            EASError: If something does not fit; one line that says what to do.
        """
        resolved = config.resolved()
        if not resolved.resume:
            check_free(resolved.output)
        space = space_named(
            resolved.space,
            max_parameters=config.max_params,
            schedule=resolved.schedule,
            may_pass=resolved.agent in PASSING or None,
        )
        images, known = None, _known(config.dataset) if config.engine == "surrogate" else None
        if known is None:
            images = data.load(
                config.dataset, data_dir=config.data_dir, download=config.download, crop_and_flip=config.crop_and_flip
            )
            known = images.input_shape, images.classes
        input_shape, classes = known
        if config.start is None:
            start = start_network(space, input_shape, classes)
        else:
            start = parse_architecture(config.start, input_shape)
        check_sizes(start, config.dataset, input_shape, classes)
        notes: list[str] = []
        if config.engine != "surrogate" and not getattr(start, "trainable", True):
            raise InvalidConfiguration(
                f"Networks of the space {space.name!r} cannot be trained: choose `engine` surrogate. Received: "
                f"`engine` {config.engine}"
            )
        if images:
            check_fits(start, images)
            notes += [images.note, *images.cautions]
            resolved, why = _with_fitting_batch(resolved, config.batch, len(images.x_train))
            notes.append(why)
        space.check(start)
        recipe = Recipe(
            weight_decay=Recipe.weight_decay if config.hours is None else DECAY_BY_CLOCK,
            epochs=resolved.epochs,
            batch=resolved.batch,
            crop_and_flip=bool(images and images.crop_and_flip),
            dropout=resolved.dropout,
            metric=resolved.metric,
        )
        start_recipe = replace(recipe, epochs=resolved.start_epochs, learning_rate=RATE_FROM_SCRATCH)
        return cls(
            config=resolved,
            loaded=images,
            space=space,
            start=start,
            recipe=recipe,
            start_recipe=start_recipe,
            notes=tuple(filter(None, notes)),
        )


def _known(dataset: str) -> tuple[tuple[int, int, int], int] | None:
    """Image size and number of classes of a data set that has an environment; None for another one."""
    for options in ENVIRONMENTS.values():
        if options.get("dataset") == dataset and "input_shape" in options:
            height, width, channels = options["input_shape"]
            return (height, width, channels), options.get("classes", 10)
    return None


def _with_fitting_batch(config: ResolvedConfig, asked: int | None, count: int) -> tuple[ResolvedConfig, str]:
    """The configuration with a batch of at most `count` training images, and what is to be told of that."""
    if config.batch <= count:
        return config, ""
    if asked is not None:
        raise InvalidConfiguration(f"`batch` must be at most the {count} training images. Received: {asked}")
    batch, why = fitting_batch(config.batch, count)
    return replace(config, batch=batch), f"batch is {why}"
