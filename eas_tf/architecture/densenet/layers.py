"""The layers of DenseNets that plain networks have not. What they train depends on the kind of DenseNet."""

from dataclasses import dataclass
from typing import ClassVar, Self

from eas_tf.architecture.layers import MAX_WIDTH, Role, Shape, Written, check_size


@dataclass(frozen=True, slots=True, eq=False)
class DenseLayer(Written):
    """A convolution whose output is concatenated behind its input (Huang et al. 2017, Equation 2)."""

    role: ClassVar[Role] = "features"
    unit: ClassVar[str] = "new channels"

    growth: int

    def __post_init__(self) -> None:
        self._write(f"D({self.growth})")
        check_size(self, "The growth rate", self.growth, MAX_WIDTH)

    @property
    def words(self) -> str:
        """What it is, in words."""
        return "a dense layer"

    @property
    def width(self) -> int:
        """The growth rate."""
        return self.growth

    def with_width(self, width: int) -> Self:
        """With another growth rate."""
        return type(self)(width)

    def output_shape(self, shape: Shape) -> Shape:
        """The shape after this layer: `growth` more channels."""
        return shape[0], shape[1], shape[2] + self.growth


@dataclass(frozen=True, slots=True, eq=False)
class Transition(Written):
    """A 1x1 convolution, then a 2x2 average pool with stride 2. Closes a block."""

    role: ClassVar[Role] = "pooling"
    unit: ClassVar[str] = "filters"

    filters: int

    def __post_init__(self) -> None:
        self._write(f"T({self.filters})")
        check_size(self, "The filters", self.filters, MAX_WIDTH)

    @property
    def words(self) -> str:
        """What it is, in words."""
        return "a transition"

    @property
    def width(self) -> int:
        """The filters."""
        return self.filters

    def with_width(self, width: int) -> Self:
        """With other filters."""
        return type(self)(width)

    def output_shape(self, shape: Shape) -> Shape:
        """The shape after this layer: half of height and width, rounded down."""
        return shape[0] // 2, shape[1] // 2, self.filters
