"""Files that are written whole or not at all, and errors of the disk in one line."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eas_tf.errors import InvalidConfiguration, StorageFailed


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that after a crash it is the old or the new one, whole."""
    partial = path.with_name(f"{path.name}.partial")
    with storing(path):
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)


@contextmanager
def storing(path: Path, what_to_do: str = "Make room, and resume.") -> Iterator[None]:
    """Tell of a disk that is full or cannot be written in one line.

    Raises:
        StorageFailed: If the disk is full.
        InvalidConfiguration: If the path cannot be written for another reason.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise StorageFailed(f"{path} cannot be written: {error.strerror}. {what_to_do}") from error
        raise InvalidConfiguration(f"{path} cannot be written: {error.strerror or error}. {what_to_do}") from error
