"""The types of a configuration's fields: one check for all, made from the annotations. Imports no NumPy."""

import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import fields
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from eas_tf.errors import InvalidConfiguration
from eas_tf.text import printable


def _path(value: str | os.PathLike[str]) -> Path:
    if not os.fspath(value):  # which `Path` takes for the working directory
        raise TypeError
    return Path(value)


#: For each type: the types of what is taken for one of its values, what makes it one, and what messages call it.
_TAKEN: dict[Any, tuple[tuple[type, ...], Callable[[Any], Any], str]] = {
    bool: ((bool,), bool, "True or False"),
    int: ((int,), int, "a whole number"),
    float: ((float, int), float, "a number"),
    str: ((str, os.PathLike), os.fsdecode, "a text"),
    Path: ((str, os.PathLike), _path, "a path"),
    NoneType: ((NoneType,), lambda none: none, "None"),
}


def check_fields(config: Any) -> None:
    """Refuse values that are not of the annotated types, and give those that mean one that type.

    A whole number is a number, NumPy's numbers are Python's, texts are paths and paths are texts, and a list is a
    tuple. True is no number. Annotations may be combined from these types, `Literal`, and `tuple[..., ...]`.

    Args:
        config: A dataclass, also a frozen one, in its `__post_init__`.

    Raises:
        InvalidConfiguration: Naming the first such field, what was expected, and what was received.
    """
    for name, annotation in _annotations(config.__class__).items():
        value = getattr(config, name)
        try:
            object.__setattr__(config, name, _converted(annotation, value))
        except (TypeError, OverflowError):
            *others, last = _expected(annotation)
            expected = f"{', '.join(others)}{',' * (len(others) > 1)} or {last}" if others else last
            raise InvalidConfiguration(f"`{name}` must be {expected}. Received: {printable(repr(value))}") from None


def check_names(given: Iterable[str], known: Collection[str], what: str) -> None:
    """Refuse a keyword argument that something does not have.

    Args:
        given: The names that are given.
        known: Those that there are.
        what: What has them, in words, with its article.

    Raises:
        InvalidConfiguration: With the nearest name, or all of them if none is near.
    """
    for name in given:
        if name not in known:
            near = [f"Did you mean `{each}`?" for each in get_close_matches(name, known, 1)]
            hint = near[0] if near else f"It has {', '.join(known)}."
            raise InvalidConfiguration(f"{what} has no option `{printable(name)}`. {hint}")


@cache
def _annotations(config: Any) -> dict[str, Any]:
    hints = get_type_hints(config)
    return {field.name: hints[field.name] for field in fields(config)}


def _converted(annotation: Any, value: Any) -> Any:
    """The value as one of the annotated type; a `TypeError` or `OverflowError` if it is none."""
    if hasattr(value, "shape") and hasattr(value, "tolist"):  # a number or an array of NumPy's
        value = value.tolist()
    kind, inner = get_origin(annotation), get_args(annotation)
    if kind in (Union, UnionType):
        for each in inner:
            try:
                return _converted(each, value)
            except (TypeError, OverflowError):
                continue
    elif kind is Literal:
        if type(value) in map(type, inner) and value in inner:
            return value
    elif kind is tuple:
        if isinstance(value, list | tuple):
            return tuple(_converted(inner[0], each) for each in value)
    else:
        types, make, _ = _TAKEN[annotation]
        if isinstance(value, types) and isinstance(value, bool) == (annotation is bool):  # True is an int to Python.
            return make(value)
    raise TypeError


def _expected(annotation: Any) -> list[str]:
    """What may be given, in words."""
    kind, inner = get_origin(annotation), get_args(annotation)
    if kind in (Union, UnionType):
        return [words for each in inner for words in _expected(each)]
    if kind is Literal:
        return [f'"{each}"' for each in inner]
    if kind is tuple:
        return [f"a list in which each is {' or '.join(_expected(inner[0]))}"]
    return [_TAKEN[annotation][-1]]
