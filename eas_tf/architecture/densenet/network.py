"""DenseNets as values (Huang, Liu, van der Maaten, Weinberger, CVPR 2017): the EAS paper's second search space.

A string such as `DenseNet-BC: C(24,3,1), 3xD(12), T(30), 3xD(12), T(33), 2xD(12), D(16), SM(10)` is the stem, then
blocks of dense layers, each with its growth rate, with a transition between two blocks, then the classifier behind
global average pooling. The filters of stem and transitions are written, because growth rates change.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from math import floor
from typing import Any, Literal, Self, TypeAlias, get_args

from eas_tf.architecture.densenet.layers import DenseLayer, Transition
from eas_tf.architecture.layers import MAX_WIDTH, Conv, Shape, Softmax, with_wider_layer
from eas_tf.architecture.notation import BLANKS, MAX_LAYERS, NUMBER, Notation, syntax_error
from eas_tf.errors import IllegalTransformation, InvalidArchitecture

#: DenseNet and DenseNet-BC: batch norm and ReLU before each convolution. DenseNet-post: behind it.
Kind: TypeAlias = Literal["DenseNet", "DenseNet-BC", "DenseNet-post"]
KINDS: tuple[Kind, ...] = get_args(Kind)

DenseNetLayer: TypeAlias = Conv | DenseLayer | Transition | Softmax

#: A bottleneck has so many filters for each of its layer's (Huang et al., section 3, "Bottleneck layers").
BOTTLENECK = 4

_NOTATION = Notation(
    forms={
        "C": (Conv, "C(filters,3,1)", re.compile(f"{NUMBER},{NUMBER},{NUMBER}")),
        "D": (DenseLayer, "D(growth) or 2xD(growth)", re.compile(NUMBER)),
        "T": (Transition, "T(filters)", re.compile(NUMBER)),
        "SM": (Softmax, "SM(classes)", re.compile(NUMBER)),
    },
    followers={
        Conv: (DenseLayer,),
        DenseLayer: (DenseLayer, Transition, Softmax),
        Transition: (DenseLayer,),
        Softmax: (),
    },
    first=(Conv,),
    order="a DenseNet is its stem, then blocks of at least one dense layer with one transition between two blocks, "
    "then one classifier",
    repeated=(DenseLayer,),
)
_HEADER = re.compile(rf"[{BLANKS}]*({'|'.join(KINDS)})[{BLANKS}]*:")


@dataclass(frozen=True)
class DenseNet:
    """A DenseNet on images of one size. Equal if and only if kind, layers and image size are equal.

    - "DenseNet-BC" and "DenseNet": a dense layer on c channels is batch norm, ReLU, in BC a 1x1 convolution to 4 times
      its growth rate, batch norm and ReLU, then a 3x3 convolution to `growth` channels, concatenated behind the c. A
      transition is batch norm, ReLU, a 1x1 convolution and a 2x2 average pool with stride 2. The end is batch norm,
      ReLU, global average pooling and the classifier. The stem is a bare convolution.
    - "DenseNet-post": the 3x3 convolution, batch norm and ReLU make a dense layer; transition and stem have batch norm
      and ReLU behind their convolution, and global average pooling follows the last dense layer. No value in a block
      is negative.

    Convolutions have no bias and "same" padding.

    Attributes:
        kind: What a dense layer is made of.
        layers: The stem, the dense layers and transitions, the softmax classifier.
        input_shape: Height, width and channels of the images.
        shapes: The shape that leaves each layer, a dense layer's with what was concatenated.
        parameter_counts: The number of trainable weights of each layer, with its batch norms; the batch norm of the
            end is the classifier's.
        parameter_count: The number of trainable weights, exactly as Keras counts them.
    """

    kind: Kind
    layers: tuple[DenseNetLayer, ...]
    input_shape: Shape = (32, 32, 3)
    shapes: tuple[Shape, ...] = field(init=False, repr=False, compare=False)
    parameter_counts: tuple[int, ...] = field(init=False, repr=False, compare=False)
    parameter_count: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_kind(self.kind)
        _NOTATION.check_order(self.layers)
        _check_stem(self.layers[0])
        shapes = checked_shapes(self.layers, self.input_shape)
        before = (self.input_shape, *shapes[:-1])
        counts = tuple([self._parameters(layer, shape[-1]) for layer, shape in zip(self.layers, before, strict=True)])
        for name, value in (("shapes", shapes), ("parameter_counts", counts), ("parameter_count", sum(counts))):
            object.__setattr__(self, name, value)

    @classmethod
    def parse(cls, text: str, input_shape: Sequence[int] = (32, 32, 3)) -> Self:
        """Read `DenseNet-BC: C(24,3,1), 3xD(12), T(30), 3xD(12), SM(10)`. The inverse of `str`.

        Args:
            text: The kind, a colon, and layers separated by commas; white space between them is free. `2xD(12)` is
                `D(12), D(12)`.
            input_shape: Height, width and channels of the images.

        Raises:
            InvalidArchitecture: Naming the position in `text` and what was expected there.
        """
        header = _HEADER.match(text)
        if header is None:
            raise syntax_error(text, 0, ", ".join(f"{kind}:" for kind in KINDS))
        height, width, channels = input_shape
        (kind,) = (kind for kind in KINDS if kind == header[1])
        return cls(kind, tuple(_NOTATION.read(text, header.end())), (height, width, channels))

    @classmethod
    def of(
        cls,
        depth: int,
        growth: int,
        *,
        kind: Kind = "DenseNet-BC",
        compression: float | None = None,
        classes: int = 10,
        input_shape: Shape = (32, 32, 3),
        blocks: int = 3,
    ) -> Self:
        """A published network: one growth rate, blocks of equal length.

        Args:
            depth: L: the convolutions that one path passes, and the classifier; with three blocks 4 more than a
                multiple of 3, and of 6 with bottlenecks.
            growth: k: of every dense layer.
            kind: What a dense layer is made of.
            compression: The filters of a transition as a fraction of its input channels, rounded down; by default 0.5
                for BC, else 1.
            classes: The number of classes.
            input_shape: Height, width and channels of the images.
            blocks: The number of blocks.

        Raises:
            InvalidArchitecture: If the depth does not divide, or the compression leaves no channels.
        """
        DenseLayer(growth)  # A wrong growth rate is refused as that, before the stem's filters follow from it.
        _check_kind(kind)
        if blocks < 1:
            raise InvalidArchitecture(f"A DenseNet has at least one block. Received: {blocks}")
        bottleneck = kind == "DenseNet-BC"
        length, rest = divmod(depth - blocks - 1, blocks * (2 if bottleneck else 1))
        if rest or length < 1:
            raise InvalidArchitecture(
                f"The depth of a {kind} with {blocks} blocks is {blocks + 1} more than a positive multiple of "
                f"{blocks * (2 if bottleneck else 1)}. Received: {depth}"
            )
        if (length + 1) * blocks + 1 > MAX_LAYERS:
            raise InvalidArchitecture(f"A DenseNet may have at most {MAX_LAYERS} layers. Received: depth {depth}")
        if compression is None:
            compression = 0.5 if bottleneck else 1.0
        channels = 2 * growth if bottleneck else 16
        layers: list[DenseNetLayer] = [Conv(channels, 3)]
        for block in range(blocks):
            if block:
                layers.append(Transition(channels := compressed(channels, compression)))
            layers += [DenseLayer(growth)] * length
            channels += length * growth
        return cls(kind, (*layers, Softmax(classes)), input_shape)

    def __str__(self) -> str:
        # Only dense layers can follow their like.
        return f"{self.kind}: {_NOTATION.written(self.layers)}"

    @property
    def bottleneck(self) -> bool:
        """Whether dense layers begin with a 1x1 convolution."""
        return self.kind == "DenseNet-BC"

    @property
    def multiply_adds(self) -> int:
        """Multiplications with a weight, each with its addition, for one image; batch norm is left out."""
        total = 0
        for index, layer in enumerate(self.layers):
            height, width, channels = self.shape_before(index)
            pixels = 1 if isinstance(layer, Softmax) else height * width
            total += pixels * self._kernels(layer, channels)
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
        """The dense layers of each block, as ranges of indices into `layers`."""
        ends = [i for i, layer in enumerate(self.layers) if isinstance(layer, Transition | Softmax)]
        return tuple([range(start + 1, stop) for start, stop in pairwise([0, *ends])])

    def index_of_new(self, block: int, position: int) -> int:
        """The index of a new layer right behind dense layer number `position` of a block."""
        return self.blocks[block].start + position + 1

    def widened(self, layer: int, width: int) -> Self:
        """The network with a larger growth rate in a dense layer, or more filters in the stem or a transition.

        Raises:
            IllegalTransformation: If there is no such layer, or it is not narrower than `width`.
        """
        return type(self)(self.kind, with_wider_layer(self.layers, layer, width), self.input_shape)

    def deepened(self, block: int, position: int, kernel: int | None) -> Self:
        """The network with a new dense layer, with the growth rate of the one before it.

        Args:
            block: Index into `blocks`.
            position: The dense layer of the block, counted from 0, behind which it goes.
            kernel: None: kernels are not chosen.

        Raises:
            IllegalTransformation: If there is no such layer, or a kernel is given.
        """
        blocks, received = self.blocks, f"Received: deeper({block},{position},{'-' if kernel is None else kernel})"
        if not 0 <= block < len(blocks) or not 0 <= position < len(blocks[block]):
            places = ", ".join(f"{i}: 0 to {len(each) - 1}" for i, each in enumerate(blocks))
            raise IllegalTransformation(f"The blocks have the positions {places}. {received}")
        if kernel is not None:
            raise IllegalTransformation(f"Net2Deeper needs no kernel in a DenseNet. {received}")
        index = self.index_of_new(block, position)
        layers = (*self.layers[:index], self.layers[index - 1], *self.layers[index:])
        return type(self)(self.kind, layers, self.input_shape)

    sketched = deepened  # No width depends on the images' size.

    def _kernels(self, layer: DenseNetLayer, channels: int) -> int:
        """The weights of a layer's kernels, on so many channels."""
        match layer:
            case Conv(filters=filters, kernel=kernel):
                return kernel**2 * channels * filters
            case DenseLayer(growth=growth) if self.bottleneck:
                return (channels + 9 * growth) * BOTTLENECK * growth
            case DenseLayer(growth=growth):
                return 9 * channels * growth
            case Transition(filters=filters):
                return channels * filters
            case Softmax(classes=classes):
                return channels * classes

    def _parameters(self, layer: DenseNetLayer, channels: int) -> int:
        """The trainable weights of a layer: kernels, gamma and beta of its batch norms, the classifier's bias."""
        normalised = layer.classes if isinstance(layer, Softmax) else 0  # a bias, as if half a batch norm
        if self.kind != "DenseNet-post":
            normalised += 0 if isinstance(layer, Conv) else 2 * channels
            if isinstance(layer, DenseLayer) and self.bottleneck:
                normalised += 2 * BOTTLENECK * layer.growth
        elif not isinstance(layer, Softmax):
            normalised += 2 * layer.width
        return self._kernels(layer, channels) + normalised


