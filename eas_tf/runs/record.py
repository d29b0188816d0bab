"""The record of a run: an SQLite file that says what was decided and found. All else in a run directory is beside it.

Every row carries a checksum of its values and the run's row counts the others, because SQLite notices damage to its
own structure only, and a search that goes on from a wrong number would be wrong from there on.
"""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from eas_tf.errors import InvalidConfiguration, RunDamaged
from eas_tf.metrics import Metric, as_found, balanced_accuracy
from eas_tf.runs.schema import SCHEMA, VERSION
from eas_tf.storing import Verb, connect, storing, use

Kind = Literal["start", "child", "promoted", "final"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """The one row about the whole; see the schema for what the fields of this and the other rows mean."""

    id: int = 1
    config: str
    versions: str
    fingerprint: str
    created: str
    seconds: float = 0.0
    ended: str = ""
    networks: int = 0
    batches: int = 0


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network and how it did."""

    id: int
    kind: Kind
    stage: int
    batch: int
    parent: int | None
    transformations: str
    seed: int
    architecture: str
    parameters: int
    multiply_adds: int
    epochs: int
    accuracy: float
    score: float
    loss: float | None
    seconds: float
    failure: str = ""
    reused: bool = False
    curve: str = "[]"
    stopped: bool = False
    digest: str = ""
    found: str = "[]"

    def worth(self, metric: Metric) -> float:
        """What the metric says of it, before its size is paid for: from 0 to 1, and 0 if it failed."""
        if metric == "accuracy" or self.failure:
            return self.accuracy
        return balanced_accuracy(as_found(json.loads(self.found)))


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A batch of networks, which the agent has learned from if it has a state."""

    id: int
    stage: int
    parent: int
    size: int
    reward: float = 0.0
    learned: str = "{}"
    state: str = ""
    sha256: str = ""


_Row = TypeVar("_Row", Run, Network, Batch)
_Found = TypeVar("_Found")
_FLAGS = frozenset({"reused", "stopped"})
_SINCE_VERSION_3 = frozenset({"found"})
_TABLES: dict[type, str] = {Run: "run", Network: "network", Batch: "batch"}


class Record:
    """An open record. Each change is one transaction, on the disk when the call returns.

    Every call waits for other programs that lock the file, and raises `StorageFailed` if that takes minutes, or if the
    file cannot be read or written.

    Args:
        path: The SQLite file.
        writable: False to read a record that may be another process's, or that this user may not write.

    Raises:
        InvalidConfiguration: If there is no such file, or it is a record of another version.
        RunDamaged: If it is not as it was written.
        StorageFailed: If it stays locked, or cannot be read.
    """

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        if not path.is_file():
            raise InvalidConfiguration(f"{path.parent} is no run directory: it holds no {path.name}.")
        self._path = path
        self._database = self._use(lambda: connect(path))
        try:
            self._use(self._check_now)
            if writable:
                self._use(self._make_durable)
        except BaseException:
            self._database.close()
            raise

    @classmethod
    def create(cls, path: Path, run: Run) -> Self:
        """A new record, with nothing in it but its run: whole, or not there."""
        with _replacing(path) as (database, new):

            def fill() -> None:
                with database:
                    database.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
                    _insert(database, run, VERSION)

            use(new, fill, partial(_damaged, path), "written")
        return cls(path, writable=True)

    def _use(self, work: Callable[[], _Found], verb: Verb = "read") -> _Found:
        return use(self._path, work, partial(_damaged, self._path), verb)

    def _make_durable(self) -> None:
        """Without a write-ahead log, which earlier versions kept: it needs shared memory, and further files to read."""
        with suppress(sqlite3.OperationalError):  # as long as somebody else reads it, it keeps its log
            self._database.execute("PRAGMA journal_mode=DELETE")
        self._database.execute("PRAGMA synchronous=EXTRA")

    def _check_now(self) -> None:
        with self._moment():
            self._check()

    def _check(self) -> None:
        if not self._path.stat().st_size:
            raise _damaged(self._path, "it is empty")
        (self._version,) = self._database.execute("PRAGMA user_version").fetchone()
        if self._version not in (2, VERSION):
            raise InvalidConfiguration(
                f"{self._path} is a record of version {self._version}, and this is eas_tf with version {VERSION}. Go "
                "on with the eas_tf that wrote it (config.json names it), or begin a new run."
            )
        (verdict,) = self._database.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise _damaged(self._path, verdict)
        run, found = self.run(), (len(self.networks()), len(self.batches()))
        if found != (run.networks, run.batches):
            raise _damaged(self._path, f"it holds {found} networks and batches instead of {run.networks, run.batches}")

    @contextmanager
    def _moment(self) -> Iterator[None]:
        """No other process commits between reads within this."""
        self._database.execute("BEGIN")
        try:
            yield
        finally:
            self._database.rollback()

    def run(self) -> Run:
        """The row about the whole."""
        rows = self._rows(Run)
        if len(rows) != 1:
            raise _damaged(self._path, f"table run has {len(rows)} rows instead of 1")
        return rows[0]

    def networks(self) -> list[Network]:
        """All finished networks, by number."""
        return self._rows(Network)

    def batches(self) -> list[Batch]:
        """All batches, in order; the last one may be in training."""
        return self._rows(Batch)

    def _rows(self, kind: type[_Row]) -> list[_Row]:
        return self._use(lambda: list(self._read(kind)))

    def _read(self, kind: type[_Row]) -> Iterator[_Row]:
        table, columns = _TABLES[kind], _columns(kind, self._version)
        found = self._database.execute(f"SELECT {', '.join(columns)}, checksum FROM {table} ORDER BY id").fetchall()
        for *values, checksum in found:
            if checksum != _checksum(table, values):
                raise _damaged(self._path, f"row {values[0]} of table {table} does not have its checksum")
            named: dict[str, Any] = dict(zip(columns, values, strict=True))
            yield kind(**{**named, **{name: bool(named[name]) for name in _FLAGS & set(named)}})

    def add(self, row: Network | Batch, *, seconds: float) -> None:
        """Commit a finished network, or a batch that begins or ends.

        Args:
            row: What is new.
            seconds: That were worked since the last change.
        """
        run = self.run()
        if isinstance(row, Network):
            run = replace(run, networks=run.networks + 1)
        else:
            run = replace(run, batches=max(run.batches, row.id))
        self._commit(row, replace(run, seconds=run.seconds + seconds))

    def forget(self, networks: Collection[int]) -> None:
        """Delete the rows of some networks."""
        run = self.run()
        self._commit(replace(run, networks=run.networks - len(networks)), without=networks)

    def update(self, *, seconds: float = 0.0, config: str | None = None, ended: str | None = None) -> None:
        """Commit what has changed about the whole, and the seconds that were worked since the last change."""
        run = self.run()
        self._commit(
            replace(
                run,
                seconds=run.seconds + seconds,
                config=run.config if config is None else config,
                ended=run.ended if ended is None else ended,
            )
        )

    def _commit(self, *rows: Run | Network | Batch, without: Collection[int] = ()) -> None:
        def transaction() -> None:
            with self._database:
                self._database.execute("BEGIN IMMEDIATE")
                self._database.executemany("DELETE FROM network WHERE id = ?", [[number] for number in without])
                for row in rows:
                    _insert(self._database, row, self._version)

        self._use(transaction, "written")

    def copy_to(self, path: Path) -> None:
        """Replace another file by a copy of this record, at once."""
        with _replacing(path) as (database, new), self._moment():
            self.run()  # waits until nobody locks this record, which `backup` would do without a word
            use(new, lambda: self._database.backup(database), partial(_damaged, self._path), "written")

    def digest(self) -> str:
        """SHA-256 of all decisions and accuracies: the same for two runs that went the same way."""
        told = [
            (n.id, n.kind, n.parent, n.transformations, n.seed, n.architecture, n.accuracy, n.loss, n.failure)
            for n in self.networks()
        ]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    def close(self) -> None:
        """Close the file."""
        self._database.close()


@contextmanager
def _replacing(path: Path) -> Iterator[tuple[sqlite3.Connection, Path]]:
    """A new database, which takes the place of a file when it is filled."""
    new = path.with_suffix(".partial")
    with storing(path):
        new.unlink(missing_ok=True)
        database = use(new, lambda: connect(new, create=True), partial(_damaged, path), "written")
        try:
            # Nobody needs half of it, nor a journal beside it.
            use(new, lambda: database.execute("PRAGMA journal_mode=OFF"), partial(_damaged, path), "written")
            yield database, new
        finally:
            database.close()
        new.replace(path)


def _columns(kind: type[Run | Network | Batch], version: int) -> list[str]:
    return [field.name for field in fields(kind) if version >= 3 or field.name not in _SINCE_VERSION_3]


def _insert(database: sqlite3.Connection, row: Run | Network | Batch, version: int) -> None:
    table, names = _TABLES[type(row)], _columns(type(row), version)
    values = [int(value) if isinstance(value := getattr(row, name), bool) else value for name in names]
    places = ", ".join("?" * (len(values) + 1))
    statement = f"INSERT OR REPLACE INTO {table} ({', '.join(names)}, checksum) VALUES ({places})"
    database.execute(statement, [*values, _checksum(table, values)])


def _checksum(table: str, values: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps([table, *values]).encode()).hexdigest()


def _damaged(path: Path, what: str) -> RunDamaged:
    copy = path.with_suffix(".copy.sqlite")
    way_back = way_to_copy(path) if copy.exists() else "There is no copy yet: begin a new run."
    return RunDamaged(f"{path} is damaged: {what}. {way_back}")


def way_to_copy(path: Path) -> str:
    """How a person continues from the copy of a record, without losing what is left of it."""
    return (
        f"To continue from the copy after the last batch, put {path} and all {path.name}-* aside, and move "
        f"{path.with_suffix('.copy.sqlite')} to {path}."
    )
