"""What a page says of a run: all that is read from its record, and what follows from it."""

import json
import math
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from eas_tf.errors import RunDamaged
from eas_tf.metrics import Metric, as_found
from eas_tf.paths import expanded
from eas_tf.report.leaderboard import LEADERS, in_words
from eas_tf.report.lineage import Step, lineage
from eas_tf.report.recall import class_name, hidden, worst_first
from eas_tf.runs.ranking import is_priced, pareto_front, ranked
from eas_tf.runs.record import Batch, Network, Record, Run
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
    class_names: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    tested: dict[str, float] | None = None
    """The accuracy of start network and best network on the test images, if the search has come to that."""

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
        return pareto_front(self.networks, self.metric)

    @cached_property
    def metric(self) -> Metric:
        """What the reward and the best network are made of."""
        told = self.config.get("metric") == "balanced_accuracy"
        known = told and all(math.isfinite(network.worth("balanced_accuracy")) for network in self.finished)
        return "balanced_accuracy" if known else "accuracy"

    @property
    def measure(self) -> str:
        """The same in words."""
        return in_words(self.metric)

    def worth(self, network: Network) -> float:
        """What the metric says of a network."""
        return network.worth(self.metric)

    @property
    def recalls(self) -> list[tuple[str, str, float]]:
        """Of the best network for each class with validation images: its name, the images, its recall; lowest first."""
        found = as_found(json.loads(self.best.found)) if self.best else ()
        recalls = ((label, *found[label]) for label in worst_first(found))
        return [(class_name(label, self.class_names), f"{images:,}", n / images) for label, n, images in recalls]

    @property
    def hidden(self) -> str:
        """What the accuracy of the best network hides; empty if nothing is known of that."""
        return hidden(as_found(json.loads(self.best.found)), self.class_names, "validation") if self.best else ""

    @property
    def priced(self) -> bool:
        """Whether size costs something."""
        return is_priced(self.networks, self.metric)

    @property
    def steps(self) -> list[Step]:
        """From the start network to the best one."""
        return lineage(self.best, self.networks, self.metric) if self.best else []

    @property
    def gain(self) -> float:
        """Of the best network over the start network: fraction of the validation images."""
        return self.worth(self.best) - self.worth(self.networks[0]) if self.best else 0.0

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
        class_names=_texts(path, "class_names"),
        cautions=_texts(path, "cautions"),
        tested=_tested(path),
    )


def _tested(path: Path) -> dict[str, float] | None:
    """What `tested.json` says, which is written for people; None if it is not there or not as it was written."""
    try:
        found = json.loads((path / "tested.json").read_bytes())
        tested = {which: float(found[which]["test accuracy"]) for which in ("start", "best")}
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return tested if all(0 <= accuracy <= 1 for accuracy in tested.values()) else None


def _texts(path: Path, name: str) -> tuple[str, ...]:
    """A list in `split.json`, which is written for people: empty if it is not there or not as it was written."""
    try:
        found = json.loads((path / "split.json").read_bytes())[name]
    except (OSError, ValueError, TypeError, KeyError):
        return ()
    return tuple(map(str, found)) if isinstance(found, list) else ()


def _check(path: Path, row: Network | Batch) -> None:
    """A record's checksums say that it is as it was written, not that eas_tf wrote it."""
    names = ("id", "parameters", "multiply_adds", "epochs", "accuracy", "score", "seconds", "stage", "reward")
    numbers = [getattr(row, name) for name in names if hasattr(row, name)]
    sound = all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
    if sound and isinstance(row, Network):
        sound = row.parameters >= 1 and _is_sound(row.found)
    if not sound:
        raise RunDamaged(f"{path} holds a row that no search writes: {printable(row)}")


def _is_sound(found: str) -> bool:
    try:
        return all(0 <= right <= images for right, images in as_found(json.loads(found)))
    except (ValueError, TypeError, OverflowError):
        return False


def _read_object(text: str, name: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise RunDamaged(f"The record of {name} holds no JSON object where there should be one: {printable(text, 60)}")
    return found
