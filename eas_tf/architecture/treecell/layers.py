"""The layers of networks of tree cells that plain networks and DenseNets have not."""

from dataclasses import dataclass
from typing import ClassVar, Self

from eas_tf.architecture.layers import MAX_WIDTH, Role, Shape, WithoutWidth, Written, check_size
from eas_tf.architecture.treecell.tree import Edge


@dataclass(frozen=True, slots=True, eq=False)
class Residual(Written):
    """A block of a PyramidNet: the cell between two 1x1 convolutions, added to what reaches it (Han et al. 2017).

    Attributes:
        filters: Channels of the cell; the block gives four times as many.
        stride: 2 at the beginning of a group: the cell's root edges have it.
    """

    role: ClassVar[Role] = "features"
    unit: ClassVar[str] = "filters"

    filters: int
    stride: int = 1

    def __post_init__(self) -> None:
        self._write(f"R({self.filters})" if self.stride == 1 else f"R({self.filters},{self.stride})")
        check_size(self, "The filters", self.filters, MAX_WIDTH // 4)
        check_size(self, "The stride", self.stride, 2)

    @property
    def words(self) -> str:
        """What it is, in words."""
        return "a residual block"

    @property
    def width(self) -> int:
        """The filters."""
        return self.filters

    def with_width(self, width: int) -> Self:
        """With other filters."""
        return type(self)(width, self.stride)

    def output_shape(self, shape: Shape) -> Shape:
        """The shape after this layer: height and width divided by the stride, rounded up."""
        return -(-shape[0] // self.stride), -(-shape[1] // self.stride), 4 * self.filters


@dataclass(frozen=True, slots=True, eq=False)
class Block(WithoutWidth, Written):
    """A block of a chain: the cell and nothing else. It keeps its channels."""

    role: ClassVar[Role] = "features"

    def __post_init__(self) -> None:
        self._write("B()")

    @property
    def words(self) -> str:
        """What it is, in words."""
        return "a block"

    def output_shape(self, shape: Shape) -> Shape:
        """The shape after this layer: that before it."""
        return shape


@dataclass(frozen=True, slots=True)
class CellEdge(WithoutWidth):
    """An edge of the cell, as observations and drawings see it: where it stands, without what follows it.

    In preorder these are the whole tree: an edge's parent is the last one before it with a depth of one less.

    Attributes:
        operation: The edge alone.
        depth: Operations on the path to its end, from 1.
        branch: Its number among the edges of its node.
        merge: How its node is merged; empty if it is the only one.
        skip: Whether a batch norm and a sum join what follows it.
    """

    role: ClassVar[Role] = "features"

    operation: Edge
    depth: int
    branch: int
    merge: str
    skip: bool

    def __str__(self) -> str:
        return self.operation.word

    @property
    def words(self) -> str:
        """What it is, in words."""
        return self.operation.words