def compressed(channels: int, compression: float) -> int:
    """The filters of a transition that keeps this fraction of its input channels, rounded down.

    Raises:
        InvalidArchitecture: If the fraction is not above 0 and at most 1, or no channels are left.
    """
    if not 0 < compression <= 1:
        raise InvalidArchitecture(f"A compression is above 0 and at most 1. Received: {compression}")
    filters = floor(round(channels * compression, 9))  # 100 * 0.29 is 28.999999999999996
    if filters < 1:
        raise InvalidArchitecture(
            f"A compression must leave at least one of a transition's {channels} channels. Received: {compression}"
        )
    return filters


def _check_kind(kind: object) -> None:
    if kind not in KINDS:
        raise InvalidArchitecture(f"The kinds of DenseNet are {', '.join(KINDS)}. Received: {kind!r}")


def _check_stem(stem: DenseNetLayer) -> None:
    if isinstance(stem, Conv) and (stem.kernel, stem.stride) != (3, 1):
        raise InvalidArchitecture(f"A DenseNet starts with its stem, C(filters,3,1). Received: {stem}")


def checked_shapes(layers: Sequence[Any], input_shape: Shape) -> tuple[Shape, ...]:
    """The shape that leaves each layer.

    Raises:
        InvalidArchitecture: If the images are too small, or a map would have too many channels.
    """
    if min(input_shape) < 1:
        raise InvalidArchitecture(f"Images have a positive height, width and channels. Received: {input_shape}")
    shapes, before = [], input_shape
    for index, layer in enumerate(layers):
        shape = layer.output_shape(before)
        if min(shape) < 1:
            raise InvalidArchitecture(
                f"Layer {index}, {layer}, halves a map of at least 2 pixels a side, but a {before[0]}x{before[1]} map "
                f"reaches it from {input_shape[0]}x{input_shape[1]} images. Use larger images or fewer transitions."
            )
        if shape[-1] > MAX_WIDTH:
            raise InvalidArchitecture(f"Layer {index}, {layer}, makes {shape[-1]:,} channels, at most {MAX_WIDTH:,}.")
        shapes.append(shape)
        before = shape
    return tuple(shapes)
