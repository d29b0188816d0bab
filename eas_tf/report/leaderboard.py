"""What a person sees of a search: a line a network, a leaderboard, a picture."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text

from eas_tf.metrics import Found, Metric, balanced_accuracy
from eas_tf.runs.ranking import best_so_far, is_priced, pareto_front, ranked
from eas_tf.runs.record import Network
from eas_tf.text import printable

#: Networks in a leaderboard.
LEADERS = 10

#: Characters of a text that is shown as it is: more than any layer string has.
WHOLE = 20_000


def in_words(metric: Metric) -> str:
    """A metric as people call it."""
    return metric.replace("_", " ")


def measures(which: str, accuracy: float | None, found: Found, metric: Metric) -> dict[str, float]:
    """What accuracy and metric say of a network on some images, by name, as fractions; empty if there are no images."""
    named = {} if accuracy is None else {f"{which} accuracy": accuracy}
    if named and metric != "accuracy" and found:  # which earlier versions did not write
        named[f"{which} {in_words(metric)}"] = balanced_accuracy(found)
    return named


def in_percent(named: Mapping[str, float]) -> str:
    """The same for people."""
    return ", ".join(f"{name} {100 * value:.2f} %" for name, value in named.items())


def line(network: Network, start: Network, metric: Metric = "accuracy") -> str:
    """One network in one line: number, accuracy and metric, gain over the start, parameters, seconds, layer string."""
    if network.failure:
        return f"#{network.id:<4} failed: {network.failure}  {network.seconds:.1f} s  {network.architecture}"
    took = "   reused" if network.reused else f"{network.seconds:7.1f} s"
    if network.stopped:
        took += f", stopped after epoch {len(json.loads(network.curve))}"
    worth, told = network.worth(metric), ""
    if metric != "accuracy":
        told = f"{in_words(metric)}, accuracy {100 * network.accuracy:.2f} % "
    gain = "   start" if network.id == 0 else f"{100 * (worth - start.worth(metric)):+8.2f}"
    return (
        f"#{network.id:<4} {100 * worth:6.2f} % {told}{gain}  {network.parameters:>11,} parameters "
        f"{took}  {network.architecture}"
    )


def leaderboard(networks: Sequence[Network], metric: Metric = "accuracy") -> Table:
    """The best networks, and the start network for comparison; a star is on the front of metric and parameters."""
    start, priced = networks[0], is_priced(networks, metric)
    front = {network.id for network in pareto_front(networks, metric)}
    title = f"score: the {in_words(metric)} less what size costs" if priced else f"validation {in_words(metric)}"
    table = Table(title=f"Best networks by {title}", title_justify="left")
    first = ["score %"] * priced + ["balanced %"] * (metric != "accuracy")
    for heading in ("rank", "network", *first, "accuracy %", "gain", "parameters", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("front", justify="center")
    table.add_column("layers", overflow="fold")
    places = list(enumerate(ranked(networks), 1))
    for rank, network in places[:LEADERS] + [place for place in places[LEADERS:] if place[1] is start]:
        worth = network.worth(metric)
        gain = 100 * (worth - start.worth(metric))
        table.add_row(
            str(rank),
            f"#{network.id}" if network.id else "start",
            *[f"{100 * network.score:.2f}"] * priced,
            *[f"{100 * worth:.2f}"] * (metric != "accuracy"),
            f"{100 * network.accuracy:.2f}",
            f"{gain:+.2f}" if network.id else "",
            f"{network.parameters:,}",
            f"{network.seconds:.1f}",
            "*" if network.id in front else "",
            Text(printable(network.architecture, WHOLE)),  # not as markup: a record may be anybody's
        )
    return table


def draw_progress(networks: Sequence[Network], title: str, path: Path, metric: Metric = "accuracy") -> None:
    """The metric over networks, with the best so far and the start network: PNG or SVG by the suffix of `path`."""
    start, *children = [network for network in networks if not network.failure]
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    ids, accuracies = [n.id for n in children], [100 * n.worth(metric) for n in children]
    best = [100 * n.worth(metric) for n in best_so_far(networks)]
    axes.axhline(100 * start.worth(metric), color="#888888", linestyle="--", linewidth=1, label="start network")
    axes.step([0, *ids], best, where="post", color="#e45756", linewidth=1.8, label="best so far")
    axes.scatter(ids, accuracies, s=18, color="#4c78a8", zorder=3, label="child")
    axes.set_xlabel("network")
    axes.set_ylabel(f"validation {in_words(metric)}, %")
    axes.set_title(printable(title), loc="left", fontsize=10, parse_math=False)  # a file's name may hold dollars
    axes.grid(axis="y", linewidth=0.4, alpha=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(path)
