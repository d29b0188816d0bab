"""What early stopping would have cost and saved in searches that were recorded with `--stopping watch`.

Replays the median rule on the recorded curves, batch after batch, as a search with `--stopping median` applies it.
Prints, for each search, how many children would have ended early, the epochs saved, and the best network with and
without the rule. (What the agent would have chosen after other rewards, no record can tell.)
"""

import json
import statistics
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from eas_tf.errors import InvalidConfiguration, exit_code
from eas_tf.evaluation.stopping import keeps_up, median_floors
from eas_tf.paths import expanded
from eas_tf.runs.record import Record


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Replay the median rule on recorded searches."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run directories of searches with --stopping watch."""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """One search under the rule."""

    children: int
    stopped: int
    epochs: int
    saved: int
    best: float
    """Accuracy of the best child without the rule, a fraction."""
    best_kept: float
    """Accuracy of the best child that the rule lets finish."""


def curves_by_batch(run: Path) -> list[list[list[float]]]:
    """The curves of the start network's children, each batch a list, equal children once.

    Raises:
        InvalidConfiguration: If the directory holds no search with curves.
    """
    with closing(Record(run / "run.sqlite")) as record:
        networks = record.networks()
    batches: dict[int, list[list[float]]] = {}
    for network in networks:
        if network.parent == 0 and not (network.reused or network.failure or network.stopped):
            batches.setdefault(network.batch, []).append(json.loads(network.curve))
    curves = [curve for batch in batches.values() for curve in batch]
    if not curves or not all(curves):
        raise InvalidConfiguration(f"{run} has no curves: record them with `scripts/search.py --stopping watch`")
    return list(batches.values())


def replay(batches: Sequence[Sequence[Sequence[float]]]) -> Replay:
    """Apply the rule to children that were all trained to their end."""
    finished: list[Sequence[float]] = []
    lengths: list[int] = []
    for batch in batches:
        floors = median_floors(finished)
        for curve in batch:
            fails = (n for n in range(1, len(curve)) if not keeps_up(curve[:n], floors))
            lengths.append(next(fails, len(curve)))
        finished += [curve for curve, length in zip(batch, lengths[-len(batch) :], strict=True) if length == len(curve)]
    curves = [curve for batch in batches for curve in batch]
    epochs = sum(map(len, curves))
    return Replay(
        children=len(curves),
        stopped=len(curves) - len(finished),
        epochs=epochs,
        saved=epochs - sum(lengths),
        best=max(curve[-1] for curve in curves),
        best_kept=max(curve[-1] for curve in finished),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line a search, and all together."""
    compare = tyro.cli(Compare, args=argv, prog="compare_stopping.py")
    if not compare.runs:
        raise InvalidConfiguration("Name the directories of searches with --stopping watch.")
    found = [(run, replay(curves_by_batch(run))) for run in map(expanded, compare.runs)]
    for run, each in found:
        print(
            f"{run}: {each.stopped} of {each.children} children end early, {100 * each.saved / each.epochs:.0f} % of "
            f"the epochs are saved; best {100 * each.best:.2f} % without the rule, {100 * each.best_kept:.2f} % with it"
        )
    lost = [100 * (each.best - each.best_kept) for _, each in found]
    print(
        f"in {sum(map(bool, lost))} of {len(found)} searches the best accuracy changes, by {statistics.mean(lost):.2f} "
        f"points on average over all; {statistics.mean(100 * each.saved / each.epochs for _, each in found):.0f} % of "
        "the epochs are saved"
    )
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
