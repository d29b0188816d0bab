"""Names that a run may be written under: any that can be printable in a line and stored."""

import os
from pathlib import Path

from eas_tf import storing
from eas_tf.errors import InvalidConfiguration
from eas_tf.text import has_control_characters, printable

#: Bytes of a file's name on every file system in use (Linux: NAME_MAX), and of a run's path, in which SQLite finds room
#: for the longest of its names.
MAX_NAME, MAX_PATH = 255, storing.MAX_PATH - len("/run.copy.sqlite")


def checked_path(path: Path) -> None:
    """Refuse a path that cannot be printable in a line, or stored, before anything is written there.

    Raises:
        InvalidConfiguration: If it has control characters, or is too long.
    """
    if has_control_characters(str(path)):
        raise InvalidConfiguration(f"A path has no control characters: give another one. Received: '{printable(path)}'")
    longest = max((len(os.fsencode(part)) for part in path.parts), default=0)
    if longest > MAX_NAME or len(os.fsencode(path.absolute())) > MAX_PATH:
        raise InvalidConfiguration(
            f"A path has at most {MAX_NAME} bytes between two slashes, and {MAX_PATH:,} in all: give a shorter one. "
            f"Received: {longest:,} and {len(os.fsencode(path)):,}, '{printable(path)}'"
        )
