"""Files that cannot be read or written: what is wrong and what to do, whether the system says so or SQLite does."""

import errno
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Literal, TypeAlias, TypeVar

from eas_tf.errors import EASError, InvalidConfiguration, StorageFailed

#: Bytes of a path that SQLite takes: 512 with the longest name that it makes of it.
MAX_PATH = 504

#: Seconds to wait for another program's lock, and seconds after which a person is told about it.
PATIENCE, QUIET = 600.0, 3.0

_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "Make room, and resume."),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "Raise the limit of open files (ulimit -n), and resume."),
    **dict.fromkeys(
        (errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV, errno.ETIMEDOUT, errno.ENOTCONN),
        "The disk, or the way to it, has failed: repair that, and resume.",
    ),
    **dict.fromkeys(
        (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP),
        "The file system gives no locks: use a local disk (`output`, or a copy of the run), or mount it with locks.",
    ),
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM),
        "Continue as the owner, get the right to write there, or continue in a copy of the directory.",
    ),
    errno.ENOMEM: "Free memory, and resume.",
    errno.EROFS: "Continue in a copy of the directory, on a disk that can be written.",
    errno.ENAMETOOLONG: "Choose a shorter path.",
    errno.ENOENT: "It was moved or deleted: put it back, and resume.",
}
_OTHERWISE = "Remove the cause, and resume."

#: What depends on the path. Everything else is the machine's fault, whatever path the user has chosen.
_OF_PATH = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ENOENT})

_LOCKED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})

#: What SQLite says that has its cause outside of the file. Everything else means that the file is damaged.
_OUTSIDE = _LOCKED | {
    *(sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY),
    *(sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_NOLFS),
    *(sqlite3.SQLITE_ABORT, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_MISUSE),
}

#: What SQLite says that stands for an error of the system, where trying the same again does not show it.
_ERRNO = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_NOMEM: errno.ENOMEM,
    sqlite3.SQLITE_IOERR_NOMEM: errno.ENOMEM,
    **dict.fromkeys((sqlite3.SQLITE_IOERR_LOCK, sqlite3.SQLITE_IOERR_RDLOCK), errno.ENOLCK),
    **dict.fromkeys((sqlite3.SQLITE_IOERR_CHECKRESERVEDLOCK, sqlite3.SQLITE_IOERR_SHMLOCK), errno.ENOLCK),
    sqlite3.SQLITE_READONLY_DBMOVED: errno.ENOENT,
}

#: What is raised about values that were read and that no program of ours has written.
_UNREADABLE = TypeError, ValueError, OverflowError

_Found = TypeVar("_Found")

#: What is done with a file.
Verb: TypeAlias = Literal["read", "written"]


@contextmanager
def storing(path: Path, what_to_do: str = "") -> Iterator[None]:
    """Report an error of the file system in one line with what to do.

    Args:
        path: What is being written.
        what_to_do: For a path that the user has chosen; by default what fits the error.

    Raises:
        StorageFailed: If the disk is full or has failed, or a file of a run cannot be written.
        InvalidConfiguration: If a path that the user has chosen cannot be written.
    """
    try:
        yield
    except OSError as error:
        advice = what_to_do or _ADVICE.get(error.errno or 0, _OTHERWISE)
        machine = error.errno in _ADVICE and error.errno not in _OF_PATH
        kind = InvalidConfiguration if what_to_do and not machine else StorageFailed
        raise kind(f"{path} cannot be written: {error.strerror or error}. {advice}") from error


def connect(path: Path, *, create: bool = False) -> sqlite3.Connection:
    """Open an SQLite file; to read it, nothing but itself and what is left beside it is needed.

    Raises:
        OSError: If it cannot be found, or has too long a path.
        sqlite3.Error: If it cannot be opened.
    """
    path = path.resolve()
    if len(os.fsencode(path)) > MAX_PATH:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    mode = "rwc" if create else "rw"  # without the right to write, SQLite opens it to be read
    beside = [path.with_name(f"{path.name}-{suffix}") for suffix in ("shm", "wal", "journal")]
    if not create and not _writable(path) and not any(file.exists() and file.stat().st_size for file in beside):
        with path.open("rb") as file:
            # A file with a write-ahead log asks for two files beside it. Where there is no log, it is whole as it is.
            mode = "ro&immutable=1" if file.read(20)[18:] == b"\2\2" else mode
    # Short, because Python hears Ctrl-C only between two calls of SQLite.
    return sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, timeout=0.02, check_same_thread=False)


