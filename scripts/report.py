"""Read searches: a leaderboard for each, and a page that shows how they went. `python scripts/report.py --help`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from eas_tf.errors import InvalidConfiguration, exit_code
from eas_tf.paths import expanded
from eas_tf.report.account import read
from eas_tf.report.leaderboard import WHOLE, leaderboard
from eas_tf.report.page import page
from eas_tf.runs.paths import checked_path
from eas_tf.runs.progress import PIPE_WIDTH
from eas_tf.storing import storing
from eas_tf.text import printable


@dataclass(frozen=True, kw_only=True)
class Report:
    """Print a leaderboard of each search, and write a page about them that any browser shows."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run directories of scripts/search.py, also of searches that still run."""
    output: Path | None = None
    """The page. By default report.html in the run directory, or in this one for several runs."""


def main(argv: Sequence[str] | None = None) -> int:
    """Read all runs, then print, then write."""
    report = tyro.cli(Report, args=argv, prog="report.py")
    if not report.runs:
        raise InvalidConfiguration("Name the run directories of one or more searches.")
    runs = [expanded(run) for run in report.runs]
    output = expanded(report.output or (runs[0] / "report.html" if len(runs) == 1 else "report.html"))
    for path in (*runs, output):
        checked_path(path)
    accounts = [read(run) for run in runs]
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH)
    for account in accounts:
        config = account.config
        told = f"{account.name}: {config['dataset']}, {config['agent']}, seed {config['seed']}. {account.end}"
        console.print(printable(told, WHOLE), markup=False, soft_wrap=True)
        console.print(
            leaderboard(account.networks, account.metric)
            if account.networks
            else "The start network is not trained yet."
        )
        if account.hidden:
            console.print(printable(account.hidden, WHOLE), markup=False, soft_wrap=True)
    with storing(output, "Name another file with --output."):
        output.write_text(page(accounts), encoding="utf-8")
    console.print(f"The page is {output}", markup=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
