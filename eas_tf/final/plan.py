"""What a final training is told, and all that it needs, found to fit together. Imports no TensorFlow by itself."""

import json
from contextlib import closing
from dataclasses import dataclass, replace
from hashlib import sha256
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import tyro

from eas_tf import data
from eas_tf.architecture import Architecture, parse_architecture
from eas_tf.data import CropAndFlip, ImageData
from eas_tf.errors import InvalidConfiguration, InvalidData
from eas_tf.evaluation.fit import check_fits
from eas_tf.paths import expanded
from eas_tf.runs.paths import checked_path
from eas_tf.runs.ranking import ranked
from eas_tf.runs.record import Network, Record
from eas_tf.training.recipe import RATE_FROM_SCRATCH, Recipe

#: More trainings of one network than anybody wants.
MOST_SEEDS = 1_000


@dataclass(frozen=True, kw_only=True)
class FinalConfig:
    """Train a network that a search has found for long, and test it."""

    run: Annotated[Path, tyro.conf.Positional]
    """The run directory of the search."""
    network: int | None = None
    """Its number. By default the best one's so far."""
    epochs: int = 300
    """Passes over the training images (paper: 300)."""
    from_scratch: bool = False
    """Begin with random weights and a rate of 0.1, instead of the inherited weights and 0.02."""
    all_data: bool = False
    """Train on the validation images, too; then there is no validation accuracy."""
    seeds: int = 1
    """Train so many times, with the seeds SEED, SEED + 1, ..., and tell the mean and the standard deviation."""
    seed: int = 0
    """Decides the order of the images, what is done to them at random, and the weights from scratch."""
    cutout: int = 0
    """Hide a square of so many pixels' side of each image (DeVries & Taylor 2017: 16 for CIFAR-10); 0 for none."""
    label_smoothing: float = 0.0
    """Share of each label that is spread evenly over all classes, such as 0.1; 0 for none."""
    crop_and_flip: CropAndFlip | None = None
    """Pad training images by 4 pixels, crop and flip them at random; auto for CIFAR-10 and CIFAR-100 only. By default
    what the search had."""
    dropout: float | None = None
    """Share of the values behind each convolution but the first that is set to zero in training; 0 for none. By default
    what the search had."""
    strategy: Literal["auto", "single", "mirrored"] = "auto"
    """Train on one device, or mirrored on all; auto: on all GPUs."""
    checkpoint_seconds: float = 60.0
    """Write a checkpoint at the end of an epoch, at most so often. Interrupting writes one in any case."""
    dataset: str | None = None
    """The images, if they are elsewhere than they were for the search: a name, or a path of an .npz file."""
    data_dir: str | None = None
    """Where tensorflow-datasets keeps its data, if elsewhere."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "run", expanded(self.run))
        if not 1 <= self.seeds <= MOST_SEEDS or self.seed < 0:
            raise InvalidConfiguration(
                f"--seeds must be from 1 to {MOST_SEEDS}, --seed not negative. Received: {self.seeds}, {self.seed}"
            )
        if not 0 <= self.checkpoint_seconds < inf:
            raise InvalidConfiguration(f"--checkpoint-seconds must be 0 or more. Received: {self.checkpoint_seconds}")
        _ = self.recipe

    @property
    def recipe(self) -> Recipe:
        """How to train, but for what the data set decides."""
        recipe = Recipe(
            epochs=self.epochs,
            cutout=self.cutout,
            label_smoothing=self.label_smoothing,
            dropout=self.dropout or 0.0,
        )
        return replace(recipe, learning_rate=RATE_FROM_SCRATCH) if self.from_scratch else recipe


@dataclass(frozen=True, kw_only=True, eq=False)
class FinalPlan:
    """A configuration and what it stands for."""

    config: FinalConfig
    networks: dict[int, Network]
    """All of the search, by number."""
    network: Network
    """What to train."""
    symmetry_breaking: Literal["shares", "noise"]
    """The search's."""
    images: ImageData
    """As the search had them."""
    trained_on: ImageData
    """The same, or with all training images together."""
    recipe: Recipe

    @classmethod
    def of(cls, config: FinalConfig) -> Self:
        """Read the record, load the data, and check everything that can be checked before training.

        Raises:
            EASError: If something does not fit; one line that says what to do.
        """
        checked_path(config.run)
        with closing(Record(config.run / "run.sqlite")) as record:
            run, networks = record.run(), {network.id: network for network in record.networks()}
        network = _chosen(config, networks)
        try:
            told = json.loads(run.config)
            dataset, data_dir = config.dataset or told["dataset"], config.data_dir or told["data_dir"]
            batch, symmetry_breaking = told["batch"], told["symmetry_breaking"]
            # Runs of earlier versions do not have these in their configuration.
            metric = told.get("metric", "accuracy")
            dropout = told.get("dropout", 0.0) if config.dropout is None else config.dropout
            crop_and_flip = config.crop_and_flip or told.get("crop_and_flip", "auto")
        except (ValueError, TypeError, KeyError) as error:
            raise InvalidConfiguration(f"{config.run} was written by another version of eas_tf: {error!r}") from error
        images = data.load(dataset, data_dir=data_dir, crop_and_flip=crop_and_flip)
        if images.fingerprint != run.fingerprint:
            raise InvalidConfiguration(
                f"{dataset} does not hold the images of the search: name them with --dataset or --data-dir. Expected "
                f"fingerprint {run.fingerprint[:12]}... Received: {images.fingerprint[:12]}..."
            )
        _check_images(config, images)
        plan = cls(
            config=config,
            networks=networks,
            network=network,
            symmetry_breaking=symmetry_breaking,
            images=images,
            trained_on=all_together(images) if config.all_data else images,
            recipe=replace(
                config.recipe, batch=batch, crop_and_flip=images.crop_and_flip, dropout=dropout, metric=metric
            ),
        )
        check_fits(plan.architecture(network), images)
        return plan

    def architecture(self, network: Network) -> Architecture:
        """Of a network of the search."""
        return parse_architecture(network.architecture, self.images.input_shape)

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides about the result, but for the seed and the inherited weights: as JSON types."""
        return {
            "network": self.network.id,
            "architecture": self.network.architecture,
            "recipe": self.recipe.as_json(),
            "from_scratch": self.config.from_scratch,
            "all_data": self.config.all_data,
            "fingerprint": self.images.fingerprint,
        }

    @property
    def folder(self) -> Path:
        """Where all that belongs to these settings is."""
        digest = sha256(json.dumps(self.settings).encode()).hexdigest()
        begin = "scratch" if self.config.from_scratch else "inherited"
        return self.config.run / "final" / f"{self.network.id}-{begin}-{self.recipe.epochs}-{digest[:8]}"


def _chosen(config: FinalConfig, networks: dict[int, Network]) -> Network:
    """The network that the configuration names.

    Raises:
        InvalidConfiguration: If there is none, or it failed.
    """
    best = ranked(networks.values())[:1]
    if not best:
        raise InvalidConfiguration(f"{config.run} has no trained network yet.")
    if config.network is None:
        return best[0]
    if config.network not in networks:
        raise InvalidConfiguration(f"{config.run} has networks 0 to {max(networks)}. Received: {config.network}")
    network = networks[config.network]
    if network.failure:
        raise InvalidConfiguration(
            f"Network {network.id} of {config.run} failed: {network.failure}. The best one is {best[0].id}."
        )
    return network


def _check_images(config: FinalConfig, images: ImageData) -> None:
    """Refuse options that these images do not allow.

    Raises:
        InvalidData: If nothing would be left to measure an accuracy on.
        InvalidConfiguration: If the square would not fit into an image.
    """
    if config.all_data and (images.x_test is None or not len(images.x_test)):
        raise InvalidData(
            f"{images.name} has no test images, so that --all-data would leave none to measure an accuracy on: leave "
            "it out."
        )
    side = min(images.input_shape[:2])
    if config.cutout > side:
        raise InvalidConfiguration(f"--cutout is at most the {side} pixels of an image. Received: {config.cutout}")


def all_together(images: ImageData) -> ImageData:
    """The data set with its validation images back in their places among the training images, and none to validate on.

    The mean and the standard deviation stay those of the other images: networks that are trained already have them.
    """
    places = images.validation_indices
    others = np.delete(np.arange(len(images.y_train) + len(places)), places)
    x = np.empty((len(others) + len(places), *images.input_shape), np.uint8)
    y = np.empty(len(x), np.int32)
    x[others], x[places], y[others], y[places] = images.x_train, images.x_val, images.y_train, images.y_val
    for array in (x, y):
        array.flags.writeable = False
    return replace(images, x_train=x, y_train=y, x_val=x[:0], y_val=y[:0], validation_indices=places[:0])
