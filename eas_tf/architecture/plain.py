"""Plain convolutional networks as values: the EAS paper's first search space.

A plain network is a chain of blocks. A pooling layer closes each convolutional block; the fully connected layers
are the last block, and a softmax classifier closes the network.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import pairwise
from math import prod
from typing import Any, Self

from eas_tf.architecture.layers import Conv, Dense, Layer, Pool, Shape, Softmax
from eas_tf.errors import InvalidArchitecture

#: A string with more layers is refused before it is read.
MAX_LAYERS = 500

_NOTATION: dict[str, tuple[type[Layer], str]] = {
    "C": (Conv, "C(filters,kernel,stride)"),
    "P": (Pool, "P(size,stride,MAX) or P(size,stride,AVG)"),
    "FC": (Dense, "FC(units)"),
    "SM": (Softmax, "SM(classes)"),
}
_ARGUMENTS = {
    Conv: re.compile(r"([0-9]{1,9}),([0-9]{1,9}),([0-9]{1,9})"),
    Pool: re.compile(r"([0-9]{1,9}),([0-9]{1,9}),(MAX|AVG)"),
    Dense: re.compile(r"([0-9]{1,9})"),
    Softmax: re.compile(r"([0-9]{1,9})"),
}
#: Which layers may follow which; a network starts with a convolution.
_FOLLOWERS: dict[type[Layer], tuple[type[Layer], ...]] = {
    Conv: (Conv, Pool, Dense, Softmax),
    Pool: (Conv, Dense, Softmax),
    Dense: (Dense, Softmax),
    Softmax: (),
}
_LAYER = re.compile(r"([A-Za-z]+)\(([^()]*)\)", re.ASCII)
#: Networks of a space share a few dozen layers, and the environment formats all of a network's in every step.
_notation = lru_cache(maxsize=4096)(str)
#: What may stand between layers and numbers. Python counts control characters among white space too.
_BLANKS = " \t\r\n"
_SEPARATOR = re.compile(rf"[{_BLANKS}]*,[{_BLANKS}]*")


@dataclass(frozen=True)
class PlainCNN:
    """A plain network on images of one size. Equal if and only if the layers and the image size are equal.

    Attributes:
        layers: From the first convolution to the softmax classifier.
        input_shape: Height, width and channels of the images.
        shapes: The shape that leaves each layer, in the order of `layers`.
        parameter_counts: The number of trainable weights of each layer, batch norm included.
        parameter_count: The number of trainable weights, exactly as Keras counts them.
    """

    layers: tuple[Layer, ...]
    input_shape: Shape = (32, 32, 3)
    shapes: tuple[Shape, ...] = field(init=False, repr=False, compare=False)
    parameter_counts: tuple[int, ...] = field(init=False, repr=False, compare=False)
    parameter_count: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_order(self.layers)
        # Checking the shapes computes them, and the search needs the count of every network that it makes.
        shapes = _checked_shapes(self.layers, self.input_shape)
        before = (self.input_shape, *shapes[:-1])
        counts = tuple([layer.parameter_count(shape) for layer, shape in zip(self.layers, before, strict=True)])
        for name, value in (("shapes", shapes), ("parameter_counts", counts), ("parameter_count", sum(counts))):
            object.__setattr__(self, name, value)

    @classmethod
    def parse(cls, text: str, input_shape: Sequence[int] = (32, 32, 3)) -> Self:
        """Read the paper's notation: `C(16,3,1), P(2,2,MAX), FC(256), SM(10)`. The inverse of `str`.

        Args:
            text: Layers separated by commas; white space between them is free.
            input_shape: Height, width and channels of the images.

        Raises:
            InvalidArchitecture: Naming the position in `text` and what was expected there.
        """
        height, width, channels = input_shape
        return cls(tuple(_read_layers(text)), (height, width, channels))

    def __str__(self) -> str:
        return ", ".join(map(_notation, self.layers))

    @property
    def multiply_adds(self) -> int:
        """Multiplications with a weight, each with its addition, for one image; batch norm is left out."""
        total = 0
        for index, (layer, shape) in enumerate(zip(self.layers, self.shapes, strict=True)):
            before = self.shape_before(index)
            if isinstance(layer, Conv):
                total += layer.kernel**2 * before[-1] * prod(shape)
            elif isinstance(layer, Dense | Softmax):
                total += prod(before) * prod(shape)
        return total

    def shape_before(self, layer: int) -> Shape:
        """The shape that reaches layer number `layer`, which may be one past the last."""
        return self.shapes[layer - 1] if layer else self.input_shape

    @property
    def classes(self) -> int:
        """The number of classes that the network tells apart."""
        return self.shapes[-1][-1]

    @cached_property
    def blocks(self) -> tuple[range, ...]:
        """The layers of each block that can be widened, as ranges of indices into `layers`.

        One range a pooling layer, without the pooling layer itself, then the fully connected block (possibly empty),
        without the classifier.
        """
        blocks, start = [], 0
        for index, layer in enumerate(self.layers):
            if type(layer) is Pool:
                blocks.append(range(start, index))
                start = index + 1
        # Without pooling after the last convolution, flattening is what closes its block.
        convolutions = sum(isinstance(layer, Conv) for layer in self.layers[start:])
        if convolutions:
            blocks.append(range(start, start + convolutions))
        return (*blocks, range(start + convolutions, len(self.layers) - 1))


def width_of(layer: Layer) -> int | None:
    """The filters or units of a layer; None for a layer without a width that can be chosen."""
    if isinstance(layer, Conv):
        return layer.filters
    return layer.units if isinstance(layer, Dense) else None


def with_width(layer: Layer, width: int) -> Layer:
    """The layer with other filters or units; it must have a width."""
    return Conv(width, layer.kernel, layer.stride) if isinstance(layer, Conv) else Dense(width)


def _read_layers(text: str) -> Iterator[Layer]:
    position, end = len(text) - len(text.lstrip(_BLANKS)), len(text.rstrip(_BLANKS))
    expected: tuple[type[Layer], ...] = (Conv,)
    for _ in range(MAX_LAYERS):
        layer, position = _read_layer(text, position, expected)
        yield layer
        expected = _FOLLOWERS[type(layer)]
        if position >= end and not expected:
            return
        separator = _SEPARATOR.match(text, position)
        if separator is None:
            raise _syntax_error(text, position, "a comma and " + _forms(expected) if expected else "the end")
        position = separator.end()
    raise InvalidArchitecture(f"A layer string may have at most {MAX_LAYERS} layers. Shorten it.")


def _forms(kinds: Sequence[type[Layer]]) -> str:
    return ", ".join(form for kind, form in _NOTATION.values() if kind in kinds) or "the end"


def _read_layer(text: str, position: int, expected: Sequence[type[Layer]]) -> tuple[Layer, int]:
    match = _LAYER.match(text, position)
    if match is None or match[1] not in _NOTATION or _NOTATION[match[1]][0] not in expected:
        raise _syntax_error(text, position, _forms(expected))
    kind, form = _NOTATION[match[1]]
    arguments = _ARGUMENTS[kind].fullmatch(",".join(part.strip(_BLANKS) for part in match[2].split(",")))
    if arguments is None:
        raise _syntax_error(text, position, form)
    values: list[Any] = [int(value) if value.isdigit() else value for value in arguments.groups()]
    try:
        return kind(*values), match.end()
    except InvalidArchitecture as error:
        raise InvalidArchitecture(f"At position {position} of the layer string: {error}") from None


def _syntax_error(text: str, position: int, expected: str) -> InvalidArchitecture:
    received = repr(text[position : position + 20]) if position < len(text) else "the end of the string"
    return InvalidArchitecture(f"At position {position} of the layer string: expected {expected}. Received: {received}")


def _check_order(layers: Sequence[Layer]) -> None:
    if not layers or type(layers[0]) is not Conv:
        raise InvalidArchitecture("A plain network starts with a convolution, C(filters,kernel,stride).")
    if type(layers[-1]) is not Softmax:
        raise InvalidArchitecture("A plain network ends with its classifier, SM(classes).")
    for index, (layer, follower) in enumerate(pairwise(layers)):
        if type(follower) not in _FOLLOWERS[type(layer)]:
            raise InvalidArchitecture(
                f"Layer {index + 1}, {follower}, cannot follow {layer}: a plain network is convolutions and single "
                "pools in turn, then fully connected layers, then one classifier."
            )


def _checked_shapes(layers: Sequence[Layer], input_shape: Shape) -> tuple[Shape, ...]:
    if min(input_shape) < 1:
        raise InvalidArchitecture(f"Images have a positive height, width and channels. Received: {input_shape}")
    shapes, before = [], input_shape
    for index, layer in enumerate(layers):
        shape = layer.output_shape(before)
        if type(layer) is Pool and min(shape) < 1:
            raise InvalidArchitecture(
                f"Layer {index}, {layer}, needs a map of at least {layer.size} pixels a side, but a {before[0]}x"
                f"{before[1]} map reaches it from {input_shape[0]}x{input_shape[1]} images. Use larger images or "
                "fewer pools."
            )
        shapes.append(shape)
        before = shape
    return tuple(shapes)
