"""Networks on disk: whole Keras files, written so that an interrupted write leaves the old file."""

import os
from pathlib import Path
from zipfile import ZipFile

import keras

from eas_tf.archives import bomb
from eas_tf.errors import EASError, InvalidConfiguration
from eas_tf.files import written_whole
from eas_tf.paths import expanded
from eas_tf.surgery.graph import LayerGraph
from eas_tf.surgery.messages import first_line
from eas_tf.text import printable


def save_network(graph: LayerGraph, path: str | os.PathLike[str]) -> None:
    """Write a `.keras` file that loads without eas_tf, replacing an older one at once.

    Raises:
        InvalidConfiguration: If the path begins with the home directory of a user that is not there.
    """
    with written_whole(expanded(path)) as partial:
        graph.to_keras().save(partial)


def load_network(path: str | os.PathLike[str]) -> LayerGraph:
    """Read a `.keras` file.

    Raises:
        InvalidConfiguration: If it is not there, has another suffix (Keras would run code from an `.h5`), or cannot be
            read without running code that is in it, such as a lambda, or if the path begins with the home directory of
            a user that is not there.
    """
    path = expanded(path)
    if path.suffix != ".keras":
        raise InvalidConfiguration(f"A network is stored in a .keras file. Received: {printable(path)}")
    try:
        _check_archive(path)
        return LayerGraph.from_keras(keras.models.load_model(path, compile=False, safe_mode=True))
    except EASError:
        raise
    except FileNotFoundError as error:
        raise InvalidConfiguration(f"{printable(path)} is not there. Expected a .keras file; check its path") from error
    except Exception as error:
        # A damaged or foreign file may fail anywhere in zipfile, zlib, json, h5py or Keras. Only the first sentence of
        # the cause is repeated: the next ones tell how to run the code in a file, or quote all of its configuration.
        cause = Exception(str(error).rpartition("Exception encountered: ")[2] or type(error).__name__)
        reason = printable(first_line(cause).split(". ")[0])
        raise InvalidConfiguration(
            f"{printable(path)} cannot be read as a Keras model. Expected an undamaged file, in which there is no code "
            f"and no layer that this process does not know. Received: {reason}"
        ) from error


def _check_archive(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise OSError("a folder, a pipe or a device")
    with ZipFile(path) as archive:
        if reason := bomb(archive, path):
            raise OSError(reason)
