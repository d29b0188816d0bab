"""Files that are written whole, under a name that no other process has until they are."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

from eas_tf.storing import storing


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a new name beside `path`, of the same suffix; the file that is written there replaces `path` at the end.

    After a crash `path` is the old or the new file, whole. What a killed process leaves is found by `partials`.

    Args:
        path: The file.

    Raises:
        OSError: If it cannot be written. Nothing is left then but the old file.
    """
    # A name has at most 255 bytes.
    partial = path.with_name(f"{path.stem[:100]}.{os.getpid()}-{token_hex(4)}.partial{path.suffix}")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def partials(stem: str) -> str:
    """The pattern of what `written_whole` leaves when it is killed, for paths of this stem."""
    return f"{stem}.*partial*"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that after a crash it is the old or the new one, whole."""
    with storing(path), written_whole(path) as partial:
        partial.write_bytes(content)
