"""Where everything in a chart goes. The page's template draws it, as SVG, and escapes it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from matplotlib.ticker import MaxNLocator

#: Units of the picture, and the box in it that the axes enclose. Text on a phone is twice as large: hence the margins.
WIDTH, HEIGHT = 640, 340
LEFT, RIGHT, TOP, BOTTOM = 76, 612, 52, 276

#: Classes in a table.
CLASSES = 20

#: Where the failed networks are marked.
FLOOR = BOTTOM - 7


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Values, and where they are in the picture."""

    label: str
    low: float
    high: float
    first: float
    """Where `low` is."""
    last: float
    """Where `high` is."""
    values: tuple[float, ...]
    """Of the ticks."""
    log: bool = False

    def __call__(self, value: float) -> float:
        """Where a value is."""
        low, high, value = map(math.log, (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        return round(self.first + (self.last - self.first) * (value - low) / (high - low), 1)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Where they are, and what they say."""
        return [(self(value), short(value)) for value in self.values]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A network or a batch."""

    x: float
    y: float
    kind: str
    """How it looks: the name of a class of the style sheet."""
    title: str
    """What it says when one points at it."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line through values."""

    kind: str
    path: str
    """SVG path commands."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Axes and what is between them."""

    title: str
    """For those who cannot see it."""
    x: Axis
    y: Axis
    lines: Sequence[Line] = ()
    marks: Sequence[Mark] = ()
    borders: Sequence[tuple[float, str]] = field(default=())
    """Vertical lines with a word beside each."""


def short(value: float) -> str:
    """A number in few characters: 1200000 is 1.2M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / min(size, 1e3 if unit == 'k' else size):.4g}{unit}"
    return f"{value:.6g}"


def across(label: str, values: Iterable[float], *, whole: bool = False) -> Axis:
    """A horizontal axis from the least to the largest of these values; `whole` if only whole numbers make sense."""
    low, high = _range(values, 1.0 if whole else 0.0)
    inner = tuple(tick for tick in _ticks(low, high, whole) if low <= tick <= high)
    return Axis(label=label, low=low, high=high, first=LEFT, last=RIGHT, values=inner)


def across_log(label: str, values: Iterable[float]) -> Axis:
    """A horizontal axis for positive values: logarithmic if the largest is several times the smallest."""
    values = list(values)
    low, high = min(values), max(values)
    if high < 5 * low:
        return across(label, values)
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = [step * 10.0**exponent for exponent in exponents for step in (1, 2, 5)]
    low, high = max(s for s in steps if s <= low), min(s for s in steps if s >= high)
    steps = [step for step in steps if low <= step <= high]
    shown = steps if len(steps) <= 8 else [10.0**exponent for exponent in exponents if low <= 10.0**exponent <= high]
    return Axis(label=label, low=low, high=high, first=LEFT, last=RIGHT, values=tuple(shown), log=True)


def upward(label: str, values: Iterable[float]) -> Axis:
    """A vertical axis for these values, from tick to tick."""
    ticks = _ticks(*_range(values, 0.0), whole=False)
    return Axis(label=label, low=ticks[0], high=ticks[-1], first=BOTTOM, last=TOP, values=tuple(ticks))


def _range(values: Iterable[float], step: float) -> tuple[float, float]:
    """The least and the largest value; where they are one, what is `step` above, or without a step a little around."""
    values = list(values)
    low, high = min(values), max(values)
    if high - low > 1e-9 * max(1.0, abs(high)):
        return low, high
    room = max(0.5, abs(high) / 100)
    return (low, low + step) if step else (low - room, high + room)


def _ticks(low: float, high: float, whole: bool) -> list[float]:
    return list(map(float, MaxNLocator(nbins=5, steps=[1, 2, 5, 10], integer=whole).tick_values(low, high)))


def straight(kind: str, x: Axis, y: Axis, points: Sequence[tuple[float, float]]) -> Line:
    """A line from point to point."""
    return Line(kind=kind, path="M" + " L".join(f"{x(a):g} {y(b):g}" for a, b in points))


def stairs(kind: str, x: Axis, y: Axis, points: Sequence[tuple[float, float]], until: float | None = None) -> Line:
    """A line that keeps each value until the next one, and the last until `until`."""
    path = [f"M{x(points[0][0]):g} {y(points[0][1]):g}"]
    path += [f"H{x(b[0]):g}" + (f" V{y(b[1]):g}" if a[1] != b[1] else "") for a, b in pairwise(points)]
    return Line(kind=kind, path=" ".join(path if until is None else [*path, f"H{x(until):g}"]))
