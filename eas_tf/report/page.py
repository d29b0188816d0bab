"""A page about runs: what was searched, how it went, what was found. One file, without scripts and outside links."""

import json
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from eas_tf.report import charts
from eas_tf.report.account import Account
from eas_tf.report.charts import FLOOR, Chart, Mark, across, across_log, stairs, straight, upward
from eas_tf.report.leaderboard import WHOLE
from eas_tf.runs.ranking import best_so_far
from eas_tf.runs.record import Network
from eas_tf.text import printable

#: Colours in the style sheet, after which lines are dashed.
COLOURS = 6


def page(accounts: Sequence[Account]) -> str:
    """The page about one run, or about several beginning with a comparison. HTML; the same for the same records."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    environment.filters.update(duration=duration, percent=lambda fraction: f"{100 * fraction:.2f}", setting=_setting)
    environment.globals.update(charts=charts, progress=progress, sizes=sizes, rewards=rewards, entropy=entropy)
    template = environment.from_string(Path(__file__).with_name("page.html.jinja").read_text(encoding="utf-8"))
    begun = [account for account in accounts if account.best]
    comparison = _comparison(begun) if begun else None
    return template.render(accounts=accounts, comparison=comparison, colours=COLOURS).lstrip()


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def caption(network: Network, account: Account) -> str:
    """A network in a few words."""
    words = f"#{network.id}, {network.kind}"
    if not network.failure:
        words += f": {100 * account.worth(network):.2f} %, {network.parameters:,} parameters"
    return words + ", stopped early" * network.stopped + ", reused" * network.reused


def progress(account: Account) -> Chart:
    """The metric over networks."""
    best, last = best_so_far(account.networks), account.networks[-1].id
    x = across("network", [0, last], whole=True)
    y = upward(f"validation {account.measure}, %", (100 * account.worth(network) for network in account.finished))
    firsts = {network.stage: network.id for network in reversed(account.networks)}
    start = [(at, 100 * account.worth(best[0])) for at in (0.0, x.high)]
    return Chart(
        title=f"Validation {account.measure} of each network, and of the best one so far",
        x=x,
        y=y,
        lines=[
            straight("start", x, y, start),
            stairs("best", x, y, _percent(best, account), until=last),
        ],
        marks=[
            Mark(
                x=x(network.id),
                y=FLOOR if network.failure else y(100 * account.worth(network)),
                kind=_kind(network),
                title=caption(network, account) + (f": {network.failure}" if network.failure else ""),
            )
            for network in account.networks
        ],
        borders=[
            (x(max(0, first - 0.5)), f"stage {stage}") for stage, first in sorted(firsts.items()) if len(firsts) > 1
        ],
    )


def sizes(account: Account) -> Chart:
    """The metric over parameters."""
    finished, front = account.finished, {network.id for network in account.front}
    x = across_log("parameters", (network.parameters for network in finished))
    y = upward(f"validation {account.measure}, %", (100 * account.worth(network) for network in finished))
    points = [(float(network.parameters), 100 * account.worth(network)) for network in account.front]
    return Chart(
        title=f"Validation {account.measure} over the number of parameters, with the front",
        x=x,
        y=y,
        lines=[stairs("front", x, y, points, until=x.high)],
        marks=[
            Mark(
                x=x(network.parameters),
                y=y(100 * account.worth(network)),
                kind="member" if network.id in front else "other",
                title=caption(network, account),
            )
            # Members last, so that nothing hides them.
            for network in sorted(finished, key=lambda network: network.id in front)
        ],
    )


def rewards(account: Account) -> Chart:
    """Mean reward of each batch, and the agent's baseline, if it has one."""
    means = [(batch.id, batch.reward) for batch in account.batches]
    baseline = account.learned.get("baseline", [])
    return _over_batches("Mean reward of each batch, and the baseline", "reward", reward=means, baseline=baseline)


def entropy(account: Account) -> Chart:
    """How undecided the policy is."""
    return _over_batches("Entropy of the policy over batches", "entropy, nats", entropy=account.learned["entropy"])


def _shown(value: object) -> object:
    """What the template shows of a value: plain text without control characters. Macros give markup, which stays."""
    return printable(value, WHOLE) if isinstance(value, str) and not isinstance(value, Markup) else value


def _setting(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _kind(network: Network) -> str:
    if network.failure:
        return "failed"
    return "stopped" if network.stopped else network.kind


def _percent(best: Sequence[Network], account: Account) -> list[tuple[float, float]]:
    return [(now.id, 100 * account.worth(so_far)) for so_far, now in zip(best, account.finished, strict=True)]


def _over_batches(title: str, label: str, **series: list[tuple[int, float]]) -> Chart:
    x = across("batch", (batch for points in series.values() for batch, _ in points), whole=True)
    y = upward(label, (value for points in series.values() for _, value in points))
    return Chart(
        title=title,
        x=x,
        y=y,
        lines=[straight(kind, x, y, points) for kind, points in series.items() if points],
        marks=[
            Mark(x=x(batch), y=y(value), kind=kind, title=f"batch {batch}: {kind} {value:.4g}")
            for kind, points in series.items()
            for batch, value in points
        ],
    )


def _comparison(accounts: Sequence[Account]) -> Chart:
    """The best network so far of each run."""
    curves = [_percent(best_so_far(account.networks), account) for account in accounts]
    lasts = [account.networks[-1].id for account in accounts]
    x = across("network", [0, *lasts], whole=True)
    measures = " or ".join(sorted({account.measure for account in accounts}))
    y = upward(f"best validation {measures} so far, %", (value for curve in curves for _, value in curve))
    lines = [
        stairs(f"run colour-{n % COLOURS} dash-{n // COLOURS % 3}", x, y, curve, until=last)
        for n, (curve, last) in enumerate(zip(curves, lasts, strict=True))
    ]
    return Chart(title=f"Best validation {measures} so far, of each run", x=x, y=y, lines=lines)
