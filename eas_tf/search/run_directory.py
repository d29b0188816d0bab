"""What a search leaves on disk. The SQLite file is the record; the rest is made from it or beside it."""

import json
import sqlite3
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np

from eas_tf.errors import InvalidConfiguration

_SCHEMA = """
CREATE TABLE network (
    id INTEGER PRIMARY KEY,           -- 0 is the start network
    batch INTEGER NOT NULL,           -- of the agent, from 1
    parent TEXT NOT NULL,             -- SHA-256 of the parent's structure and weights; empty for the start network
    transformations TEXT NOT NULL,    -- separated by spaces
    seed INTEGER NOT NULL,
    architecture TEXT NOT NULL,       -- layer string
    parameters INTEGER NOT NULL,      -- trainable weights
    accuracy REAL NOT NULL,           -- fraction of the validation images
    loss REAL,                        -- mean cross-entropy on them, nats
    seconds REAL NOT NULL,
    failure TEXT NOT NULL,            -- empty if there was none
    reused INTEGER NOT NULL,          -- 1 if it was not trained for this row, because an equal child was
    curve TEXT NOT NULL,              -- JSON: the accuracy after each epoch, if somebody looked
    stopped INTEGER NOT NULL          -- 1 if it ended early, because it was worse than its siblings had been
)
"""


@dataclass(frozen=True, kw_only=True)
class Network:
    """One row of the record; see the schema for what its fields mean."""

    id: int
    batch: int
    parent: str
    transformations: str
    seed: int
    architecture: str
    parameters: int
    accuracy: float
    loss: float | None
    seconds: float
    failure: str
    reused: bool = False
    curve: str = "[]"
    stopped: bool = False


_COLUMNS = tuple(field.name for field in fields(Network))


class RunDirectory:
    """A new run directory, open for writing.

    Args:
        path: Where it is made.

    Raises:
        InvalidConfiguration: If it holds something already, or cannot be made.
    """

    def __init__(self, path: Path) -> None:
        check_free(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidConfiguration(
                f"--output {path} cannot be made: {error.strerror}. Name another one."
            ) from error
        self.path = path
        self._database = sqlite3.connect(path / "run.sqlite")
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        with self._database:
            self._database.execute(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    @property
    def start(self) -> Path:
        """The trained start network, the parent of all children."""
        return self.path / "start.keras"

    @property
    def best(self) -> Path:
        """The best network so far."""
        return self.path / "best.keras"

    def write_config(self, config: dict[str, Any]) -> None:
        """Keep the resolved configuration."""
        self._write_json("config.json", config)

    def write_split(self, fingerprint: str, validation_indices: np.ndarray) -> None:
        """Name the validation images by their places in the data set's own `x_train`."""
        split = {"fingerprint": fingerprint, "validation_indices": validation_indices.tolist()}
        self._write_json("split.json", split)

    def _write_json(self, name: str, content: dict[str, Any]) -> None:
        (self.path / name).write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")

    def record(self, network: Network) -> None:
        """Commit one network."""
        statement = f"INSERT INTO network ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
        with self._database:
            self._database.execute(statement, astuple(network))

    def networks(self) -> list[Network]:
        """All networks, in the order in which they were finished."""
        rows = self._database.execute(f"SELECT {', '.join(_COLUMNS)} FROM network ORDER BY id")
        return [Network(**dict(zip(_COLUMNS, row, strict=True))) for row in rows]


def check_free(path: Path) -> None:
    """Refuse to write among other files.

    Raises:
        InvalidConfiguration: If the directory is not empty, or is a file.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InvalidConfiguration(f"--output must be a new or empty directory. {path} holds something already.")
