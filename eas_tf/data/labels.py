"""Which class numbers a user's labels stand for; what is not clear is refused."""

from collections.abc import Collection
from typing import TypeAlias

import numpy as np

from eas_tf.data.mending import program, rows, without
from eas_tf.errors import InvalidData
from eas_tf.text import printable

Arrays: TypeAlias = dict[str, np.ndarray]


def classes(arrays: Arrays) -> tuple[Arrays, tuple[str, ...]]:
    """The arrays with class numbers `[n]`, from 0 and without gaps, and the names of the classes.

    Words are sorted. Whole numbers stay as they are, also where they are written as floats or words, and booleans
    are 0 and 1.

    Raises:
        InvalidData: If they are no classes, or some of the validation or test images are of other ones.
    """
    names = [name for name in arrays if name.startswith("y_")]
    _check_one_label(arrays, names)
    labels = {name: _as_words_or_numbers(arrays, name) for name in names}
    words = {each.dtype.kind == "U" for each in labels.values()} == {True}
    if not words and any(each.dtype.kind == "U" for each in labels.values()):
        unlike = [name for name in names if (labels[name].dtype.kind == "U") != (labels["y_train"].dtype.kind == "U")]
        left = program(without(arrays, *(name[2:] for name in unlike)))
        raise InvalidData(
            f"{unlike[0]}: expected labels as in y_train; save the same ones, or leave these images out: run {left}. "
            f"Received: {arrays['y_train'].dtype} y_train, {arrays[unlike[0]].dtype} {unlike[0]}"
        )
    if words and (numbers := _numerals(labels)) is not None:
        labels, words = numbers, False
    present, counts = np.unique(labels["y_train"], return_counts=True)
    mend = _renumbering(arrays, labels, present[counts > 1], words=words)
    if not words and present[0] < 0:
        raise InvalidData(f"y_train: expected labels from 0; {mend}. Received: {present[0]}")
    if len(present) < 2:
        raise InvalidData(f"y_train: expected at least two classes. Received: only label {_shown(present[0])}")
    if not words and present[-1] != len(present) - 1:
        missing = np.flatnonzero(present != np.arange(len(present)))[0]
        raise InvalidData(
            f"y_train: expected every label from 0 to the largest, {present[-1]}; {mend}. "
            f"Received: no image with label {missing}"
        )
    if counts.min() < 2 and "y_val" not in labels:
        raise InvalidData(
            f"y_train: expected at least two images of each class, one to train on and one to hold out; "
            f"{mend}. Received: one image with label {_shown(present[counts.argmin()])}"
        )
    for name in names:
        if (known := np.isin(labels[name], present)).all():
            continue
        other = labels[name][~known]
        listed = ", ".join(map(_shown, present[:10])) if words else f"0 to {len(present) - 1}"
        shown = _shown(min(other) if min(other) < present[0] else max(other))
        left = program(without(arrays, name[2:]))
        if known.any():
            known_rows = rows(arrays, name[2:], "known")
            left = program(arrays, f"known = np.isin({name}, y_train).ravel()", **known_rows)
        raise InvalidData(
            f"{name}: expected labels of the training images, {listed}; to leave the others out, run {left}. "
            f"Received: {shown}"
        )
    named = present.astype(bool) if arrays["y_train"].dtype.kind == "b" else present if words else present[:0]
    labels = {name: np.searchsorted(present, each) for name, each in labels.items()}
    return arrays | labels, tuple(map(str, named.tolist()))


def _shown(label: object) -> str:
    return repr(printable(label, 40)) if isinstance(label, str) else str(label)


def _check_one_label(arrays: Arrays, names: Collection[str]) -> None:
    """Refuse labels in rows of several."""
    several = [name for name in names if arrays[name].ndim == 2 and arrays[name].shape[1] != 1]
    if not several:
        return
    name, labels = several[0], arrays[several[0]]
    received = f"Received: {labels.dtype} {list(labels.shape)}"
    sums = np.concatenate([arrays[each].sum(axis=1) for each in several])
    if np.allclose(sums.astype(float), 1) and all(arrays[each].min() >= 0 for each in several):
        argmax = program(arrays, **{each: f"{each}.argmax(axis=1)" for each in several})
        raise InvalidData(
            f"{name}: expected one label an image, [n] or [n, 1]; of one-hot labels, run {argmax}. {received}"
        )
    first = [f"{each[2:]} = {each}.astype(float).sum(1) == 1" for each in several]
    changed: dict[str, str] = {}
    for each in several:
        changed |= rows(arrays, each[2:], each[2:]) | {each: f"{each}[{each[2:]}].argmax(1)"}
    advice = "save one class number an image"
    if all((arrays[each].astype(float).sum(1) == 1).any() for each in several):
        advice = f"to keep the images with one label, run {program(arrays, *first, **changed)}"
    raise InvalidData(
        f"{name}: expected one label an image, [n] or [n, 1], because a network ends with a softmax over classes that "
        f"exclude each other; {advice}. {received}, {sums.min():g} to {sums.max():g} labels an image"
    )


