"""Networks on disk: whole Keras files, written so that an interrupted write leaves the old file."""

import os
import zlib
from pathlib import Path
from zipfile import BadZipFile

import keras

from eas_tf.errors import InvalidConfiguration
from eas_tf.surgery.graph import LayerGraph

#: What Keras and the zip file below it raise for files that are damaged, or are no networks.
_UNREADABLE = (ValueError, OSError, KeyError, TypeError, EOFError, RuntimeError, BadZipFile, zlib.error)


def save_network(graph: LayerGraph, path: Path) -> None:
    """Write a `.keras` file that loads without eas_tf, replacing an older one at once."""
    partial = path.with_name(f"{path.stem}.partial.keras")
    graph.to_keras().save(partial)
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def load_network(path: Path) -> LayerGraph:
    """Read a `.keras` file.

    Raises:
        InvalidConfiguration: If it has another suffix (Keras would run code from an `.h5`), or cannot be read.
    """
    if path.suffix != ".keras":
        raise InvalidConfiguration(f"A network is stored in a .keras file. Received: {path}")
    try:
        return LayerGraph.from_keras(keras.models.load_model(path, compile=False, safe_mode=True))
    except _UNREADABLE as error:
        raise InvalidConfiguration(f"{path} cannot be read as a Keras model: {str(error).splitlines()[0]}") from error
