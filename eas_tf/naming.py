"""Registries: what is known by a name, and what may replace it."""

from typing import Any

from eas_tf.errors import InvalidConfiguration


def check_free(known: dict[str, Any], name: str, value: Any, what: str) -> None:
    """Refuse a name that something else has.

    A new version of the same class or function, as a notebook's cell makes it each time it is executed, may replace the
    old one; so may an object of such a class.

    Args:
        known: The registry.
        name: The name.
        value: What is to be known by it.
        what: What that is, in words, with its article.

    Raises:
        InvalidConfiguration: If something else has the name.
    """
    if name in known and known[name] != value and not _redefined(known[name], value):
        raise InvalidConfiguration(f"There is {what} {name!r} already: name yours otherwise.")


def register_maker(known: dict[str, Any], name: str, make: Any, what: str) -> None:
    """Make a class or function known by a name; the arguments are those of `check_free`.

    Raises:
        InvalidConfiguration: If something else has the name, it is empty, or what it stands for cannot be called.
    """
    if not isinstance(name, str) or not name or not callable(make):
        raise InvalidConfiguration(f"What makes {what} is a name and a function. Received: {name!r}, {make!r}")
    check_free(known, name, make, what)
    known[name] = make


def _redefined(old: Any, new: Any) -> bool:
    """Whether one is a new version of the other."""
    if not hasattr(old, "__qualname__") and not hasattr(new, "__qualname__"):
        old, new = type(old), type(new)  # Objects: two of one class are two different things.
    return old is not new and None not in _definition(old) and _definition(old) == _definition(new)


def _definition(value: Any) -> tuple[Any, ...]:
    """Where a class or function was defined; of a class's method also which class it is called on."""
    owner = getattr(value, "__self__", None)
    place = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    return (*place, *_definition(owner)) if isinstance(owner, type) else place
