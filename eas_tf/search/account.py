"""What a page says of a run: all that is read from its record, and what follows from it."""

import json
import math
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from eas_tf.errors import RunDamaged
from eas_tf.paths import expanded
from eas_tf.search.lineage import Step, lineage
from eas_tf.search.record import Batch, Network, Record, Run
from eas_tf.search.report import LEADERS, is_priced, pareto_front, ranked
from eas_tf.text import printable

_AGENTS = {"reinforce": "the paper's controller (REINFORCE)", "random": "random search"}


@dataclass(frozen=True, kw_only=True)
class Account:
    """A run as it was read, and what the page says of it."""

    name: str
    run: Run
    config: dict[str, Any]
    versions: dict[str, Any]
    networks: list[Network]
    batches: list[Batch]

    @cached_property
    def ranked(self) -> list[Network]:
        """Those that did not fail, best first."""
        return ranked(self.networks)

    @property
    def best(self) -> Network | None:
        """The network with the best score, if there is one."""
        return next(iter(self.ranked), None)

    @property
    def leaders(self) -> list[Network]:
        """The best networks."""
        return self.ranked[:LEADERS]

    @property
    def finished(self) -> list[Network]:
        """Those that did not fail, by number."""
        return [network for network in self.networks if not network.failure]

    @cached_property
    def children(self) -> list[Network]:
        """All but the start network."""
        return [network for network in self.networks if network.kind != "start"]

    @cached_property
    def front(self) -> list[Network]:
        """No other network is better and smaller."""
        return pareto_front(self.networks)

    @property
    def priced(self) -> bool:
        """Whether size costs something."""
        return is_priced(self.networks)

    @property
    def steps(self) -> list[Step]:
        """From the start network to the best one."""
        return lineage(self.best, self.networks) if self.best else []

    @property
    def gain(self) -> float:
        """Of the best network over the start network: fraction of the validation images."""
        return self.best.accuracy - self.networks[0].accuracy if self.best else 0.0

    @property
    def agent(self) -> str:
        """Who decided."""
        name = str(self.config.get("agent", "?"))
        return _AGENTS.get(name, name)

    @property
    def end(self) -> str:
        """How it ended."""
        if self.run.ended == "finished":
            return "It is finished."
        return f"It ended early: {self.run.ended}." if self.run.ended else "It is still running, or was killed."

    @property
    def failures(self) -> list[tuple[str, list[int]]]:
        """Each reason with the numbers of the networks that failed for it, the most frequent first."""
        numbers: dict[str, list[int]] = {}
        for network in self.networks:
            if network.failure:
                numbers.setdefault(network.failure, []).append(network.id)
        return sorted(numbers.items(), key=lambda found: -len(found[1]))

    @cached_property
    def learned(self) -> dict[str, list[tuple[int, float]]]:
        """What the agent told of its learning: for each name the batches and values."""
        series: dict[str, list[tuple[int, float]]] = {}
        for batch in self.batches:
            for name, value in _read_object(batch.learned, self.name).items():
                if isinstance(value, int | float) and math.isfinite(value):
                    series.setdefault(name, []).append((batch.id, value))
        return series


def read(path: Path) -> Account:
    """What a run's record says.

    Raises:
        InvalidConfiguration: If the directory holds no record, or one of another version.
        RunDamaged: If the record is not as it was written.
        StorageFailed: If another program keeps the record locked, or it cannot be read.
    """
    path = expanded(path)
    with closing(Record(path / "run.sqlite")) as record:
        run, networks = record.run(), record.networks()
        batches = [batch for batch in record.batches() if batch.state]  # the last one may be in training
    for network in networks:
        _check(path, network)
    for batch in batches:
        _check(path, batch)
    name = str(path)
    return Account(
        name=name,
        run=run,
        config={"dataset": "?", "agent": "?", "seed": "?", "space": "?", **_read_object(run.config, name)},
        versions=_read_object(run.versions, name),
        networks=networks,
        batches=batches,
    )


def _check(path: Path, row: Network | Batch) -> None:
    """A record's checksums say that it is as it was written, not that eas_tf wrote it."""
    names = ("id", "parameters", "multiply_adds", "epochs", "accuracy", "score", "seconds", "stage", "reward")
    numbers = [getattr(row, name) for name in names if hasattr(row, name)]
    sound = all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
    if not sound or (isinstance(row, Network) and row.parameters < 1):
        raise RunDamaged(f"{path} holds a row that no search writes: {printable(row)}")


def _read_object(text: str, name: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise RunDamaged(f"The record of {name} holds no JSON object where there should be one: {printable(text, 60)}")
    return found
