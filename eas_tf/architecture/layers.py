"""The layers that an architecture's string is made of, as values.

A string such as `C(16,3,1)` is the notation of the EAS paper (Table 1). Each layer knows its own notation, how it
changes the shape of what passes through it, and how many weights it trains.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from numbers import Integral
from typing import Any, ClassVar, Literal, Protocol, Self, TypeAlias, TypeVar

from eas_tf.errors import IllegalTransformation, InvalidArchitecture

#: Height, width and channels of one feature map; a vector of n features is `(1, 1, n)`.
Shape: TypeAlias = tuple[int, int, int]

#: No layer may be wider, and no kernel or pool larger: checked before anything is allocated.
MAX_WIDTH = 65_536
MAX_KERNEL = 31
MAX_POOL = 1_024


#: What a layer is there for, whatever kind of network it is in.
Role: TypeAlias = Literal["features", "pooling", "vectors", "classifier"]


class AnyLayer(Protocol):
    """What the layers of all kinds of network have; `str` is the notation."""

    role: ClassVar[Role]
    """What it is there for."""
    unit: ClassVar[str]
    """What its width counts, in words; empty for a layer without one."""

    @property
    def words(self) -> str:
        """What it is, in words."""
        ...

    @property
    def width(self) -> int | None:
        """What Net2Wider can make more of: filters, units, a growth rate; None for a layer without such a width."""
        ...

    def with_width(self, width: int) -> Self:
        """The layer with another width; it must have one."""
        ...


AnyLayerT = TypeVar("AnyLayerT", bound=AnyLayer)


def with_wider_layer(layers: Sequence[AnyLayerT], layer: int, width: int) -> tuple[AnyLayerT, ...]:
    """The layers, number `layer` of them with more filters or units.

    Raises:
        IllegalTransformation: If there is no such layer, or it is not narrower than `width`.
    """
    received = f"Received: wider({layer},{width})"
    before = layers[layer].width if 0 <= layer < len(layers) else None
    if before is None:
        possible = [i for i, each in enumerate(layers) if each.width is not None]
        raise IllegalTransformation(f"Only the layers {possible} can be widened. {received}")
    if width <= before:
        raise IllegalTransformation(f"Widening layer {layer} takes more than the {before} that it has. {received}")
    return (*layers[:layer], layers[layer].with_width(width), *layers[layer + 1 :])


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """A layer that is what its notation says.

    Every step of an environment formats and looks up all layers of a network, and only few are new. So a layer writes
    its notation once, and is compared and hashed by it.
    """

    notation: str = field(init=False, repr=False)

    def _write(self, notation: str) -> None:
        """Keep the notation, before sizes are checked: errors name the layer by it."""
        object.__setattr__(self, "notation", notation)

    def __str__(self) -> str:
        return self.notation

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.notation == self.notation

    def __hash__(self) -> int:
        return hash(self.notation)


#: A layer of a class and sizes: the same object when it is asked for again, because networks share most layers.
shared: Callable[..., Any] = lru_cache(maxsize=4096, typed=True)(lambda layer, *sizes: layer(*sizes))


class WithoutWidth:
    """A layer that Net2Wider does not change."""

    __slots__ = ()
    unit: ClassVar[str] = ""
    width: ClassVar[None] = None

    def with_width(self, width: int) -> Self:
        """There is no width to change."""
        raise IllegalTransformation(f"{self} has no width. Received: {width}")


def check_size(layer: AnyLayer, what: str, value: int, limit: int) -> None:
    """Refuse a size of a layer that is no whole number from 1 to `limit`."""
    # Asking the abstract class takes longer than all else that a layer is made of.
    whole = type(value) is int or (isinstance(value, Integral) and not isinstance(value, bool))
    if not whole or not 1 <= value <= limit:
        number = "" if whole else "a whole number "
        raise InvalidArchitecture(f"{what} of {layer} must be {number}from 1 to {limit:,}. Received: {value!r}")


@dataclass(frozen=True, slots=True, eq=False)
class Conv(Written):
    """A convolution without bias, "same" padding, then batch norm, then ReLU."""

    role: ClassVar[Role] = "features"
    unit: ClassVar[str] = "filters"

    filters: int
    kernel: int
    stride: int = 1

    def __post_init__(self) -> None:
        self._write(f"C({self.filters},{self.kernel},{self.stride})")
        check_size(self, "The filters", self.filters, MAX_WIDTH)
        check_size(self, "The kernel", self.kernel, MAX_KERNEL)
        check_size(self, "The stride", self.stride, MAX_KERNEL)

    @property
    def width(self) -> int:
        """The filters."""
        return self.filters

    def with_width(self, width: int) -> Self:
        """With other filters."""
        return shared(type(self), width, self.kernel, self.stride)

    @property
    def words(self) -> str:
        """What it is, in words."""
        return f"a {self.kernel}x{self.kernel} convolution"

    def output_shape(self, shape: Shape) -> Shape:
        """The shape after this layer: height and width divided by the stride, rounded up."""
        return -(-shape[0] // self.stride), -(-shape[1] // self.stride), self.filters

    def parameter_count(self, shape: Shape) -> int:
        """Trainable weights: kernel `[k, k, in, out]`, and batch norm's gamma and beta."""
        return self.kernel**2 * shape[2] * self.filters + 2 * self.filters

    def multiply_adds(self, shape: Shape) -> int:
        """Multiplications with a weight, for one image."""
        return self.kernel**2 * shape[2] * prod(self.output_shape(shape))


