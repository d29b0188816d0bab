"""What tree cells are put into: DenseNets, PyramidNets and chains, with the cell in place of a 3x3 convolution.

Cai et al. (ICML 2018), section 4.1, and their code. All end in batch norm, ReLU, global average pooling and the
classifier; a transition is batch norm, ReLU, a 1x1 convolution and a 2x2 average pool. Convolutions have no bias.
"""

import re
from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

from eas_tf.architecture.densenet.layers import DenseLayer, Transition
from eas_tf.architecture.densenet.network import BOTTLENECK
from eas_tf.architecture.layers import Conv, Shape, Softmax
from eas_tf.architecture.notation import NUMBER, Notation
from eas_tf.architecture.treecell.layers import Block, Residual
from eas_tf.architecture.treecell.tree import OPERATIONS
from eas_tf.errors import InvalidArchitecture


class Place(NamedTuple):
    """Where a block has its cell."""

    inputs: int
    """Channels that reach the cell."""
    outputs: int
    """Channels that it gives."""
    pixels: int
    """Of the maps that it gives."""


class Base(ABC):
    """One kind of base. A layer's numbers leave the cell out; `before` is the shape that reaches the layer."""

    header: ClassVar[str]
    notation: ClassVar[Notation]
    roots: ClassVar[tuple[str, ...]] = ("conv3",)
    """Operations of which the edges of a cell's root may be: those that stand for the base's own convolution."""
    stem_norm: ClassVar[int] = 0
    """Batch norms behind the stem."""
    block: ClassVar[type[Any]]
    """The layers that have the cell."""

    @abstractmethod
    def place(self, layer: Any, before: Shape) -> Place:
        """Where a block has its cell."""

    @abstractmethod
    def block_kernels(self, layer: Any, before: Shape) -> tuple[int, int]:
        """The weights of a block's own 1x1 convolutions, before and behind the cell."""

    @abstractmethod
    def block_normalised(self, layer: Any, before: Shape) -> int:
        """The channels of a block's own batch norms, together."""

    def check(self, layer: Any, before: Shape) -> None:  # noqa: B027 - most have nothing to say
        """Refuse a layer that does not fit what reaches it, raising InvalidArchitecture."""

    def parameters(self, layer: Any, before: Shape) -> int:
        """The trainable weights of a layer; the batch norm of the end is the classifier's."""
        match layer:
            case Conv(filters=filters):
                return 9 * before[2] * filters + 2 * filters * self.stem_norm
            case Transition(filters=filters):
                return 2 * before[2] + before[2] * filters
            case Softmax(classes=classes):
                return 2 * before[2] + (before[2] + 1) * classes
        return sum(self.block_kernels(layer, before)) + 2 * self.block_normalised(layer, before)

    def multiply_adds(self, layer: Any, before: Shape) -> int:
        """Multiplications with a weight, each with its addition, for one image; batch norm is left out."""
        pixels = before[0] * before[1]
        match layer:
            case Conv(filters=filters):
                return pixels * 9 * before[2] * filters
            case Transition(filters=filters):
                return pixels * before[2] * filters
            case Softmax(classes=classes):
                return before[2] * classes
        ahead, behind = self.block_kernels(layer, before)
        return pixels * ahead + self.place(layer, before).pixels * behind


_FORMS: dict[str, Any] = {
    "C": (Conv, "C(filters,3,1)", re.compile(f"{NUMBER},(3),(1)")),
    "T": (Transition, "T(filters)", re.compile(NUMBER)),
    "SM": (Softmax, "SM(classes)", re.compile(NUMBER)),
}


def _notation(block: type[Any], name: str, form: str, arguments: str, *, transitions: bool = True) -> Notation:
    """Stem, blocks, transitions between them, and the classifier."""
    between = {Transition: (block,)} if transitions else {}
    after = (block, *between, Softmax)
    return Notation(
        forms=_FORMS | {name: (block, f"{form} or 2x{form}", re.compile(arguments))},
        followers={Conv: (block,), block: after, **between, Softmax: ()},
        first=(Conv,),
        order="a base is its stem, then blocks for the cell"
        + ", with one transition between two" * transitions
        + ", then one classifier",
        repeated=(block,),
    )


