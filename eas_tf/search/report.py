"""What a person sees of a search: a line a network, a leaderboard, a picture."""

import json
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.table import Table

from eas_tf.search.run_directory import Network

#: Networks in a leaderboard.
LEADERS = 10


def ranked(networks: Sequence[Network]) -> list[Network]:
    """The networks that did not fail, best first; of equals the smaller, then the earlier."""
    return sorted((n for n in networks if not n.failure), key=lambda n: (-n.accuracy, n.parameters, n.id))


def line(network: Network, start: Network) -> str:
    """One network in one line: number, accuracy, gain over the start, parameters, seconds, layer string."""
    if network.failure:
        return f"#{network.id:<4} failed: {network.failure}  {network.seconds:.1f} s  {network.architecture}"
    took = "   reused" if network.reused else f"{network.seconds:7.1f} s"
    if network.stopped:
        took += f", stopped after epoch {len(json.loads(network.curve))}"
    gain = "   start" if network.id == 0 else f"{100 * (network.accuracy - start.accuracy):+8.2f}"
    return (
        f"#{network.id:<4} {100 * network.accuracy:6.2f} % {gain}  {network.parameters:>11,} parameters "
        f"{took}  {network.architecture}"
    )


def leaderboard(networks: Sequence[Network]) -> Table:
    """The best networks, and the start network for comparison."""
    start = networks[0]
    table = Table(title="Best networks by validation accuracy", title_justify="left")
    for heading in ("rank", "network", "accuracy %", "gain", "parameters", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("layers", overflow="fold")
    places = list(enumerate(ranked(networks), 1))
    for rank, network in places[:LEADERS] + [place for place in places[LEADERS:] if place[1] is start]:
        gain = 100 * (network.accuracy - start.accuracy)
        table.add_row(
            str(rank),
            f"#{network.id}" if network.id else "start",
            f"{100 * network.accuracy:.2f}",
            f"{gain:+.2f}" if network.id else "",
            f"{network.parameters:,}",
            f"{network.seconds:.1f}",
            network.architecture,
        )
    return table


def draw_progress(networks: Sequence[Network], title: str, path: Path) -> None:
    """Accuracy over networks, with the best so far and the start network: PNG or SVG by the suffix of `path`."""
    start, *children = [network for network in networks if not network.failure]
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    ids, accuracies = [n.id for n in children], [100 * n.accuracy for n in children]
    best = list(accumulate([100 * start.accuracy, *accuracies], max))
    axes.axhline(100 * start.accuracy, color="#888888", linestyle="--", linewidth=1, label="start network")
    axes.step([0, *ids], best, where="post", color="#e45756", linewidth=1.8, label="best so far")
    axes.scatter(ids, accuracies, s=18, color="#4c78a8", zorder=3, label="child")
    axes.set_xlabel("network")
    axes.set_ylabel("validation accuracy, %")
    axes.set_title(title, loc="left", fontsize=10)
    axes.grid(axis="y", linewidth=0.4, alpha=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(path)
