"""Which pixels from 0 to 255 the values of a user's images stand for; what is not clear is refused."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from eas_tf.data.mending import program, rows, without
from eas_tf.errors import InvalidData

#: Images that are looked at at once, in bytes, so that looking needs little memory.
_AT_ONCE = 1 << 24
#: Fractions up to a lower maximum than this are no pixels from 0 to 255, of which they would use few levels.
_BRIGHT = 128
#: Up to this share of images that are not finite is left out; so are images of which less than this is.
_FEW = 0.1
#: How many values tell where most of them are, and how much wider the whole range is if a few are elsewhere.
_SAMPLE, _STRETCHED = 1 << 20, 16


@dataclass(frozen=True)
class _Range:
    low: float
    high: float
    whole: bool
    dtype: np.dtype

    @classmethod
    def of(cls, images: np.ndarray) -> "_Range":
        low, high, whole = np.inf, -np.inf, True
        for part in _parts(images):
            low, high = min(low, float(part.min())), max(high, float(part.max()))
            whole = whole and (part.dtype.kind != "f" or bool((part == np.rint(part)).all()))
        return cls(low, high, whole, images.dtype)

    @property
    def factor(self) -> int | None:
        """What makes pixels from 0 to 255 of the values, if that is clear."""
        if self.low < 0 or self.high > 255:
            return None
        if self.whole or self.high >= _BRIGHT:
            return 1
        return 255 if self.high <= 1 else None

    def __str__(self) -> str:
        return f"{self.dtype} from {self.low:.6g} to {self.high:.6g}"


def pixels(arrays: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], int]:
    """The arrays with images in 8 bits, and what their values were multiplied by: 1, or 255 for values from 0 to 1.

    Raises:
        InvalidData: If it is not clear which pixels the values stand for.
    """
    names = [name for name in arrays if name.startswith("x_")]
    if all(arrays[name].dtype == np.uint8 for name in names):
        return arrays, 1
    _check_finite(arrays, names)
    ranges = {name: _Range.of(arrays[name]) for name in names}
    factors = {each.factor for each in ranges.values()}
    if factors == {1, 255} and max(each.high for each in ranges.values()) <= 1:
        factors = {255}
    if len(factors) > 1 or None in factors:
        raise _other_pixels(arrays, ranges)
    factor = factors.pop() or 1
    return arrays | {name: _cast(arrays[name], factor) for name in names}, factor


def _parts(images: np.ndarray) -> Iterator[np.ndarray]:
    count = max(1, _AT_ONCE // max(1, images[:1].nbytes))
    return (images[start : start + count] for start in range(0, len(images), count))


def _cast(images: np.ndarray, factor: int) -> np.ndarray:
    cast = np.empty(images.shape, np.uint8)
    done = 0
    for part in _parts(images):
        # In float64, because 255 times a float16 is rounded twice.
        cast[done : done + len(part)] = part if part.dtype.kind != "f" else np.rint(part.astype(float) * factor)
        done += len(part)
    return cast


def _other_pixels(arrays: dict[str, np.ndarray], ranges: dict[str, _Range]) -> InvalidData:
    """What to say of values that are no pixels, or not the same ones in all parts."""
    received = ", ".join(f"{name} {each} {list(arrays[name].shape)}" for name, each in ranges.items())
    expected = "expected uint8 images, or values from 0 to 255 or from 0 to 1"
    unclear = {name: each.factor is None for name, each in ranges.items()}
    others = [name for name, each in ranges.items() if each.factor != ranges["x_train"].factor]
    wrong = [*(name for name in ranges if unclear[name]), *others][0]
    unlike = [name for name in ranges if unclear[name] != unclear["x_train"]]
    low, high = min(each.low for each in ranges.values()), max(each.high for each in ranges.values())
    if not any(unclear.values()):
        scaled = {name: f"np.round({name} * 255).astype(np.uint8)" for name in ranges if ranges[name].factor == 255}
        advice = f"{' and '.join(ranges)} have other units; run {program(arrays, **scaled)}"
    elif not all(unclear.values()) and len({each.dtype for each in ranges.values()}) > 1:
        left = program(without(arrays, *(name[2:] for name in unlike)))
        advice = f"prepare {' and '.join(unlike)} as x_train was, or leave it out: run {left}"
    elif low == high:
        advice = f"all values are {low:.6g}: save the images as they were before"
    else:
        rule = _to_8_bits(low, high, arrays["x_train"])
        advice = f"run {program(arrays, **{name: rule.format(name) for name in ranges})}"
    return InvalidData(f"{wrong}: {expected}; {advice}. Received: {received}")


def _to_8_bits(low: float, high: float, images: np.ndarray) -> str:
    """A rule for all parts, so that they keep the same units; in float64, so that nothing wraps round or overflows."""
    values = "{}.astype(float)"
    most_low, most_high = map(float, np.percentile(images.ravel()[:: max(1, images.size // _SAMPLE)], (1, 99)))
    if 0 < most_high - most_low < (high - low) / _STRETCHED:
        # A few values, such as -9999 for none, would leave all others a few levels.
        low, high, values = most_low, most_high, f"{{}}.astype(float).clip({most_low!r}, {most_high!r})"
    shifted = f"({values} {'-' if low > 0 else '+'} {abs(low)!r})" if low else values
    return f"np.round({shifted} / {high - low!r} * 255).astype(np.uint8)"


def _check_finite(arrays: dict[str, np.ndarray], names: Collection[str]) -> None:
    shares = {name: _finite(arrays[name]) for name in names if arrays[name].dtype.kind == "f"}
    bad = [name for name, share in shares.items() if (share < 1).any()]
    if not bad:
        return
    wrong = bad[0]
    values, some = arrays[wrong], shares[wrong] < 1
    count = sum(int(np.count_nonzero(~np.isfinite(part))) for part in _parts(values))
    received = (
        f"{count:,} of {values.size:,} values of {wrong} in {int(some.sum()):,} of {len(values):,} images, "
        f"first in {wrong}[{int(some.argmax())}]"
    )
    problem = f"{wrong}: some values are NaN or infinite"
    # Images with next to no value are all the same once something is put there.
    empty = [name for name in bad if (shares[name] < _FEW).all()]
    if "x_train" in empty:
        raise InvalidData(
            f"{problem}, nearly all of x_train: save the images as they were before. Received: {received}"
        )
    if empty:
        run = program(without(arrays, *(name[2:] for name in empty)))
        problem += f", nearly all of {' and '.join(empty)}"
        raise InvalidData(
            f"{problem}: save these as they were before, or leave them out: run {run}. Received: {received}"
        )
    if all((shares[name] < 1).mean() <= _FEW for name in bad):
        first = [f"{name[2:]} = np.isfinite({name}).reshape(len({name}), -1).all(1)" for name in bad]
        kept: dict[str, str] = {}
        for name in bad:
            kept |= rows(arrays, name[2:], name[2:])
        run = program(arrays, *first, **kept)
        raise InvalidData(f"{problem}; to leave these images out, run {run}. Received: {received}")
    finite = np.concatenate([part[np.isfinite(part)] for part in _parts(arrays["x_train"])])
    # One of the values, which is whole if they are, and no mean of some that stand for none.
    median = float(np.percentile(finite, 50, method="nearest"))
    first, changed = [], {}
    for name in bad:
        changed[name] = f"np.where(np.isfinite({name}), {name}, {median!r})"
        if (shares[name] < _FEW).any():
            first.append(f"{name[2:]} = np.isfinite({name}).reshape(len({name}), -1).mean(1) >= {_FEW}")
            changed |= rows(arrays, name[2:], name[2:]) | {name: f"{changed[name]}[{name[2:]}]"}
    run = program(arrays, *first, **changed)
    advice = f"to put the median of the others there{' and leave out images of little else' if first else ''}"
    raise InvalidData(f"{problem}; {advice}, run {run}. Received: {received}")


def _finite(images: np.ndarray) -> np.ndarray:
    """What share of each image's values is finite, `[n]`."""
    return np.concatenate([np.isfinite(part).reshape(len(part), -1).mean(1) for part in _parts(images)])