class _DenseNet(Base):
    """DenseNet-BC (Huang et al. 2017): batch norm, ReLU, a 1x1 convolution to 4k; the cell to k; concatenated."""

    header = "DenseNet-tree"
    block = DenseLayer
    notation = _notation(DenseLayer, "D", "D(growth)", NUMBER)

    def place(self, layer: DenseLayer, before: Shape) -> Place:
        return Place(BOTTLENECK * layer.growth, layer.growth, before[0] * before[1])

    def block_kernels(self, layer: DenseLayer, before: Shape) -> tuple[int, int]:
        return before[2] * BOTTLENECK * layer.growth, 0

    def block_normalised(self, layer: DenseLayer, before: Shape) -> int:  # noqa: ARG002 - as the other bases'
        return before[2]


class _PyramidNet(Base):
    """PyramidNet with bottlenecks (Han et al. 2017), from p filters to 4p.

    Batch norm and a 1x1 convolution to p; the cell; batch norm, ReLU, a 1x1 convolution to 4p and batch norm; added to
    what reached the block, behind a 2x2 average pool if the stride is 2, and with zero channels appended.
    """

    header = "PyramidNet-tree"
    block = Residual
    stem_norm = 1
    notation = _notation(Residual, "R", "R(filters) or R(filters,2)", f"{NUMBER}(?:,([12]))?", transitions=False)

    def place(self, layer: Residual, before: Shape) -> Place:
        height, width, _ = layer.output_shape(before)
        return Place(layer.filters, layer.filters, height * width)

    def block_kernels(self, layer: Residual, before: Shape) -> tuple[int, int]:
        return before[2] * layer.filters, 4 * layer.filters**2

    def block_normalised(self, layer: Residual, before: Shape) -> int:
        return before[2] + layer.filters + 4 * layer.filters

    def check(self, layer: Any, before: Shape) -> None:
        if isinstance(layer, Residual) and 4 * layer.filters < before[2]:
            raise InvalidArchitecture(
                f"{layer} gives {4 * layer.filters} channels, which are added to what reaches it. Expected: at least "
                f"{before[2]}"
            )


class _Chain(Base):
    """The cell alone; its root's edges are operations like all others."""

    header = "Chain-tree"
    block = Block
    roots = tuple(OPERATIONS)
    notation = _notation(Block, "B", "B()", "")

    def place(self, layer: Block, before: Shape) -> Place:  # noqa: ARG002 - as the other bases'
        return Place(before[2], before[2], before[0] * before[1])

    def block_kernels(self, layer: Block, before: Shape) -> tuple[int, int]:  # noqa: ARG002
        return 0, 0

    def block_normalised(self, layer: Block, before: Shape) -> int:  # noqa: ARG002
        return 0


#: The kinds of bases, by the headers of their strings.
BASES: dict[str, Base] = {base.header: base for base in (_DenseNet(), _PyramidNet(), _Chain())}


def densenet_base(blocks: int, growth: int, classes: int = 10) -> tuple[Any, ...]:
    """The layers of a published DenseNet base: three groups of `blocks` (N in the paper) with one growth rate (k)."""
    layers: list[Any] = [Conv(2 * growth, 3)]
    channels = 2 * growth
    for group in range(3):
        if group:
            channels //= 2
            layers.append(Transition(channels))
        layers += [DenseLayer(growth)] * blocks
        channels += blocks * growth
    return (*layers, Softmax(classes))


def pyramidnet_base(blocks: int, alpha: float, groups: int, classes: int = 10) -> tuple[Any, ...]:
    """The layers of a published PyramidNet base: three groups of `blocks` (N), wider by `alpha` in all.

    The width grows evenly from 16, and is rounded to the nearest even whole number at a half, then down to a multiple
    of the groups (the paper's code; the PyramidNet paper rounds down).
    """
    layers: list[Any] = [Conv(16, 3)]
    planes: float = 16
    for number in range(3 * blocks):
        planes += alpha / (3 * blocks)
        layers.append(Residual(round(planes) // groups * groups, 2 if number in (blocks, 2 * blocks) else 1))
    return (*layers, Softmax(classes))


def chain_base(blocks: int, channels: int, classes: int = 10) -> tuple[Any, ...]:
    """The layers of a published chain: three groups of `blocks`, with twice the channels in each further one."""
    group = [Block()] * blocks
    wider = (*group, Transition(2 * channels), *group, Transition(4 * channels), *group)
    return (Conv(channels, 3), *wider, Softmax(classes))
