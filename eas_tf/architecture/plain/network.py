"""Plain convolutional networks as values: the EAS paper's first search space.

A plain network is a chain of blocks. A pooling layer closes each convolutional block; the fully connected layers
are the last block, and a softmax classifier closes the network.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Self

from eas_tf.architecture.layers import Conv, Dense, Layer, Pool, Shape, Softmax, shared, with_wider_layer
from eas_tf.architecture.net2net import UNKNOWN_WIDTH
from eas_tf.architecture.notation import NUMBER, Notation
from eas_tf.errors import IllegalTransformation, InvalidArchitecture

_NOTATION = Notation(
    forms={
        "C": (Conv, "C(filters,kernel,stride)", re.compile(f"{NUMBER},{NUMBER},{NUMBER}")),
        "P": (Pool, "P(size,stride,MAX) or P(size,stride,AVG)", re.compile(f"{NUMBER},{NUMBER},(MAX|AVG)")),
        "FC": (Dense, "FC(units)", re.compile(NUMBER)),
        "SM": (Softmax, "SM(classes)", re.compile(NUMBER)),
    },
    followers={
        Conv: (Conv, Pool, Dense, Softmax),
        Pool: (Conv, Dense, Softmax),
        Dense: (Dense, Softmax),
        Softmax: (),
    },
    first=(Conv,),
    order="a plain network is convolutions and single pools in turn, then fully connected layers, then one classifier",
)


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
        _NOTATION.check_order(self.layers)
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
        return cls(tuple(_NOTATION.read(text)), (height, width, channels))

    def __str__(self) -> str:
        return ", ".join([layer.notation for layer in self.layers])

    @cached_property
    def multiply_adds(self) -> int:
        """Multiplications with a weight, each with its addition, for one image; batch norm is left out."""
        before = (self.input_shape, *self.shapes[:-1])
        return sum([layer.multiply_adds(shape) for layer, shape in zip(self.layers, before, strict=True)])

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
        ends = [-1, *[index for index, layer in enumerate(self.layers) if type(layer) is Pool]]
        blocks, start = [range(before + 1, end) for before, end in pairwise(ends)], ends[-1] + 1
        # Without pooling after the last convolution, flattening is what closes its block.
        convolutions = sum([type(layer) is Conv for layer in self.layers[start:]])
        if convolutions:
            blocks.append(range(start, start + convolutions))
        return (*blocks, range(start + convolutions, len(self.layers) - 1))

    def index_of_new(self, block: int, position: int) -> int:
        """The index that a layer gets which is inserted in a block behind `position` layers of it."""
        return self.blocks[block].start + position

    def widened(self, layer: int, width: int) -> Self:
        """The network with more filters or units in one layer.

        Raises:
            IllegalTransformation: If there is no such layer, or it is not narrower than `width`.
        """
        return self.with_widths(with_wider_layer(self.layers, layer, width))

    def with_widths(self, layers: Sequence[Layer]) -> Self:
        """The network with the same layers, some of them of other widths."""
        # So their order and the sides of maps need no check, and only behind other widths there is something to count.
        shapes, counts, before, changed = [], [], self.input_shape, False
        for layer, old, shape, count in zip(layers, self.layers, self.shapes, self.parameter_counts, strict=True):
            after, weights = shape, count
            if changed or layer is not old:
                after, weights = layer.output_shape(before), layer.parameter_count(before)
                changed = after != shape
            shapes.append(after)
            counts.append(weights)
            before = after
        return self._unchecked(tuple(layers), tuple(shapes), tuple(counts), sum(counts))

    def deepened(self, block: int, position: int, kernel: int | None) -> Self:
        """The network with a new layer, as wide as what reaches it, with stride 1.

        Args:
            block: Index into `blocks`.
            position: How many layers of the block come before the new one. 0 is the block's start.
            kernel: The new convolution's kernel, odd; None in the fully connected block.

        Raises:
            IllegalTransformation: If there is no such place, if values there may be negative, or if the kernel is
                even, missing or out of place.
        """
        blocks, received = self.blocks, f"Received: deeper({block},{position},{'-' if kernel is None else kernel})"
        if not 0 <= block < len(blocks) or not 0 <= position <= len(blocks[block]):
            places = ", ".join(f"{i}: 0 to {len(each)}" for i, each in enumerate(blocks))
            raise IllegalTransformation(f"The blocks have the positions {places}. {received}")
        dense = block == len(blocks) - 1
        if (kernel is None) != dense or (kernel is not None and kernel % 2 != 1):
            expected = "no kernel in the fully connected block" if dense else "an odd kernel for a convolution"
            raise IllegalTransformation(f"Net2Deeper needs {expected}. {received}")
        index = self.index_of_new(block, position)
        if index == 0:
            raise IllegalTransformation(
                "Nothing can be inserted before the first convolution: ReLU would change the negative values of "
                f"normalised images. {received}"
            )
        height, width, channels = self.shape_before(index)
        layer = shared(Dense, height * width * channels) if kernel is None else shared(Conv, channels, kernel, 1)
        return self._with_identity(index, layer)

    def _with_identity(self, index: int, layer: Layer) -> Self:
        """The network with a new layer that gives the shape which reaches it, or its features as a vector."""
        # So nothing that was checked and measured of the other layers changes, and it is not done again.
        before = self.shape_before(index)
        count = layer.parameter_count(before)
        return self._unchecked(
            (*self.layers[:index], layer, *self.layers[index:]),
            (*self.shapes[:index], layer.output_shape(before), *self.shapes[index:]),
            (*self.parameter_counts[:index], count, *self.parameter_counts[index:]),
            self.parameter_count + count,
        )

    def _unchecked(
        self, layers: tuple[Layer, ...], shapes: tuple[Shape, ...], counts: tuple[int, ...], count: int
    ) -> Self:
        child = object.__new__(type(self))
        child.__dict__.update(
            layers=layers, input_shape=self.input_shape, shapes=shapes, parameter_counts=counts, parameter_count=count
        )
        return child

    def sketched(self, block: int, position: int, kernel: int | None) -> Self:
        """`deepened`; a fully connected layer behind a feature map, whose size is not known, has `UNKNOWN_WIDTH`."""
        if kernel is not None:
            return self.deepened(block, position, kernel)
        index = self.index_of_new(block, position)
        before = self.layers[index - 1]
        return self._inserted(index, before if isinstance(before, Dense) else Dense(UNKNOWN_WIDTH))

    def _inserted(self, index: int, layer: Layer) -> Self:
        return type(self)((*self.layers[:index], layer, *self.layers[index:]), self.input_shape)


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
