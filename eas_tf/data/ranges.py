"""Where the values of images are: their range, and those that are far from all others, such as -9999 for none."""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np

#: Images that are looked at at once, in bytes, so that looking needs little memory.
_AT_ONCE = 1 << 24
#: How many values of an array tell where most of them are.
_SAMPLE = 1 << 20
#: Fractions up to a lower maximum than this are no pixels from 0 to 255, of which they would use few levels.
_BRIGHT = 128
#: Fractions that would share fewer of the 256 levels lose what they show.
LEVELS = 16
#: How many values may stand for none, and how many times the range of all others they are away from these: of few
#: others more, because these may be far from each other, too.
_NONE, _FAR, _FARTHEST = 4, 2.0, 16.0

#: Values that are not outside stand for pixels.
Limits = tuple[float, float]
ALL: Limits = (-np.inf, np.inf)


@dataclass(frozen=True)
class Range:
    """What the values of an array of images, or of several, are."""

    low: float
    high: float
    whole: bool
    dtype: np.dtype
    #: Whether most values would be lost among a few levels of 8 bits.
    coarse: bool = False

    @classmethod
    def of(cls, images: np.ndarray) -> "Range":
        """The range of all values of an array."""
        found = cls.within(ALL, [images])
        if found.whole or not found.factor:
            return found
        values = sample(images)
        most, values = inside(usual([images]), values) * found.factor, values * found.factor
        levels = np.rint(values)
        # Multiples of 1/255 are kept, as few as they may be, and so is an image of one value.
        lost = bool((abs(values - levels) > 0.1).any() or np.ptp(levels) == 0)
        return replace(found, coarse=lost and bool(0 < np.ptp(most) < LEVELS))

    @classmethod
    def within(cls, limits: Limits, arrays: Collection[np.ndarray]) -> "Range":
        """The range of all values that are within limits; from infinity to -infinity if none is."""
        low, high, whole = np.inf, -np.inf, True
        for part in (part for images in arrays for part in parts(images)):
            values = part if limits == ALL else inside(limits, part)
            if values.size:
                low, high = min(low, float(values.min())), max(high, float(values.max()))
                whole = whole and (values.dtype.kind != "f" or bool((values == np.rint(values)).all()))
        return cls(low, high, whole, np.result_type(*arrays))

    @property
    def factor(self) -> int | None:
        """What makes pixels from 0 to 255 of the values, if that is clear."""
        if self.low < 0 or self.high > 255 or self.coarse:
            return None
        if self.whole or self.high >= _BRIGHT:
            return 1
        return 255 if self.high <= 1 else None

    def __str__(self) -> str:
        return f"{self.dtype} from {self.low:.6g} to {self.high:.6g}"


def parts(images: np.ndarray) -> Iterator[np.ndarray]:
    """All images, some at a time."""
    count = max(1, _AT_ONCE // max(1, images[:1].nbytes))
    return (images[start : start + count] for start in range(0, len(images), count))


def sample(images: np.ndarray) -> np.ndarray:
    """Some values in float64, and the lowest and the highest of all."""
    step = max(1, images.size // _SAMPLE)
    # Else these might be of some columns only, such as an empty margin.
    while math.gcd(step, images.size) > 1:
        step += 1
    return np.concatenate([images.ravel()[::step], [images.min(), images.max()]]).astype(float)


def inside(limits: Limits, values: np.ndarray) -> np.ndarray:
    """The values that are within limits, `[n]`."""
    exact = values.astype(float)
    return values[(exact > limits[0]) & (exact < limits[1])]


def usual(arrays: Collection[np.ndarray]) -> Limits:
    """Limits outside of which are only a few different values, however many pixels have them, and all far away."""
    values = np.unique(np.concatenate([sample(each) for each in arrays]))
    edges = np.concatenate([[-np.inf], values, [np.inf]])
    found, narrowest = ALL, np.inf
    for below, above in ((low, high) for low in range(_NONE + 1) for high in range(_NONE + 1 - low)):
        others = values[below : len(values) - above]
        if len(others) < 2:
            continue
        lower, upper = float(edges[below]), float(edges[len(edges) - 1 - above])
        low, high = float(others[0]), float(others[-1])
        far = max(_FAR, min(255 / (len(others) - 1), _FARTHEST)) * (high - low)
        if min(low - lower, upper - high) > far and high - low < narrowest:
            found, narrowest = (lower / 2 + low / 2, upper / 2 + high / 2), high - low
    return found
