"""Keras on TensorFlow, whatever backend a machine's settings name. Importing this module loads neither of them.

Surgery works on any backend. Everything that trains needs TensorFlow, and Keras takes its backend when it is imported.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eas_tf.errors import InvalidConfiguration
from eas_tf.text import printable

#: Environment variables that Keras reads as whole numbers; with anything else it cannot be imported.
_NUMBERS = ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH")

#: What Keras takes from keras.json; with anything else it cannot be imported.
_ALLOWED: dict[str, Callable[[Any], bool]] = {
    "floatx": lambda value: value in ("float16", "float32", "float64"),
    "epsilon": lambda value: isinstance(value, float),
    "image_data_format": lambda value: value in ("channels_last", "channels_first"),
}


def use_tensorflow(say: Callable[[str], object]) -> None:
    """Choose TensorFlow as the backend of Keras in this process and in those that it starts.

    It must come before the first import of TensorFlow, which imports Keras.

    Args:
        say: Told if the settings name another backend.

    Raises:
        InvalidConfiguration: If this process has imported Keras on another backend, or cannot import it at all because
            of its settings.
    """
    check_backend()
    setting, asked = "KERAS_BACKEND", os.environ.get("KERAS_BACKEND")
    if "keras" not in sys.modules:
        path = _settings_file()
        file = _settings(path)
        if not asked:
            setting, asked = printable(path), file.get("backend")
        if asked not in (None, "tensorflow"):
            say(f"Networks are trained with TensorFlow: the backend {printable(asked)} of {setting} is not used.")
        for name in _NUMBERS:
            _check_number(name)
    os.environ["KERAS_BACKEND"] = "tensorflow"
    # It is for JAX alone, and without its package Keras could not be imported. keras.json gives way to the variable.
    os.environ["KERAS_NNX_ENABLED"] = "0"


def check_backend() -> None:
    """Refuse to train in a process that has imported Keras on another backend.

    Raises:
        InvalidConfiguration: If it has.
    """
    # It is there before Keras itself is, and after an import of Keras that failed. TensorFlow imports Keras, too.
    config = sys.modules.get("keras.src.backend.config")
    backend = getattr(config, "_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise InvalidConfiguration(
            "Networks are trained with TensorFlow, but this process has imported Keras on another backend. Received: "
            f"{printable(backend)}. Set the environment variable KERAS_BACKEND to tensorflow, before Keras or "
            "TensorFlow is imported."
        )


def _check_number(name: str) -> None:
    try:
        int(os.environ.get(name, "0"))
    except ValueError:
        raise InvalidConfiguration(
            f"Keras cannot be imported with the environment variable {name}: unset it. Expected: a whole number. "
            f"Received: {printable(repr(os.environ[name]))}"
        ) from None


def _settings_file() -> Path:
    """Where Keras looks for its settings."""
    home = os.path.expanduser("~")  # noqa: PTH111 - unlike pathlib's, it bears a user without a home, as Keras does
    default = f"{home if os.access(home, os.W_OK) else '/tmp'}/.keras"
    return Path(os.path.expanduser(os.environ.get("KERAS_HOME", default))) / "keras.json"  # noqa: PTH111 - as above


def _settings(path: Path) -> dict[str, Any]:
    """What the file says; nothing where there is no file, or no JSON in it, as Keras has it.

    Raises:
        InvalidConfiguration: If Keras would end with an error.
    """
    try:
        settings = json.loads(path.read_text()) if os.path.exists(path) else {}  # noqa: PTH110 - as Keras reads it
    except ValueError:
        return {}
    except (OSError, RecursionError) as error:
        raise _wrong(path, getattr(error, "strerror", None) or str(error)) from None
    if not isinstance(settings, dict):
        raise _wrong(path, f"{settings!r:.60}")
    for name, allowed in _ALLOWED.items():
        if name in settings and not allowed(settings[name]):
            raise _wrong(path, f"{name} = {settings[name]!r:.60}")
    return settings


def _wrong(path: Path, received: str) -> InvalidConfiguration:
    return InvalidConfiguration(
        f"Keras cannot be imported with the settings in {printable(path)}: mend or delete the file. Expected: floatx "
        "float16, float32 or float64, a float as epsilon, image_data_format channels_last or channels_first. "
        f"Received: {printable(received)}"
    )
