"""The layers that a plain network's string is made of, as values.

A string such as `C(16,3,1)` is the notation of the EAS paper (Table 1). Each layer knows its own notation, how it
changes the shape of what passes through it, and how many weights it trains.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from eas_tf.errors import InvalidArchitecture

#: Height, width and channels of one feature map; a vector of n features is `(1, 1, n)`.
Shape: TypeAlias = tuple[int, int, int]

#: No layer may be wider, and no kernel or pool larger: checked before anything is allocated.
MAX_WIDTH = 65_536
MAX_KERNEL = 31
MAX_POOL = 1_024


def _check(layer: "Layer", what: str, value: int, limit: int) -> None:
    if not 1 <= value <= limit:
        raise InvalidArchitecture(f"{what} of {layer} must be from 1 to {limit:,}. Received: {value}")


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution without bias, "same" padding, then batch norm, then ReLU."""

    filters: int
    kernel: int
    stride: int = 1

    def __post_init__(self) -> None:
        _check(self, "The filters", self.filters, MAX_WIDTH)
        _check(self, "The kernel", self.kernel, MAX_KERNEL)
        _check(self, "The stride", self.stride, MAX_KERNEL)

    def __str__(self) -> str:
        return f"C({self.filters},{self.kernel},{self.stride})"

    def output_shape(self, shape: Shape) -> Shape:
        """The shape after this layer: height and width divided by the stride, rounded up."""
        return -(-shape[0] // self.stride), -(-shape[1] // self.stride), self.filters

    def parameter_count(self, shape: Shape) -> int:
        """Trainable weights: kernel `[k, k, in, out]`, and batch norm's gamma and beta."""
        return self.kernel**2 * shape[2] * self.filters + 2 * self.filters


@dataclass(frozen=True, slots=True)
class Pool:
    """A maximum or average over `size` x `size` windows, without padding. Closes a block."""

    size: int
    stride: int
    kind: Literal["MAX", "AVG"]

    def __post_init__(self) -> None:
        _check(self, "The size", self.size, MAX_POOL)
        _check(self, "The stride", self.stride, MAX_POOL)
        if self.kind not in ("MAX", "AVG"):
            raise InvalidArchitecture(f"A pooling layer is of kind MAX or AVG. Received: {self.kind!r}")

    def __str__(self) -> str:
        return f"P({self.size},{self.stride},{self.kind})"

    def output_shape(self, shape: Shape) -> Shape:
        """The shape after this layer; it is not positive if the map is smaller than the window."""
        height, width, channels = shape
        return (height - self.size) // self.stride + 1, (width - self.size) // self.stride + 1, channels

    def parameter_count(self, shape: Shape) -> int:  # noqa: ARG002 - the same call for every layer
        """Pooling trains nothing."""
        return 0


@dataclass(frozen=True, slots=True)
class Dense:
    """A fully connected layer without bias, then batch norm, then ReLU. Flattens what reaches it."""

    units: int

    def __post_init__(self) -> None:
        _check(self, "The units", self.units, MAX_WIDTH)

    def __str__(self) -> str:
        return f"FC({self.units})"

    def output_shape(self, shape: Shape) -> Shape:  # noqa: ARG002 - the same call for every layer
        """A vector of `units` features."""
        return 1, 1, self.units

    def parameter_count(self, shape: Shape) -> int:
        """Trainable weights: kernel `[in, units]`, and batch norm's gamma and beta."""
        return shape[0] * shape[1] * shape[2] * self.units + 2 * self.units


@dataclass(frozen=True, slots=True)
class Softmax:
    """The classifier: a fully connected layer with bias, then softmax. Closes the network."""

    classes: int

    def __post_init__(self) -> None:
        _check(self, "The classes", self.classes, MAX_WIDTH)

    def __str__(self) -> str:
        return f"SM({self.classes})"

    def output_shape(self, shape: Shape) -> Shape:  # noqa: ARG002 - the same call for every layer
        """A vector of `classes` probabilities."""
        return 1, 1, self.classes

    def parameter_count(self, shape: Shape) -> int:
        """Trainable weights: kernel `[in, classes]` and a bias for each class."""
        return (shape[0] * shape[1] * shape[2] + 1) * self.classes


Layer: TypeAlias = Conv | Pool | Dense | Softmax
