"""Paths as users write them."""

from os import PathLike
from pathlib import Path

from eas_tf.errors import InvalidConfiguration
from eas_tf.text import printable


def expanded(path: str | PathLike[str]) -> Path:
    """Replace a leading `~` or `~user` by that home directory, which no shell does behind the = of an option.

    Raises:
        InvalidConfiguration: If there is no such user.
    """
    try:
        return Path(path).expanduser()
    except (RuntimeError, ValueError):
        raise InvalidConfiguration(
            "Expected a path that begins with a user's home directory, but there is no such user: write it in full, or "
            f"./~ for a folder whose name begins with ~. Received: '{printable(path)}'"
        ) from None
