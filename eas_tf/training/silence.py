"""Quiet imports of TensorFlow. Importing this loads it not."""

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def silent_import() -> Iterator[None]:
    """Drop what TensorFlow's C++ parts write to the standard error while they load, which no setting silences."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
