"""Results of earlier runs, found again by all that they depend on."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from eas_tf.errors import InvalidConfiguration
from eas_tf.evaluation.child import Family, identity
from eas_tf.evaluation.protocol import Request, Result
from eas_tf.metrics import as_found
from eas_tf.storing import Verb, connect, storing, try_writing, use

_SCHEMA = """
CREATE TABLE IF NOT EXISTS result (
    key TEXT PRIMARY KEY,    -- SHA-256 of `request`
    request TEXT NOT NULL,   -- JSON: all that the result depends on
    result TEXT NOT NULL,    -- JSON: the fields of `Result`
    checksum TEXT NOT NULL   -- SHA-256 of `request` and `result`
)
"""

_Found = TypeVar("_Found")


class ResultCache:
    """Results in an SQLite file, which several searches may share.

    Args:
        path: The file. It is made if it is not there.

    Raises:
        InvalidConfiguration: If it is something else, or this user may not write there.
        StorageFailed: If another program keeps it locked, or the disk is full or has failed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with storing(path, "Name another file."):
            path.parent.mkdir(parents=True, exist_ok=True)
            try_writing(path)
        self._database = self._use(lambda: connect(path, create=True), "written")
        try:
            self._use(self._prepare, "written")
        except BaseException:
            self._database.close()
            raise

    def _use(self, work: Callable[[], _Found], verb: Verb) -> _Found:
        return use(self._path, work, self._refused, verb)

    def _refused(self, what: str) -> InvalidConfiguration:
        return InvalidConfiguration(
            f"{self._path} cannot be used as a cache of results: {what}. Name another file, or move this one away; "
            "what is missing is trained again."
        )

    def _prepare(self) -> None:
        with suppress(sqlite3.OperationalError):  # while an earlier version has it open, it keeps its log
            self._database.execute("PRAGMA journal_mode=DELETE")
        with self._database:
            self._database.execute(_SCHEMA)
        self._database.execute("SELECT key, request, result, checksum FROM result LIMIT 1")

    def get(self, family: Family, request: Request) -> Result | None:
        """The result of an equal request, if there is one.

        Raises:
            InvalidConfiguration: If the file is damaged.
            StorageFailed: If another program keeps it locked, or it cannot be read.
        """
        text = identity(family, request)

        def find() -> Result | None:
            query = "SELECT result, checksum FROM result WHERE key = ?"
            row = self._database.execute(query, [_sha256(text)]).fetchone()
            if not row:
                return None
            if row[1] != _sha256(text + row[0]):
                raise ValueError("a row does not have its checksum")
            values = json.loads(row[0])
            return Result(**{**values, "curve": tuple(values["curve"]), "found": as_found(values["found"])})

        return self._use(find, "read")

    def put(self, family: Family, request: Request, result: Result) -> None:
        """Keep a result.

        Raises:
            InvalidConfiguration: If the file is damaged.
            StorageFailed: If another program keeps it locked, or it cannot be written.
        """
        text, told = identity(family, request), json.dumps(asdict(result))
        row = _sha256(text), text, told, _sha256(text + told)

        def keep() -> None:
            with self._database:
                self._database.execute("BEGIN IMMEDIATE")
                self._database.execute("INSERT OR REPLACE INTO result VALUES (?, ?, ?, ?)", row)

        self._use(keep, "written")

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _sha256(text: str) -> str:
    return sha256(text.encode()).hexdigest()
