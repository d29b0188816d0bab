"""Named image sets, a user's own files and the embedded digits: split, normalised, fingerprinted.

Importing this loads neither TensorFlow nor tensorflow-datasets; `load` does, for the sets that come through it.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np

from eas_tf.data import synthetic
from eas_tf.data.images import ImageData
from eas_tf.data.npz import load_npz
from eas_tf.data.tfds_sets import SETS, load_tfds
from eas_tf.errors import InvalidConfiguration, InvalidData
from eas_tf.text import has_control_characters, printable

__all__ = ["NAMES", "CropAndFlip", "ImageData", "check_crop_and_flip", "load"]

#: Every name that `load` knows.
NAMES = ("digits", "synthetic", *SETS)

#: Whether training images are cropped and flipped at random: "auto" as the field does with the set.
CropAndFlip: TypeAlias = Literal["auto", "on", "off"]


def load(
    name_or_path: str | os.PathLike[str],
    *,
    validation_seed: int = 0,
    data_dir: str | None = None,
    download: bool = False,
    crop_and_flip: CropAndFlip = "auto",
) -> ImageData:
    """Load a data set by name, or a user's own from an `.npz` file.

    Args:
        name_or_path: One of `NAMES`, or the path of a file that ends in `.npz`.
        validation_seed: Which training images are held out. It changes nothing else.
        data_dir: The folder of tensorflow-datasets, for the sets that come through it; by default `$TFDS_DATA_DIR` or
            `~/tensorflow_datasets`.
        download: Whether such a set may be fetched from the network if it is not there.
        crop_and_flip: Whether to train on it with random crops and flips: "auto" for CIFAR-10 and CIFAR-100 only.

    Raises:
        InvalidData: If the name is unknown, the set is not there, or it cannot be trained on, in one printable line.
        InvalidConfiguration: If the seed is negative, or `crop_and_flip` is none of the three.
    """
    check_crop_and_flip(crop_and_flip)
    images = _load(name_or_path, validation_seed=validation_seed, data_dir=data_dir, download=download)
    return images if crop_and_flip == "auto" else replace(images, crop_and_flip=crop_and_flip == "on")


def check_crop_and_flip(value: object) -> None:
    """Refuse what is no `CropAndFlip`.

    Raises:
        InvalidConfiguration: Naming the three.
    """
    if value not in get_args(CropAndFlip):
        raise InvalidConfiguration(f"`crop_and_flip` is {', '.join(get_args(CropAndFlip))}. Received: {value!r}")


def _load(
    name_or_path: str | os.PathLike[str], *, validation_seed: int, data_dir: str | None, download: bool
) -> ImageData:
    name = os.fspath(name_or_path)
    if name.lower().endswith(".npz"):
        return load_npz(_path(name), validation_seed=validation_seed)
    if name == "digits":
        return load_npz(Path(__file__).with_name("digits.npz"), name=name, validation_seed=validation_seed)
    if name == "synthetic":
        # The same images in every run: only the split is seeded by the caller.
        arrays = synthetic.generate(rng=np.random.default_rng(0))
        return ImageData.from_arrays(name, arrays, classes=synthetic.CLASSES, validation_seed=validation_seed)
    if name in SETS:
        folder = None if data_dir is None else str(_path(data_dir))
        return load_tfds(name, validation_seed=validation_seed, data_dir=folder, download=download)
    raise InvalidData(
        f"Unknown data set. Expected one of {', '.join(NAMES)}, or the path of an .npz file with x_train and y_train. "
        f"Received: '{printable(name)}'"
    )


def _path(text: str) -> Path:
    if has_control_characters(text):
        raise InvalidData(f"Expected a path without control characters; rename it. Received: '{printable(text)}'")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise InvalidData(f"There is no such user; write the path in full. Received: '{printable(text)}'") from None
