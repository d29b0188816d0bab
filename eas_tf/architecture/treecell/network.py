"""Networks of tree cells as values (Cai et al., ICML 2018): a base, and one cell that stands in all its blocks.

A string such as `DenseNet-tree: C(96,3,1), D(48), T(72), D(48), SM(10); add(conv3g2+>sep5,conv3g2)` is the layers of
the base, a semicolon, and the cell.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, ClassVar, NamedTuple, Self

from eas_tf.architecture.densenet.network import checked_shapes
from eas_tf.architecture.layers import Shape, with_wider_layer
from eas_tf.architecture.notation import BLANKS, syntax_error
from eas_tf.architecture.treecell.bases import BASES, Place
from eas_tf.architecture.treecell.layers import CellEdge
from eas_tf.architecture.treecell.notation import read_cell
from eas_tf.architecture.treecell.tree import Node, Path, Placed, check_cell, placed
from eas_tf.errors import IllegalTransformation, InvalidArchitecture

_HEADER = re.compile(rf"[{BLANKS}]*({'|'.join(BASES)})[{BLANKS}]*:")


class _Frame(NamedTuple):
    """What a base says, whatever the cell is: moves of an episode change the cell alone."""

    text: str
    shapes: tuple[Shape, ...]
    places: Mapping[int, Place]
    sizes: Mapping[tuple[int, int], int]
    """How many blocks have a cell from so many channels to so many."""
    parameters: tuple[int, ...]
    multiply_adds: int


@lru_cache(maxsize=1024)
def _frame(kind: str, layers: tuple[Any, ...], input_shape: Shape) -> _Frame:
    """What a base says.

    Raises:
        InvalidArchitecture: If it is none, or does not fit the images.
    """
    base = BASES[kind]
    base.notation.check_order(layers)
    if (layers[0].kernel, layers[0].stride) != (3, 1):
        raise InvalidArchitecture(f"A base starts with its stem, C(filters,3,1). Received: {layers[0]}")
    shapes = checked_shapes(layers, input_shape)
    pairs = [*zip(layers, (input_shape, *shapes[:-1]), strict=True)]
    for layer, before in pairs:
        base.check(layer, before)
    places = {index: base.place(*each) for index, each in enumerate(pairs) if isinstance(each[0], base.block)}
    return _Frame(
        f"{kind}: {base.notation.written(layers)}",
        shapes,
        places,
        Counter([(place.inputs, place.outputs) for place in places.values()]),
        tuple([base.parameters(*each) for each in pairs]),
        sum(base.multiply_adds(*each) for each in pairs),
    )


@dataclass(frozen=True)
class TreeNetwork:
    """A base with a cell, on images of one size. Equal if and only if kind, base, cell and image size are equal.

    Attributes:
        kind: The kind of base, among `BASES`.
        base: Its layers: the stem, blocks and transitions, the softmax classifier.
        cell: The root of the cell, which each block has with weights of its own.
        input_shape: Height, width and channels of the images.
    """

    trainable: ClassVar[bool] = False
    """Surgery has no way to build them yet."""

    kind: str
    base: tuple[Any, ...]
    cell: Node
    input_shape: Shape = (32, 32, 3)

    def __post_init__(self) -> None:
        if self.kind not in BASES:
            raise InvalidArchitecture(f"The kinds of bases are {', '.join(BASES)}. Received: {self.kind!r}")
        check_cell(self.cell, BASES[self.kind].roots)
        for inputs, outputs in self._frame.sizes:
            placed(self.cell, inputs, outputs)

    @classmethod
    def parse(cls, text: str, input_shape: Sequence[int] = (32, 32, 3)) -> Self:
        """Read `DenseNet-tree: C(16,3,1), D(8), T(12), D(8), SM(10); conv3`. The inverse of `str`.

        Args:
            text: The kind of base, a colon, layers separated by commas, a semicolon and the cell; white space between
                them is free. `2xD(12)` is `D(12), D(12)`.
            input_shape: Height, width and channels of the images.

        Raises:
            InvalidArchitecture: Naming the position in `text` and what was expected there.
        """
        header = _HEADER.match(text)
        if header is None:
            raise syntax_error(text, 0, ", ".join(f"{kind}:" for kind in BASES))
        base, (layers, semicolon, _) = BASES[header[1]], text.partition(";")
        read = base.notation.read(layers, header.end())
        if not semicolon:
            raise syntax_error(text, len(text), "a semicolon and the cell")
        height, width, channels = input_shape
        return cls(base.header, tuple(read), read_cell(text, len(layers) + 1, base.roots), (height, width, channels))

    def __str__(self) -> str:
        return f"{self._frame.text}; {self.cell}"

    def with_cell(self, cell: Node) -> Self:
        """The network with another cell.

        Raises:
            InvalidArchitecture: If it does not fit the base.
        """
        return replace(self, cell=cell)

    @cached_property
    def _frame(self) -> "_Frame":
        return _frame(self.kind, self.base, self.input_shape)

    @property
    def places(self) -> Mapping[int, Place]:
        """Where each block has its cell, by the block's index into `layers`."""
        return self._frame.places

    def placed(self, block: int) -> tuple[Placed, ...]:
        """The edges of the cell in a block, an index into `layers`, in preorder, with their channels."""
        return placed(self.cell, self.places[block].inputs, self.places[block].outputs)

    @cached_property
    def layers(self) -> tuple[Any, ...]:
        """The base's layers, then the cell's edges in preorder."""
        edges = [
            CellEdge(edge.alone, len(path), path[-1], node.merge, edge.skip) for path, edge, node in self.cell.walk()
        ]
        return (*self.base, *edges)

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        """The paths of the cell's edges in preorder; that of number i is the layer number `len(base) + i`."""
        return tuple([path for path, *_ in self.cell.walk()])

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The shape that leaves each layer; an edge's is that of the first block."""
        first = next(iter(self.places))
        height, width, _ = self._frame.shapes[first]
        return (*self._frame.shapes, *[(height, width, edge.outputs) for edge in self.placed(first)])

    def shape_before(self, layer: int) -> Shape:
        """The shape that reaches a layer, which may be one past the last; an edge's is that of the first block."""
        shapes, edge = (self.input_shape, *self._frame.shapes), layer - len(self.base)
        if not 0 <= edge < len(self.paths):
            return shapes[min(layer, len(self.base))]
        first = next(iter(self.places))
        path, _, _, inputs, _ = self.placed(first)[edge]
        height, width, _ = shapes[first + (len(path) > 1)]  # The root's edges have the block's stride.
        return height, width, inputs

    @cached_property
    def parameter_counts(self) -> tuple[int, ...]:
        """The trainable weights of each layer of the base without the cell, then of each edge in all blocks."""
        edges = [0] * len(self.paths)
        for (inputs, outputs), blocks in self._frame.sizes.items():
            for number, (_, edge, _, before, after) in enumerate(placed(self.cell, inputs, outputs)):
                edges[number] += blocks * edge.parameters(before, after)
        return (*self._frame.parameters, *edges)

    @cached_property
    def parameter_count(self) -> int:
        """The number of trainable weights, exactly as Keras counts them."""
        return sum(self.parameter_counts)

    @cached_property
    def multiply_adds(self) -> int:
        """Multiplications with a weight, each with its addition, for one image; batch norm is left out."""
        return self._frame.multiply_adds + sum(
            place.pixels * edge.kernels(inputs, outputs)
            for block, place in self.places.items()
            for _, edge, _, inputs, outputs in self.placed(block)
        )

    @property
    def classes(self) -> int:
        """The number of classes that the network tells apart."""
        return self._frame.shapes[-1][-1]

    @cached_property
    def blocks(self) -> tuple[range, ...]:
        """The groups of blocks of equal size, as ranges of indices into `layers`."""
        places = [*self.places]
        starts = [i for i in places if i - 1 not in self.places or getattr(self.base[i], "stride", 1) > 1]
        ends = [max(i for i in places if i < after) + 1 for after in [*starts[1:], len(self.base)]]
        return tuple(map(range, starts, ends))

    def index_of_new(self, block: int, position: int) -> int:
        """The index of a new block right behind number `position` of a group."""
        return self.blocks[block].start + position + 1

    def widened(self, layer: int, width: int) -> Self:
        """The network with more channels in one layer of the base.

        Raises:
            IllegalTransformation: If there is no such layer, it is not narrower than `width`, or the cell or the next
                layers do not fit then.
        """
        wider = with_wider_layer(self.layers, layer, width)[: len(self.base)]
        try:
            return replace(self, base=wider)
        except InvalidArchitecture as error:
            raise IllegalTransformation(f"{error} Received: wider({layer},{width})") from None

    def deepened(self, block: int, position: int, kernel: int | None) -> Self:
        """The network with a new block, a copy of the one before it, with stride 1.

        Args:
            block: Index into `blocks`.
            position: The block of the group, counted from 0, behind which it goes.
            kernel: None: kernels are not chosen.

        Raises:
            IllegalTransformation: If there is no such block, or a kernel is given.
        """
        received = f"Received: deeper({block},{position},{'-' if kernel is None else kernel})"
        if kernel is not None:
            raise IllegalTransformation(f"Net2Deeper needs no kernel in a network of tree cells. {received}")
        if not 0 <= block < len(self.blocks) or not 0 <= position < len(self.blocks[block]):
            places = ", ".join(f"{i}: 0 to {len(each) - 1}" for i, each in enumerate(self.blocks))
            raise IllegalTransformation(f"The groups have the positions {places}. {received}")
        index = self.index_of_new(block, position)
        above = self.base[index - 1]
        new = replace(above, stride=1) if getattr(above, "stride", 1) > 1 else above
        return replace(self, base=(*self.base[:index], new, *self.base[index:]))

    sketched = deepened  # No width depends on the images' size.
