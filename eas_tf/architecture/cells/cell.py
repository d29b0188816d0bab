"""NAS-Bench-201's networks as values (Dong & Yang, ICLR 2020): one cell, repeated in a fixed skeleton.

A cell has four nodes. Node 0 is its input; each later node is the sum of what the edges from all earlier ones bring;
node 3 is its output. On each of the six edges stands one of five operations, so there are 5^6 = 15,625 cells.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self, TypeAlias

from eas_tf.architecture.layers import Role, Shape
from eas_tf.architecture.notation import BLANKS
from eas_tf.errors import IllegalTransformation, InvalidArchitecture
from eas_tf.text import printable

Operation: TypeAlias = Literal["undecided", "none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]

#: The benchmark's, in its order.
OPERATIONS: tuple[Operation, ...] = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")

#: Node and the earlier node that it is fed from, in the benchmark's order.
EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))

#: The skeleton: filters of the first stage, and cells in each of its three stages. Each stage doubles the filters.
CHANNELS, CELLS, STAGES = 16, 5, 3

HEADER = "NAS-Bench-201"

_WORDS = {
    "undecided": "nothing yet",
    "none": "nothing",
    "skip_connect": "the identity",
    "nor_conv_1x1": "a 1x1 convolution",
    "nor_conv_3x3": "a 3x3 convolution",
    "avg_pool_3x3": "a 3x3 average pool",
}
_EDGE = re.compile(rf"({'|'.join(_WORDS)})~([0-9])")
_STRING = re.compile(
    rf"[{BLANKS}]*{HEADER}[{BLANKS}]*:[{BLANKS}]*(\|[a-z0-9_~|+]{{1,200}}\|)[{BLANKS}]*,[{BLANKS}]*SM\(([0-9]{{1,5}})\)[{BLANKS}]*"
)


@dataclass(frozen=True, slots=True)
class Edge:
    """One operation of a cell. `str` is the benchmark's notation, such as `nor_conv_3x3~0`."""

    role: ClassVar[Role] = "features"
    unit: ClassVar[str] = ""
    width: ClassVar[None] = None

    operation: Operation
    source: int
    """The node that it is fed from."""

    def __post_init__(self) -> None:
        if self.operation not in _WORDS:
            raise InvalidArchitecture(
                f"The operations are {', '.join(OPERATIONS)}. Received: {printable(self.operation, 40)}"
            )

    def __str__(self) -> str:
        return f"{self.operation}~{self.source}"

    @property
    def words(self) -> str:
        """What it is, in words."""
        return _WORDS[self.operation]

    def with_width(self, width: int) -> Self:
        """There is no width to change."""
        raise IllegalTransformation(f"{self} has no width. Received: {width}")


