"""Reading layer strings: layers in the paper's notation, `C(16,3,1)`, separated by commas."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise
from typing import Any

from eas_tf.architecture.layers import shared
from eas_tf.errors import InvalidArchitecture

#: A string with more layers is refused before it is read.
MAX_LAYERS = 500

#: An argument that is a number. With a limit, because Python reads long ones slowly.
NUMBER = "([0-9]{1,9})"

#: What may stand between layers and numbers. Python counts control characters among white space too.
BLANKS = " \t\r\n"

_SEPARATOR = re.compile(rf"[{BLANKS}]*,[{BLANKS}]*")
_LAYER = re.compile(r"(?:([0-9]{1,3})x)?([A-Za-z]+)\(([^()]*)\)", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Notation:
    """The layers of one kind of network, and in which order they come.

    Attributes:
        forms: For each name the layer's class, what is expected in words, and the pattern of its arguments.
        followers: Which layers may follow which; after one without followers the string ends.
        first: With which layers a string begins.
        order: The order in words, as errors tell it.
        repeated: Layers of which `3xD(12)` writes several.
    """

    forms: Mapping[str, tuple[type[Any], str, re.Pattern[str]]]
    followers: Mapping[type[Any], tuple[type[Any], ...]]
    first: tuple[type[Any], ...]
    order: str
    repeated: tuple[type[Any], ...] = ()

    def check_order(self, layers: Sequence[Any]) -> None:
        """Refuse layers in an order that no string has.

        Raises:
            InvalidArchitecture: Naming the first layer that is out of place, or what is missing behind the last one.
        """
        # Nearly all are right, and an environment asks after each move.
        if layers and self._neighbours.issuperset(pairwise([self.first, *map(type, layers), None])):
            return
        expected = self.first
        for index, layer in enumerate(layers):
            if type(layer) not in expected:
                place = f"follow {layers[index - 1]}" if index else "be the first"
                raise InvalidArchitecture(f"Layer {index}, {layer}, cannot {place}: {self.order}.")
            expected = self.followers[type(layer)]
        if expected:
            last = layers[-1] if layers else "no layers"
            raise InvalidArchitecture(f"Expected {self._expected(expected)} at the end: {self.order}. Received: {last}")

    @cached_property
    def _neighbours(self) -> frozenset[tuple[Any, Any]]:
        """Which types may follow which, with `first` before the first layer and None behind the last one."""
        between = {(layer, after) for layer, some in self.followers.items() for after in some or [None]}
        return frozenset(between | {(self.first, layer) for layer in self.first})

    def read(self, text: str, position: int = 0) -> list[Any]:
        """The layers of a string, from `position` on.

        Raises:
            InvalidArchitecture: Naming the position in `text` and what was expected there.
        """
        rest, end = text[position:], len(text.rstrip(BLANKS))
        position += len(rest) - len(rest.lstrip(BLANKS))
        layers: list[Any] = []
        for several, after in self._runs(text, position):
            layers += several
            finished = after >= end and not self.followers[type(layers[-1])]
            if len(layers) > MAX_LAYERS or (len(layers) == MAX_LAYERS and not finished):
                break
            if finished:
                return layers
        raise InvalidArchitecture(f"A layer string may have at most {MAX_LAYERS} layers. Shorten it.")

    def written(self, layers: Sequence[Any]) -> str:
        """The layers as a string; runs of equal ones as `3xD(12)`. The inverse of `read`."""
        runs = ((layer, sum(1 for _ in run)) for layer, run in groupby(layers))
        return ", ".join([f"{times}x{layer}" if times > 1 else str(layer) for layer, times in runs])

    def _runs(self, text: str, position: int) -> Iterator[tuple[list[Any], int]]:
        """Each layer, or several in one, and the position after it."""
        expected = self.first
        while True:
            several, position = self._read_layer(text, position, expected)
            yield several, position
            expected = self.followers[type(several[0])]
            separator = _SEPARATOR.match(text, position)
            if separator is None:
                what = "a comma and " + self._expected(expected) if expected else "the end"
                raise syntax_error(text, position, what)
            position = separator.end()

    def _expected(self, kinds: Sequence[type[Any]]) -> str:
        return ", ".join(form for kind, form, _ in self.forms.values() if kind in kinds) or "the end"

    def _read_layer(self, text: str, position: int, expected: Sequence[type[Any]]) -> tuple[list[Any], int]:
        match = _LAYER.match(text, position)
        if match is None or match[2] not in self.forms or self.forms[match[2]][0] not in expected:
            raise syntax_error(text, position, self._expected(expected))
        kind, form, pattern = self.forms[match[2]]
        arguments = pattern.fullmatch(",".join(part.strip(BLANKS) for part in match[3].split(",")))
        times = 1 if match[1] is None else int(match[1]) if kind in self.repeated else 0
        if arguments is None or times == 0:
            raise syntax_error(text, position, form)
        given = [value for value in arguments.groups() if value is not None]
        values: list[Any] = [int(value) if value.isdigit() else value for value in given]
        try:
            return [shared(kind, *values)] * times, match.end()
        except InvalidArchitecture as error:
            raise InvalidArchitecture(f"At position {position} of the layer string: {error}") from None


def syntax_error(text: str, position: int, expected: str) -> InvalidArchitecture:
    """What to raise where something else was expected."""
    received = repr(text[position : position + 20]) if position < len(text) else "the end of the string"
    return InvalidArchitecture(f"At position {position} of the layer string: expected {expected}. Received: {received}")
