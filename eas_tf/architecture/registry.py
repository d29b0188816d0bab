"""What is known by name: kinds of networks, by the headers of their layer strings, and search spaces."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from math import inf
from numbers import Integral, Real
from operator import le
from typing import Any

from eas_tf.architecture import cells, densenet, plain
from eas_tf.architecture.architecture import Architecture
from eas_tf.architecture.decisions import Chain, Coins
from eas_tf.architecture.notation import BLANKS
from eas_tf.architecture.space import AnySpace, NetworkKind, Space, Token
from eas_tf.errors import InvalidArchitecture, InvalidConfiguration
from eas_tf.naming import check_free
from eas_tf.text import printable

#: The named spaces.
SPACES: dict[str, AnySpace] = {}

#: What is observed is int32.
_MOST = 2**31 - 1

_OF_NETWORKS = ("layers", "input_shape", "shapes", "parameter_count", "multiply_adds", "classes")

_READERS: dict[str, Callable[[str, Sequence[int]], Architecture]] = {}

_HEADER = re.compile(rf"[{BLANKS}]*([^():,]*?)[{BLANKS}]*:")


def register_space(space: AnySpace) -> None:
    """Make a space known by its name.

    Raises:
        InvalidConfiguration: If another space has that name, or it lacks what a `Space` has.
    """
    check_space(space)
    check_free(SPACES, space.name, space, "a space")
    SPACES[space.name] = space


def register_kind(kind: NetworkKind) -> None:
    """Make a kind of network known: its layer strings and its spaces. If one is refused, none is known.

    Raises:
        InvalidConfiguration: If it is not as `NetworkKind` says, another kind has one of its headers, or another space
            one of its names.
    """
    _check_kind(kind)
    headers = kind.headers or ("",)
    for header in headers:
        check_free(_READERS, header, kind.parse, "a kind of network with the header")
    for space in kind.spaces:
        check_space(space)
        check_free(SPACES, space.name, space, "a space")
    _READERS.update(dict.fromkeys(headers, kind.parse))
    SPACES.update({space.name: space for space in kind.spaces})


def _check_kind(kind: Any) -> None:
    if not isinstance(kind, NetworkKind) or not callable(kind.parse) or not isinstance(kind.spaces, list | tuple):
        raise InvalidConfiguration(
            "A kind of network is a NetworkKind(parse=..., headers=(...,), spaces=(...,)) whose parse is a function. "
            f"Received: {printable(kind)}"
        )
    if not _texts(kind.headers) or not all(_HEADER.fullmatch(f"{header}:") for header in kind.headers):
        raise InvalidConfiguration(
            "The headers of a kind of network are a list of texts without brackets, commas and colons. Received: "
            f"{printable(repr(kind.headers))}"
        )
    names = [getattr(space, "name", None) for space in kind.spaces]
    if twice := [name for place, name in enumerate(names) if name in names[:place]]:
        raise InvalidConfiguration(f"Spaces of a kind of network have different names. Received twice: {twice[0]!r}")


def check_space(space: Any) -> None:
    """Refuse what is no space.

    Raises:
        InvalidConfiguration: Naming what it lacks.
    """
    if isinstance(space, type):
        raise InvalidConfiguration(f"A space is an object, not its class: {space.__name__}(...).")
    lacking = [name for name in sorted(_ATTRIBUTES) if not hasattr(space, name)]
    if lacking:
        raise InvalidConfiguration(f"A space has {', '.join(lacking)}; see `Space`. Received: {printable(space, 60)}")
    if data := [name for name in sorted(_METHODS) if not callable(getattr(space, name))]:
        raise InvalidConfiguration(f"Methods of a space are {', '.join(data)}. Received: {printable(space, 60)}")
    if not _texts((space.name,)):
        raise InvalidConfiguration(
            f"`name` of a space is a text. Received from {printable(space, 60)}: {printable(repr(space.name), 60)}"
        )
    for name, numbers in (
        ("steps", (space.steps,)),
        ("max_layers", (space.max_layers,)),
        ("token_limits", space.token_limits),
    ):
        if not _whole(numbers, least=1, most=_MOST):
            raise InvalidConfiguration(
                f"`{name}` of a space is whole numbers from 1 to {_MOST:,}. Received from {printable(space, 60)}: "
                f"{printable(getattr(space, name), 60)}"
            )
    _check_kinds(space)


def _check_kinds(space: Any) -> None:
    kinds = space.kinds
    if not isinstance(kinds, Mapping) or not kinds or not all(isinstance(kind, str) for kind in kinds):
        raise InvalidConfiguration(
            "`kinds` of a space is a dictionary with a Chain or Coins by name. Received from "
            f"{printable(space, 60)}: {printable(kinds, 60)}"
        )
    for kind, shape in kinds.items():
        if not isinstance(shape, Chain | Coins):
            raise InvalidConfiguration(f"A kind of decision is a Chain or Coins. Received for {kind!r}: {shape!r}")
        sizes = _whole(shape.sizes if isinstance(shape, Chain) else (shape.number,), least=1, most=_MOST)
        if not sizes or (isinstance(shape, Chain) and (not _texts(shape.names) or len(shape.names) != len(sizes))):
            raise InvalidConfiguration(
                "The sizes of a Chain, a name for each, and the number of Coins are whole numbers of at least 1. "
                f"Received for {kind!r}: {printable(shape)}"
            )


def _texts(values: Any) -> bool:
    """Whether these are several texts, none of them empty."""
    return isinstance(values, list | tuple) and all(isinstance(each, str) and each for each in values)


def _whole(numbers: Any, least: int, most: float = inf) -> tuple[int, ...]:
    """The numbers; none if one of them is not whole, below the least, or above the most."""
    each = tuple(numbers) if isinstance(numbers, Iterable) else ()
    return each if all(isinstance(one, Integral) and least <= int(one) <= most for one in each) else ()


def start_network(space: AnySpace, input_shape: Sequence[int], classes: int) -> Architecture:
    """The start network of a space, which may be a user's own; see `Space.start_network`.

    Raises:
        InvalidConfiguration: If it is no network.
    """
    network: Any = space.start_network(input_shape, classes)
    check_answer(space, "start_network", "a network", network, is_network(network))
    return network


def is_network(value: Any) -> bool:
    """Whether it has what environments ask of an `Architecture`."""
    # Properties are looked up in the class: some take a while to compute.
    kind = type(value)
    return kind is not type and all(hasattr(kind, name) or hasattr(value, name) for name in _OF_NETWORKS)


def token_of(space: AnySpace, layer: Any) -> Token:
    """A layer as numbers, as a space has them; see `Space.token`.

    Raises:
        InvalidConfiguration: If they are not within the limits that the space declares.
    """
    received, limits = space.token(layer), tuple(space.token_limits)
    token = _whole(received, least=0)
    is_inside = len(token) == len(limits) and token[0] > 0 and all(map(le, token, limits))
    check_answer(space, "token", f"whole numbers from 0 to {limits}, the first of them not 0", received, is_inside)
    return token


def distance_of(space: AnySpace, architecture: Architecture) -> float:
    """How far a network is from the space's optimum; see `Space.distance`.

    Raises:
        InvalidConfiguration: If it is not 0 or more.
    """
    distance: Any = space.distance(architecture)
    is_number: bool = isinstance(distance, Real)
    check_answer(space, "distance", "a number, 0 or more", distance, is_number and distance >= 0)
    return distance


def check_answer(space: AnySpace, method: str, expected: str, received: object, is_right: bool) -> None:
    """Refuse what a method of a user's own space gives.

    Raises:
        InvalidConfiguration: If it is not right.
    """
    if not is_right:
        raise InvalidConfiguration(
            f"`{method}` of a space gives {expected}. Received from the space {space.name!r}: {printable(received, 60)}"
        )


_ATTRIBUTES = {name for name in vars(Space) if not name.startswith("_")}
_METHODS = {name for name in _ATTRIBUTES if callable(vars(Space)[name])}


def space_named(name: str | AnySpace, max_parameters: int | None = None, **options: Any) -> AnySpace:
    """One of the named spaces, or a space itself.

    Args:
        name: Its name, or the space.
        max_parameters: A limit on trainable weights, if it has none of its own.
        options: Other fields of it to change, such as `schedule`; None leaves a field as it is.

    Raises:
        InvalidConfiguration: If there is none of that name, or it has no such option or value.
    """
    if not isinstance(name, str):
        check_space(name)
    elif name not in SPACES:
        near = "".join(f" Did you mean {each!r}?" for each in get_close_matches(name, SPACES, 1))
        raise InvalidConfiguration(f"`space` is one of {', '.join(SPACES)}. Received: {name!r}.{near}")
    space: Any = SPACES[name] if isinstance(name, str) else name
    changed = {key: value for key, value in {"max_parameters": max_parameters, **options}.items() if value is not None}
    known = [field.name for field in fields(space) if field.init] if is_dataclass(space) else []
    for option in changed:
        if option not in known:
            raise InvalidConfiguration(f"The space {space.name!r} has no `{option}`: it decides that itself.")
    return replace(space, **changed) if changed else space


def parse_architecture(text: str, input_shape: Sequence[int] = (32, 32, 3)) -> Architecture:
    """Read a layer string: a plain network's, or that of the kind that its header names, such as `DenseNet-BC: …`.

    Args:
        text: The layer string.
        input_shape: Height, width and channels of the images.

    Raises:
        InvalidArchitecture: Naming the position in `text` and what was expected there.
    """
    match = _HEADER.match(text)
    header = match[1] if match else ""
    if header not in _READERS or (match and not header):
        raise InvalidArchitecture(
            f"A layer string begins with its first layer, or with one of the headers "
            f"{', '.join(filter(None, _READERS))}. Received: {printable(header, 40)!r}"
        )
    return _READERS[header](text, input_shape)


# A kind of network is one folder, and one entry here.
for _kind in (plain.KIND, densenet.KIND, cells.KIND):
    register_kind(_kind)
