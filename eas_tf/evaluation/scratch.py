"""Folders for as long as a process needs them: nothing stays, at the latest after the next one is made beside them."""

import os
import shutil
import weakref
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from filelock import FileLock

#: The locks of this process' folders. A forked process must not drop its copies: that might free the locks.
_HELD: dict[Path, FileLock] = {}


class ScratchFolder:
    """A new folder of this process' own.

    It is removed by `close`, with this object, or at the process' end; after a kill by the next one that is made in
    `where`. A lock says whether its owner lives, and no process number, so that several hosts may share `where`.

    Args:
        where: The folder around it, which is made if it is not there.
        prefix: What its name begins with.

    Attributes:
        path: The folder.
        close: Removes it. It may be called again.

    Raises:
        OSError: If it cannot be made.
    """

    def __init__(self, where: Path, prefix: str) -> None:
        where.mkdir(parents=True, exist_ok=True)
        _sweep(where, prefix)
        self.path = where / f"{prefix}-{os.getpid()}-{token_hex(4)}"
        lock = FileLock(_lock_file(self.path), thread_local=False)
        lock.acquire()  # before there is a folder that another process might sweep
        _HELD[self.path] = lock
        self.close = weakref.finalize(self, _remove, self.path, os.getpid())
        self.path.mkdir(mode=0o700)


def close_all() -> None:
    """Remove this process' folders, before an end at which Python itself tidies nothing up."""
    for path in [*_HELD]:
        _remove(path, os.getpid())


def _lock_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _remove(path: Path, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(path, ignore_errors=True)
        _lock_file(path).unlink(missing_ok=True)
        _HELD.pop(path).release()


def _sweep(where: Path, prefix: str) -> None:
    """Remove the folders of processes that have ended."""
    for lock_file in where.glob(f"{prefix}-*.lock"):
        folder = lock_file.with_suffix("")
        # A lock that another process holds, or another user's, is an OSError.
        with suppress(OSError):
            if folder.is_dir() and not folder.is_symlink() and not lock_file.is_symlink():
                with FileLock(lock_file, timeout=0):
                    shutil.rmtree(folder)
                    lock_file.unlink(missing_ok=True)
