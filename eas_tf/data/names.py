"""What the arrays of a user's file are called: by us, and by others."""

import re
from collections.abc import Collection, Mapping

from eas_tf.data.mending import program
from eas_tf.errors import InvalidData

KEYS = (
    "x_train and y_train, and optionally x_val and y_val, x_test and y_test, and groups_train, groups_val and "
    "groups_test"
)
PARTS = ("train", "val", "test")

_KINDS = {"x": "x", "images": "x", "y": "y", "labels": "y", "groups": "groups"}
_PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
#: Names that a message lists, and characters that it shows of each.
_SHOWN, _LONGEST = 12, 40


def own_names(names: Collection[str]) -> dict[str, str]:
    """For each array by our name, such as `x_val`, what the file calls it, such as `val_images` or `X_valid`.

    Raises:
        InvalidData: If an array is unknown, given twice, or of no use without another one that is missing.
    """
    own: dict[str, str] = {}
    unknown = []
    for name in names:
        ours = _ours(name)
        if ours is None or ours in own:
            unknown.append(name)
        else:
            own[ours] = name
    missing = {name: needed for name in own for needed in _needed(name) if needed not in own}
    if unknown or missing or "x_train" not in own:
        advice, received = _advice(own, unknown, missing), _listed(names) or "nothing"
        raise InvalidData(f"Expected the arrays {KEYS}; {advice}. Received: {received}")
    return own


def in_own_names(text: str, own: Mapping[str, str]) -> str:
    """A message with the file's own names of arrays, but for the names under which a new file is to hold them."""
    known = "|".join(name for name in own if own[name] != name)
    return re.sub(rf"\b({known})\b(?!=[^=])", lambda found: own[found[0]], text) if known else text


def _ours(name: str) -> str | None:
    words = name.lower().split("_")
    if words == ["groups"]:
        return "groups_train"
    for kind, part in (words, words[::-1]) if len(words) == 2 else ():
        if kind in _KINDS and part in _PARTS:
            return f"{_KINDS[kind]}_{_PARTS[part]}"
    return None


def _needed(name: str) -> tuple[str, ...]:
    """What an array is of no use without."""
    kind, part = name.split("_")
    if kind == "groups":
        return f"x_{part}", "groups_train"
    return (f"y_{part}" if kind == "x" else f"x_{part}",)


def _advice(own: Mapping[str, str], unknown: Collection[str], missing: Mapping[str, str]) -> str:
    left = {name: own[name] for name in own if name not in missing}
    while lost := [name for name in left if any(needed not in left for needed in _needed(name))]:
        left = {name: left[name] for name in left if name not in lost}
    if "x_train" not in left:
        return "rename yours"
    without = f"to go on without, run {in_own_names(program(left), own)}"
    if unknown:
        return f"rename {_listed(unknown)}, which is unknown or given twice; {without}"
    return f"{', '.join(sorted(set(missing.values())))} is missing; {without}"


def _listed(names: Collection[str]) -> str:
    return ", ".join(repr(name if len(name) <= _LONGEST else f"{name[:_LONGEST]}...") for name in [*names][:_SHOWN])