def _as_words_or_numbers(arrays: Arrays, name: str) -> np.ndarray:
    labels = arrays[name].reshape(-1)
    if labels.dtype.kind == "S":
        return np.char.decode(labels, "utf-8", "backslashreplace")
    if labels.dtype.kind == "b":
        return labels.astype(np.int64)
    if labels.dtype.kind != "f":
        return labels
    if not np.isfinite(labels).all():
        run = program(arrays, f"known = np.isfinite({name}).ravel()", **rows(arrays, name[2:], "known"))
        raise InvalidData(
            f"{name}: expected a label for each image; to leave out images without one, run {run}. Received: "
            f"{int((~np.isfinite(labels)).sum()):,} of {len(labels):,} labels NaN or infinite"
        )
    if not (labels == np.rint(labels)).all() or abs(labels).max(initial=0) >= 2**53:
        repeated = len(np.unique(labels)) <= len(labels) // 2
        run = program(arrays, **_texts({each: arrays[each] for each in arrays if each.startswith("y_")}))
        advice = f"if each value is a class, run {run}" if repeated else "measurements cannot be learned"
        raise InvalidData(
            f"{name}: expected classes, whole numbers or words; {advice}. Received: {labels.dtype} from "
            f"{labels.min():.6g} to {labels.max():.6g}"
        )
    return labels.astype(np.int64)


def _texts(labels: Arrays) -> dict[str, str]:
    """What makes words of all labels, the same of equal ones: 1 is "1", but 1.0 is "1.0"; 0.3 has other bits in 32.

    Nor is 0.1 + 0.2 equal to 0.3 but in fewer bits, which are chosen if they keep the classes of each part apart.
    """
    numbers = {name: each for name, each in labels.items() if each.dtype.kind in "biuf"}
    least = min((each.dtype for each in numbers.values() if each.dtype.kind == "f"), key=lambda each: each.itemsize)
    parts = [np.unique(each[np.isfinite(each)].astype(float)) for each in numbers.values()]
    together, single = np.unique(np.concatenate(parts)), float(np.finfo(np.float32).eps)
    eps, chosen = float(np.finfo(least).eps), least.name
    expected = [_apart(together, max(eps, single)), *(_apart(each, eps) for each in parts)]
    for name in (least.name, "float32", "float16"):
        with np.errstate(over="ignore"):
            counts = [len(np.unique(each.astype(name))) for each in (together, *parts)]
        # Larger numbers are exact: those of cases, not results.
        if counts == expected and abs(together).max() < 2**53:
            chosen = name
            break
    return {name: f"{name}{f'.astype(np.{chosen})' if name in numbers else ''}.astype(str)" for name in labels}


def _apart(values: np.ndarray, eps: float) -> int:
    """How many of ascending values differ by more than errors of rounding."""
    return len(values[:1]) + int(np.count_nonzero(np.diff(values) > 4 * eps * abs(values[1:])))


def _numerals(labels: Arrays) -> Arrays | None:
    """Class numbers that are written as words, if they are 0, 1, 2 ... without gaps: as words, 10 is before 2."""
    present = np.unique(labels["y_train"]).tolist()
    if sorted(present) != sorted(map(str, range(len(present)))):
        return None
    known = all(np.isin(each, present).all() for each in labels.values())
    return {name: each.astype(np.int64) for name, each in labels.items()} if known else None


def _renumbering(arrays: Arrays, labels: Arrays, kept: np.ndarray, *, words: bool) -> str:
    """What leaves out classes of one image, and renumbers all others, `kept`, in their order."""
    if not len(kept):
        return "save classes that images share: here each image has a label of its own"
    number = "{0}[{1}]" if words else "np.searchsorted(u, {0}[{1}])"
    first = ["u, n = np.unique(y_train, return_counts=True)", "u = u[n > 1]"]
    changed: dict[str, str] = {}
    parts = [name[2:] for name in labels if np.isin(labels[name], kept).any()]
    for part in parts:
        first.append(f"{part} = np.isin(y_{part}, u).ravel()")
        changed |= rows(arrays, part, part) | {f"y_{part}": number.format(f"y_{part}", part)}
    saved = program([name for name in arrays if name in changed], *first, **changed)
    return f"to {'leave classes of one image out' if words else 'renumber them'}, run {saved}"
