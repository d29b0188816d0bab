"""Named image sets, a user's own files and the embedded digits: split, normalised, fingerprinted.

Importing this loads neither TensorFlow nor tensorflow-datasets; `load` does, for the sets that come through it.
"""

import os
from pathlib import Path

import numpy as np

from eas_tf.data import synthetic
from eas_tf.data.images import ImageData
from eas_tf.data.npz import load_npz
from eas_tf.data.tfds_sets import SETS, load_tfds
from eas_tf.errors import InvalidData
from eas_tf.text import has_control_characters, printable

__all__ = ["NAMES", "ImageData", "load"]

#: Every name that `load` knows.
NAMES = ("digits", "synthetic", *SETS)


def load(
    name_or_path: str | os.PathLike[str],
    *,
    validation_seed: int = 0,
    data_dir: str | None = None,
    download: bool = False,
) -> ImageData:
    """Load a data set by name, or a user's own from an `.npz` file.

    Args:
        name_or_path: One of `NAMES`, or the path of a file that ends in `.npz`.
        validation_seed: Which training images are held out. It changes nothing else.
        data_dir: The folder of tensorflow-datasets, for the sets that come through it; by default `$TFDS_DATA_DIR` or
            `~/tensorflow_datasets`.
        download: Whether such a set may be fetched from the network if it is not there.

    Raises:
        InvalidData: If the name is unknown, the set is not there, or it cannot be trained on, in one printable line.
        InvalidConfiguration: If the seed is negative.
    """
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
