"""The sets that come through tensorflow-datasets, which is imported only when one of them is asked for.

Local data come first, and nothing is fetched unless that is asked for: without a network, tensorflow-datasets would
try for minutes before it gives up.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from eas_tf.data.images import ImageData
from eas_tf.errors import InvalidData

_MNIST_ARCHIVES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)

#: Images that are decoded at once.
_BATCH = 1_024


@dataclass(frozen=True, kw_only=True)
class TFDSSet:
    """What is special about one set.

    Attributes:
        classes: The number of classes.
        archives: The files that its authors publish, by the names under which tensorflow-datasets takes them from
            `<data_dir>/downloads/manual`.
        crop_and_flip: Whether the field trains on it with random crops and horizontal flips.
        standardise: Whether its pixels are normalised by mean and standard deviation; by 255 otherwise.
    """

    classes: int
    archives: tuple[str, ...]
    crop_and_flip: bool = False
    standardise: bool = True


SETS = {
    "cifar10": TFDSSet(classes=10, archives=("cifar-10-binary.tar.gz",), crop_and_flip=True),
    "cifar100": TFDSSet(classes=100, archives=("cifar-100-binary.tar.gz",), crop_and_flip=True),
    "svhn_cropped": TFDSSet(
        classes=10, archives=("train_32x32.mat", "test_32x32.mat", "extra_32x32.mat"), standardise=False
    ),
    "fashion_mnist": TFDSSet(classes=10, archives=_MNIST_ARCHIVES),
    "mnist": TFDSSet(classes=10, archives=_MNIST_ARCHIVES),
}


def load_tfds(name: str, *, validation_seed: int = 0, data_dir: str | None = None, download: bool = False) -> ImageData:
    """Read one of `SETS` from where tensorflow-datasets keeps it, and prepare it first if its archives are there.

    Args:
        name: A key of `SETS`.
        validation_seed: Which training images are held out, if the set has no validation images of its own.
        data_dir: The folder of tensorflow-datasets; by default `$TFDS_DATA_DIR` or `~/tensorflow_datasets`.
        download: Whether tensorflow-datasets may fetch what is not there.

    Raises:
        InvalidData: If the set is not there, or cannot be prepared or read, in one line.
    """
    import tensorflow_datasets as tfds

    folder = None if data_dir is None else str(Path(data_dir).expanduser())
    place = folder or tfds.core.constants.DATA_DIR
    with _damage_explained(name, place):
        builder = tfds.builder(name, data_dir=folder)
        prepared = _is_prepared(builder)
    if not prepared:
        _prepare(builder, SETS[name].archives, folder, download=download)
    with _damage_explained(name, place):
        arrays = _read(builder)
    special, names = SETS[name], tuple(builder.info.features["label"].names or ())
    images = ImageData.from_arrays(
        name,
        arrays,
        classes=special.classes,
        validation_seed=validation_seed,
        crop_and_flip=special.crop_and_flip,
        standardise=special.standardise,
    )
    return replace(images, class_names=names)


@contextmanager
def _damage_explained(name: str, folder: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # Half-written or altered files fail anywhere in tensorflow-datasets, protobuf or TensorFlow.
        raise InvalidData(
            f"Data set {name} in {folder} is damaged. Expected it as tensorflow-datasets prepared it; remove "
            f"{folder}/{name} and provide the set again. Received: {_one_line(error)}"
        ) from error


def _is_prepared(builder: Any) -> bool:
    try:
        builder.as_dataset(split="train")
    except AssertionError:
        # Asking whether the folder exists would be plainer, but says no to data that tfds.testing.mock_data provides.
        return False
    return True


def _prepare(builder: Any, archives: tuple[str, ...], folder: str | None, *, download: bool) -> None:
    import tensorflow_datasets as tfds

    manual = builder.data_dir_root / "downloads" / "manual"
    if not download and not all((manual / archive).exists() for archive in archives):
        # A command, because not all that reads data has an option for the download.
        where = "" if folder is None else f", data_dir={folder!r}"
        program = f"from eas_tf.data import load; load({builder.name!r}{where}, download=True)"
        raise InvalidData(
            f"Data set {builder.name} is not there. Expected it prepared by tensorflow-datasets in {builder.data_dir}, "
            f"or its archives ({', '.join(archives)}) in {manual}. Give the folder that has it as `data_dir`, put the "
            f"archives there, pass an .npz file instead, or download it: python -c {quote(program)}"
        )
    try:
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=download))
    except Exception as error:
        # Whatever tensorflow-datasets, its archives or the network raise: the user can do the same about all of it.
        source = "the network" if download else f"the archives in {manual}"
        raise InvalidData(
            f"Data set {builder.name} could not be prepared from {source}. Expected its authors' files, unchanged; "
            f"fetch them again, or pass an .npz file instead. Received: {_one_line(error)}"
        ) from error


def _read(builder: Any) -> dict[str, np.ndarray]:
    import tensorflow_datasets as tfds

    # Each image is read once, so a cache would only double the memory.
    once = tfds.ReadConfig(try_autocache=False)
    splits = {"train": "train", "test": "test"}
    if "validation" in builder.info.splits:
        splits["val"] = "validation"
    arrays = {}
    for part, name in splits.items():
        split = builder.as_dataset(split=name, as_supervised=True, read_config=once)
        batches = list(split.batch(_BATCH).as_numpy_iterator())
        arrays[f"x_{part}"] = np.concatenate([images for images, _ in batches])
        arrays[f"y_{part}"] = np.concatenate([labels for _, labels in batches])
    return arrays


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