@dataclass(frozen=True)
class Cell:
    """A network of the benchmark on images of one size.

    The skeleton is a 3x3 convolution to 16 filters with batch norm; three stages of five cells, with 16, 32 and 64
    filters; between two stages a residual block of stride 2; at the end batch norm, ReLU, global average pooling and
    the classifier. A convolution of a cell is ReLU, convolution without bias, batch norm.

    Attributes:
        layers: The six operations, in the order of `EDGES`.
        classes: The number of classes that the network tells apart.
        input_shape: Height, width and channels of the images.
    """

    trainable: ClassVar[bool] = False
    """Surgery builds no cells: their accuracies are in a table."""

    layers: tuple[Edge, ...]
    classes: int = 10
    input_shape: Shape = (32, 32, 3)

    def __post_init__(self) -> None:
        if [edge.source for edge in self.layers] != [source for _, source in EDGES]:
            raise InvalidArchitecture(f"A cell has the edges {EDGES}. Received: {self}")
        numbers = self.classes, *self.input_shape
        if any(type(number) is not int or number < 1 for number in numbers) or self.classes > 65_536:
            raise InvalidArchitecture(
                f"There are from 1 to 65,536 classes, and images have a positive height, width and channels. "
                f"Received: {self.classes}, {self.input_shape}"
            )

    @classmethod
    def of(cls, operations: Sequence[Operation], classes: int = 10, input_shape: Shape = (32, 32, 3)) -> Self:
        """The network with these six operations, in the order of `EDGES`.

        Raises:
            InvalidArchitecture: If there are not six, or one is unknown.
        """
        if len(operations) != len(EDGES):
            raise InvalidArchitecture(f"A cell has {len(EDGES)} operations. Received: {len(operations)}")
        edges = tuple([Edge(each, source) for each, (_, source) in zip(operations, EDGES, strict=True)])
        return cls(edges, classes, input_shape)

    @classmethod
    def parse(cls, text: str, input_shape: Sequence[int] = (32, 32, 3)) -> Self:
        """Read `NAS-Bench-201: |none~0|+|none~0|none~1|+|none~0|none~1|none~2|, SM(10)`. The inverse of `str`.

        Raises:
            InvalidArchitecture: Saying what was expected.
        """
        match = _STRING.fullmatch(text)
        edges = [_EDGE.fullmatch(each) for each in re.split(r"\|\+\||\|", match[1][1:-1])] if match else []
        read = [Edge(each[1], int(each[2])) for each in edges if each]  # type: ignore[arg-type]
        height, width, channels = input_shape
        cell = None
        if match and len(read) == len(edges) == len(EDGES) and 1 <= int(match[2]) <= 65_536:
            with_these = [edge.source for edge in read] == [source for _, source in EDGES]
            cell = cls(tuple(read), int(match[2]), (height, width, channels)) if with_these else None
        if cell is None or match is None or str(cell).split(" ")[1].rstrip(",") != match[1]:
            blank = cls.of(["none"] * len(EDGES))
            raise InvalidArchitecture(
                f"A network of {HEADER} is {str(blank)!r} with operations among {', '.join(OPERATIONS)}. "
                f"Received: {printable(text, 120)!r}"
            )
        return cell

    def __str__(self) -> str:
        nodes = [
            "|".join(str(edge) for edge, (at, _) in zip(self.layers, EDGES, strict=False) if at == node)
            for node in (1, 2, 3)
        ]
        return f"{HEADER}: |{'|+|'.join(nodes)}|, SM({self.classes})"

    @property
    def key(self) -> str:
        """The benchmark's key: for each edge the number of its operation; an undecided edge counts as none."""
        return "".join(str(max(0, _NUMBERS[edge.operation])) for edge in self.layers)

    def replaced(self, index: int, operation: Operation) -> Self:
        """The network with another operation on one edge.

        Raises:
            IllegalTransformation: If there is no such edge.
        """
        if not 0 <= index < len(EDGES):
            raise IllegalTransformation(f"A cell has the edges 0 to {len(EDGES) - 1}. Received: {index}")
        edge = Edge(operation, self.layers[index].source)
        return type(self)((*self.layers[:index], edge, *self.layers[index + 1 :]), self.classes, self.input_shape)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The shape that leaves each operation of a cell of the first stage."""
        return ((*self.input_shape[:2], CHANNELS),) * len(EDGES)

    def shape_before(self, layer: int) -> Shape:  # noqa: ARG002 - the same for all
        """The shape that reaches an operation of a cell of the first stage."""
        return (*self.input_shape[:2], CHANNELS)

    @property
    def parameter_counts(self) -> tuple[int, ...]:
        """The trainable weights of each operation, in all cells, with its batch norms."""
        return tuple(
            [
                sum(CELLS * (kernel**2 * c**2 + 2 * c) for _, c in self._stages) if kernel else 0
                for kernel in map(_kernel, self.layers)
            ]
        )

    @property
    def parameter_count(self) -> int:
        """The number of trainable weights, exactly as Keras counts them; 73,306 without operations, on CIFAR-10."""
        *wide, (_, last) = self._stages
        stem = 9 * self.input_shape[2] * CHANNELS + 2 * CHANNELS
        # Two 3x3 convolutions with batch norm, and a 1x1 convolution without.
        residual = sum(9 * c * 2 * c + 4 * c + 9 * 4 * c**2 + 4 * c + 2 * c**2 for _, c in wide)
        end = 2 * last + (last + 1) * self.classes
        return stem + residual + end + sum(self.parameter_counts)

    @property
    def multiply_adds(self) -> int:
        """Multiplications with a weight, each with its addition, for one image; batch norm is left out."""
        *wide, (_, last) = self._stages
        pixels = [height * width for (height, width), _ in self._stages]
        stem = 9 * self.input_shape[2] * CHANNELS * pixels[0]
        residual = sum((18 + 36 + 2) * c**2 * after for (_, c), after in zip(wide, pixels[1:], strict=True))
        cells = sum(
            CELLS * kernel**2 * c**2 * at
            for kernel in map(_kernel, self.layers)
            for (_, c), at in zip(self._stages, pixels, strict=True)
        )
        return stem + residual + cells + last * self.classes

    @property
    def _stages(self) -> list[tuple[tuple[int, int], int]]:
        """Height and width of the maps, and filters, of each stage."""
        height, width, _ = self.input_shape
        return [((-(-height // 2**s), -(-width // 2**s)), CHANNELS * 2**s) for s in range(STAGES)]


_NUMBERS = {"undecided": -1, **{operation: number for number, operation in enumerate(OPERATIONS)}}


def _kernel(edge: Edge) -> int:
    """The side of an edge's kernel; 0 where there is none."""
    return {"nor_conv_1x1": 1, "nor_conv_3x3": 3}.get(edge.operation, 0)