@dataclass(frozen=True, slots=True, eq=False)
class Pool(WithoutWidth, Written):
    """A maximum or average over `size` x `size` windows, without padding. Closes a block."""

    role: ClassVar[Role] = "pooling"

    size: int
    stride: int
    kind: Literal["MAX", "AVG"]

    def __post_init__(self) -> None:
        self._write(f"P({self.size},{self.stride},{self.kind})")
        check_size(self, "The size", self.size, MAX_POOL)
        check_size(self, "The stride", self.stride, MAX_POOL)
        if self.kind not in ("MAX", "AVG"):
            raise InvalidArchitecture(f"A pooling layer is of kind MAX or AVG. Received: {self.kind!r}")

    @property
    def words(self) -> str:
        """What it is, in words."""
        return "a pooling layer"

    def output_shape(self, shape: Shape) -> Shape:
        """The shape after this layer; it is not positive if the map is smaller than the window."""
        height, width, channels = shape
        return (height - self.size) // self.stride + 1, (width - self.size) // self.stride + 1, channels

    def parameter_count(self, shape: Shape) -> int:  # noqa: ARG002 - the same call for every layer
        """Pooling trains nothing."""
        return 0

    def multiply_adds(self, shape: Shape) -> int:  # noqa: ARG002 - the same call for every layer
        """And multiplies with no weight."""
        return 0


@dataclass(frozen=True, slots=True, eq=False)
class Dense(Written):
    """A fully connected layer without bias, then batch norm, then ReLU. Flattens what reaches it."""

    role: ClassVar[Role] = "vectors"
    unit: ClassVar[str] = "units"

    units: int

    def __post_init__(self) -> None:
        self._write(f"FC({self.units})")
        check_size(self, "The units", self.units, MAX_WIDTH)

    @property
    def width(self) -> int:
        """The units."""
        return self.units

    def with_width(self, width: int) -> Self:
        """With other units."""
        return shared(type(self), width)

    @property
    def words(self) -> str:
        """What it is, in words."""
        return "a fully connected layer"

    def output_shape(self, shape: Shape) -> Shape:  # noqa: ARG002 - the same call for every layer
        """A vector of `units` features."""
        return 1, 1, self.units

    def parameter_count(self, shape: Shape) -> int:
        """Trainable weights: kernel `[in, units]`, and batch norm's gamma and beta."""
        return prod(shape) * self.units + 2 * self.units

    def multiply_adds(self, shape: Shape) -> int:
        """Multiplications with a weight, for one image."""
        return prod(shape) * self.units


@dataclass(frozen=True, slots=True, eq=False)
class Softmax(WithoutWidth, Written):
    """The classifier: a fully connected layer with bias, then softmax. Closes the network."""

    role: ClassVar[Role] = "classifier"

    classes: int

    def __post_init__(self) -> None:
        self._write(f"SM({self.classes})")
        check_size(self, "The classes", self.classes, MAX_WIDTH)

    @property
    def words(self) -> str:
        """What it is, in words."""
        return "a classifier"

    def output_shape(self, shape: Shape) -> Shape:  # noqa: ARG002 - the same call for every layer
        """A vector of `classes` probabilities."""
        return 1, 1, self.classes

    def parameter_count(self, shape: Shape) -> int:
        """Trainable weights: kernel `[in, classes]` and a bias for each class."""
        return (prod(shape) + 1) * self.classes

    def multiply_adds(self, shape: Shape) -> int:
        """Multiplications with a weight, for one image."""
        return prod(shape) * self.classes


Layer: TypeAlias = Conv | Pool | Dense | Softmax