def _writable(path: Path) -> bool:
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def use(path: Path, work: Callable[[], _Found], damaged: Callable[[str], EASError], verb: Verb = "read") -> _Found:
    """What `work` returns, which uses an SQLite file. As long as another program locks that, `work` is called again.

    Args:
        path: The file.
        work: A whole transaction; it leaves nothing behind when it raises.
        damaged: Makes the error for a file that is not as it was written.
        verb: What `work` does with the file.

    Raises:
        StorageFailed: If the file is locked for `PATIENCE`, or cannot be read or written.
        EASError: What `damaged` makes.
    """
    start, told = time.monotonic(), False
    unreadable = _UNREADABLE if verb == "read" else ()
    while True:
        try:
            return work()
        except OSError as error:
            raise _system(path, error.errno or 0, verb) from error
        except (sqlite3.Error, UnicodeDecodeError, MemoryError, *unreadable) as error:
            code, waited = _code(error), time.monotonic() - start
            if code & 0xFF not in _LOCKED or waited > PATIENCE or (waited > QUIET and not told and not _locks(path)):
                raise _outside(path, code, error, verb) or damaged(str(error)) from error
        if waited > QUIET and not told:
            print(
                f"Waiting for another program to unlock {path}: close it, or save there. Then this continues; it gives "
                f"up after {PATIENCE / 60:.0f} minutes, and nothing is lost.",
                file=sys.stderr,
                flush=True,
            )
            told = True
        time.sleep(0.002)


def _code(error: Exception) -> int:
    """SQLite's extended code; the one of damage for an error about what was read."""
    if isinstance(error, MemoryError):
        return sqlite3.SQLITE_NOMEM
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)


def _system(path: Path, number: int, verb: Verb) -> StorageFailed:
    advice = _ADVICE.get(number, _OTHERWISE)
    if verb == "read" and number in (errno.EACCES, errno.EPERM):
        advice = "Read it as its owner, or ask the owner for the right to read it."
    return StorageFailed(f"{path} cannot be {verb}: {os.strerror(number)}. {advice}")


def _outside(path: Path, code: int, error: Exception, verb: Verb) -> StorageFailed | None:
    """The error for a cause outside of the file; None if the file is damaged."""
    kind = code & 0xFF
    if kind not in _OUTSIDE:
        return None
    if kind in _LOCKED and _locks(path):
        return StorageFailed(
            f"{path} is locked by another program, for {PATIENCE / 60:.0f} minutes now. Close that program, and try "
            "again; a search goes on with `resume`. Nothing is lost."
        )
    number = errno.ENOLCK if kind in _LOCKED else _ask_system(path, verb) or _ERRNO.get(code, 0)
    if number:
        return _system(path, number, verb)
    if verb == "read" and kind in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
        return StorageFailed(
            f"{path} cannot be read here: a search was killed in the middle of a change, and undoing that takes the "
            "right to write there. Copy the whole directory to where you can write, and read the copy."
        )
    if code == sqlite3.SQLITE_READONLY:  # the system lets it be written: then it is the file that says so
        return None
    return StorageFailed(f"{path} cannot be {verb}: {error}. {_OTHERWISE}")


def try_writing(path: Path) -> None:
    """Do what SQLite does to write a file, because SQLite does not say what the system said.

    Raises:
        OSError: What the system says.
    """
    if path.exists() and (path.is_dir() or not _writable(path)):
        path.open("ab").close()
    with TemporaryFile(dir=path.parent) as file:
        file.write(bytes(1 << 16))
        file.flush()
        os.fsync(file.fileno())
        if hasattr(os, "lockf"):
            os.lockf(file.fileno(), os.F_TLOCK, 1)


def _ask_system(path: Path, verb: Verb) -> int:
    """The number of the system's error; 0 if there is none."""
    try:
        if verb == "read":
            path.read_bytes()
        else:
            try_writing(path)
    except OSError as error:
        return error.errno or 0
    return 0


def _locks(path: Path) -> bool:
    """Whether the file system gives locks: SQLite takes `ENOLCK` for a lock of another program."""
    return _ask_system(path, "written") != errno.ENOLCK
