"""Results of earlier runs, found again by all that they depend on."""

import json
import sqlite3
from dataclasses import asdict, fields
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from eas_tf.errors import InvalidConfiguration, StorageFailed
from eas_tf.evaluation.child import Family
from eas_tf.evaluation.protocol import Request, Result
from eas_tf.training.metrics import as_found

_SCHEMA = """
CREATE TABLE IF NOT EXISTS result (
    key TEXT PRIMARY KEY,    -- SHA-256 of `request`
    request TEXT NOT NULL,   -- JSON: all that the result depends on
    result TEXT NOT NULL,    -- JSON: the fields of `Result`
    checksum TEXT NOT NULL   -- SHA-256 of `request` and `result`
)
"""


#: What SQLite raises about a file that is not as it was written; its own messages may be no text (`ValueError`).
_DAMAGE = sqlite3.Error, ValueError


class ResultCache:
    """Results in an SQLite file, which several searches may share.

    Args:
        path: The file. It is made if it is not there.

    Raises:
        InvalidConfiguration: If it cannot be made, or is something else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = _open(path)
        except (OSError, *_DAMAGE) as error:
            raise InvalidConfiguration(
                f"{path} cannot be used as a cache of results: {error}. Name another file, or delete it."
            ) from error

    def get(self, family: Family, request: Request) -> Result | None:
        """The result of an equal request, if there is one."""
        text = _describe(family, request)
        try:
            query = "SELECT result, checksum FROM result WHERE key = ?"
            row = self._database.execute(query, [_sha256(text)]).fetchone()
            if not row:
                return None
            if row[1] != _sha256(text + row[0]):
                raise ValueError("a row does not have its checksum")
            values = json.loads(row[0])
            return Result(**{**values, "curve": tuple(values["curve"]), "found": as_found(values["found"])})
        except (*_DAMAGE, KeyError, TypeError) as error:
            raise InvalidConfiguration(
                f"{self._path} is no longer a cache of results: {error}. Delete it; what is missing is trained again."
            ) from error

    def put(self, family: Family, request: Request, result: Result) -> None:
        """Keep a result."""
        text, told = _describe(family, request), json.dumps(asdict(result))
        row = _sha256(text), text, told, _sha256(text + told)
        try:
            with self._database:
                self._database.execute("INSERT OR REPLACE INTO result VALUES (?, ?, ?, ?)", row)
        except _DAMAGE as error:
            raise StorageFailed(f"{self._path} cannot be written: {error}. Make room, and go on.") from error

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _open(path: Path) -> sqlite3.Connection:
    # An environment that was first used in one thread may be used on, or closed, in another.
    database = sqlite3.connect(path, timeout=60, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        with database:
            database.execute(_SCHEMA)
        database.execute("SELECT key, request, result, checksum FROM result LIMIT 1")
    except _DAMAGE:
        database.close()
        raise
    return database


def _describe(family: Family, request: Request) -> str:
    content = {
        "parent": family.digest,
        "transformations": [str(transformation) for transformation in request.transformations],
        "seed": request.seed,
        "recipe": (request.recipe or family.recipe).as_json(),
        "floors": request.floors,
        "symmetry_breaking": family.symmetry_breaking,
        "data": family.data,
        "fields": [field.name for field in fields(Result)],  # Results of other versions of this code have others.
        "versions": {package: version(package) for package in ("eas_tf", "tensorflow", "keras", "numpy")},
    }
    return json.dumps(content, sort_keys=True)


def _sha256(text: str) -> str:
    return sha256(text.encode()).hexdigest()
