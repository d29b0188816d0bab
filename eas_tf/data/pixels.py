"""Which pixels from 0 to 255 the values of a user's images stand for; what is not clear is refused."""

from collections.abc import Collection

import numpy as np

from eas_tf.data.mending import program, rows, without
from eas_tf.data.ranges import ALL, LEVELS, Limits, Range, inside, parts, sample, usual
from eas_tf.errors import InvalidData

#: Up to this share of images that are not finite is left out; so are images of which less than this is.
_FEW = 0.1
#: How much wider the whole range is than that of 98 % of the values if a few are elsewhere.
_STRETCHED = 16


def pixels(arrays: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], int]:
    """The arrays with images in 8 bits, and what their values were multiplied by: 1, or 255 for values from 0 to 1.

    Raises:
        InvalidData: If it is not clear which pixels the values stand for.
    """
    names = [name for name in arrays if name.startswith("x_")]
    if all(arrays[name].dtype == np.uint8 for name in names):
        return arrays, 1
    _check_finite(arrays, names)
    ranges = {name: Range.of(arrays[name]) for name in names}
    factors = {each.factor for each in ranges.values()}
    if factors == {1, 255} and max(each.high for each in ranges.values()) <= 1:
        factors = {255}
    if len(factors) > 1 or None in factors:
        raise _other_pixels(arrays, ranges)
    factor = factors.pop() or 1
    return arrays | {name: _cast(arrays[name], factor) for name in names}, factor


def _cast(images: np.ndarray, factor: int) -> np.ndarray:
    cast = np.empty(images.shape, np.uint8)
    done = 0
    for part in parts(images):
        # In float64, because 255 times a float16 is rounded twice.
        cast[done : done + len(part)] = part if part.dtype.kind != "f" else np.rint(part.astype(float) * factor)
        done += len(part)
    return cast


def _other_pixels(arrays: dict[str, np.ndarray], ranges: dict[str, Range]) -> InvalidData:
    """What to say of values that are no pixels, or not the same ones in all parts."""
    received = ", ".join(f"{name} {each} {list(arrays[name].shape)}" for name, each in ranges.items())
    expected = "expected uint8 images, or values from 0 to 255 or from 0 to 1"
    unclear = {name: each.factor is None for name, each in ranges.items()}
    others = [name for name, each in ranges.items() if each.factor != ranges["x_train"].factor]
    wrong = [*(name for name in ranges if unclear[name]), *others][0]
    if ranges[wrong].coarse:
        expected += f", and not most of them within {LEVELS} of 256 levels"
    limits = usual([arrays[name] for name in ranges])
    whole = Range.within(limits, [arrays[name] for name in ranges])
    if not any(unclear.values()):
        scaled = {name: f"np.round({name} * 255).astype(np.uint8)" for name in ranges if ranges[name].factor == 255}
        advice = f"{' and '.join(ranges)} have other units; run {program(arrays, **scaled)}"
    elif unlike := _unlike({name: arrays[name] for name in ranges}, limits, whole):
        left = program(without(arrays, *(name[2:] for name in unlike)))
        advice = f"prepare {' and '.join(unlike)} as x_train was, or leave it out: run {left}"
    elif whole.low == whole.high:
        advice = f"all values are {whole.low:.6g}: save the images as they were before"
    elif (rule := _to_8_bits(whole, limits, np.concatenate([sample(arrays[name]) for name in ranges]))) is None:
        advice = "a few values are far from most: save the images without those"
    else:
        advice = f"run {program(arrays, **{name: rule.format(name) for name in ranges})}"
        if limits != ALL:
            far = [f"{('below', 'above')[side]} {limit:.6g}" for side, limit in enumerate(limits) if np.isfinite(limit)]
            advice = f"values {' or '.join(far)} seem to stand for none; to put the median there, {advice}"
    return InvalidData(f"{wrong}: {expected}; {advice}. Received: {received}")


def _unlike(arrays: dict[str, np.ndarray], limits: Limits, whole: Range) -> list[str]:
    """Parts that are in other units than the training images, so that no rule is right for both."""
    unclear = [name for name in arrays if Range.within(limits, [arrays[name]]).factor is None]
    if not 0 < len(unclear) < len(arrays) or len({images.dtype for images in arrays.values()}) == 1:
        # As pixels, all values of such a part would be nearly the same. By 4, so that nothing overflows.
        values = {name: inside(limits, sample(arrays[name])) / 4 for name in arrays}
        least = (whole.high / 4 - whole.low / 4) * LEVELS / 255
        unclear = [name for name, each in values.items() if not each.size or 0 < np.ptp(each) < least]
    return [name for name in arrays if (name in unclear) != ("x_train" in unclear)]


def _to_8_bits(whole: Range, limits: Limits, values: np.ndarray) -> str | None:
    """A rule for all parts, so that they keep the same units; in float64, so that nothing wraps round or overflows.

    None if no rule is found that leaves most of the values apart.
    """
    values, text = inside(limits, values), "{0}.astype(float)"
    if limits != ALL:
        median = float(np.percentile(values, 50, method="nearest"))
        none = [f"({text} {'<>'[side]} {limit!r})" for side, limit in enumerate(limits) if np.isfinite(limit)]
        text = f"np.where({' | '.join(none)}, {median!r}, {text})"
    low, high = whole.low, whole.high
    most_low, most_high = map(float, np.percentile(values, (1, 99), method="nearest"))
    if whole.factor and (whole.whole or (high - low) * whole.factor >= LEVELS):
        low, high = 0.0, 255.0 / whole.factor
    elif 0 < most_high - most_low < high / _STRETCHED - low / _STRETCHED:
        # A few values would leave all others a few levels.
        low, high, text = most_low, most_high, f"{text}.clip({most_low!r}, {most_high!r})"
    else:
        # Such as -9999 with values everywhere between, where images were scaled.
        between = values[(values > low) & (values < high)]
        quarter, three = map(float, np.percentile(between, (25, 75), method="nearest")) if between.size else (low, high)
        far = _STRETCHED * (three - quarter)
        if 0 < far < max((most_low == low) * (quarter - low), (most_high == high) * (high - three)):
            return None
    if not np.isfinite(high - low):
        low, high, text = low / 4, high / 4, f"({text} / 4)"
    shifted = f"({text} {'-' if low > 0 else '+'} {abs(low)!r})" if low else text
    return f"np.round({shifted} / {high - low!r} * 255).astype(np.uint8)"


def _check_finite(arrays: dict[str, np.ndarray], names: Collection[str]) -> None:
    shares = {name: _finite(arrays[name]) for name in names if arrays[name].dtype.kind == "f"}
    bad = [name for name, share in shares.items() if (share < 1).any()]
    if not bad:
        return
    wrong = bad[0]
    values, some = arrays[wrong], shares[wrong] < 1
    count = sum(int(np.count_nonzero(~np.isfinite(part))) for part in parts(values))
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
    finite = np.concatenate([part[np.isfinite(part)] for part in parts(arrays["x_train"])])
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
    return np.concatenate([np.isfinite(part).reshape(len(part), -1).mean(1) for part in parts(images)])
