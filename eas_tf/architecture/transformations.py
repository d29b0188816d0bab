"""Net2Wider and Net2Deeper (Chen et al. 2016; EAS paper, section "Function-Preserving Transformation") as values.

A transformation is applied to an architecture here, and to trained weights in `eas_tf.surgery`. A network is its
parent, the list of its transformations and a seed; the strings below are how that list is stored.
"""

import re
from dataclasses import dataclass
from typing import TypeAlias

from eas_tf.architecture.layers import Conv, Dense
from eas_tf.architecture.plain import PlainCNN, width_of, with_width
from eas_tf.errors import IllegalTransformation


@dataclass(frozen=True, slots=True)
class Net2Wider:
    """Give one layer more filters or units.

    Attributes:
        layer: Index into the architecture's `layers`.
        width: The new number of filters or units, more than the layer has.
    """

    layer: int
    width: int

    def __str__(self) -> str:
        return f"wider({self.layer},{self.width})"

    def apply(self, architecture: PlainCNN) -> PlainCNN:
        """The architecture with the wider layer.

        Raises:
            IllegalTransformation: If there is no such layer, or it is not narrower than `width`.
        """
        layers = architecture.layers
        width = width_of(layers[self.layer]) if 0 <= self.layer < len(layers) else None
        if width is None:
            possible = [i for i, layer in enumerate(layers) if width_of(layer) is not None]
            raise IllegalTransformation(f"Only the layers {possible} can be widened. Received: {self}")
        if self.width <= width:
            raise IllegalTransformation(
                f"Widening layer {self.layer} takes more than the {width} that it has. Received: {self}"
            )
        wider = with_width(layers[self.layer], self.width)
        return PlainCNN((*layers[: self.layer], wider, *layers[self.layer + 1 :]), architecture.input_shape)


@dataclass(frozen=True, slots=True)
class Net2Deeper:
    """Insert a layer that starts as the identity, as wide as what reaches it, with stride 1.

    Attributes:
        block: Index into the architecture's `blocks`.
        position: How many layers of the block come before the new one. 0 is the block's start.
        kernel: The new convolution's kernel, odd; None in the fully connected block.
    """

    block: int
    position: int
    kernel: int | None

    def __str__(self) -> str:
        return f"deeper({self.block},{self.position},{'-' if self.kernel is None else self.kernel})"

    def index_in(self, architecture: PlainCNN) -> int:
        """The index that the new layer gets in the child's `layers`."""
        return architecture.blocks[self.block].start + self.position

    def apply(self, architecture: PlainCNN) -> PlainCNN:
        """The architecture with the new layer.

        Raises:
            IllegalTransformation: If there is no such place, if values there may be negative, or if the kernel is
                even, missing or out of place.
        """
        blocks, layers = architecture.blocks, architecture.layers
        if not 0 <= self.block < len(blocks) or not 0 <= self.position <= len(blocks[self.block]):
            places = ", ".join(f"{i}: 0 to {len(block)}" for i, block in enumerate(blocks))
            raise IllegalTransformation(f"The blocks have the positions {places}. Received: {self}")
        dense = self.block == len(blocks) - 1
        if (self.kernel is None) != dense or (self.kernel is not None and self.kernel % 2 != 1):
            expected = "no kernel in the fully connected block" if dense else "an odd kernel for a convolution"
            raise IllegalTransformation(f"Net2Deeper needs {expected}. Received: {self}")
        index = self.index_in(architecture)
        if index == 0:
            raise IllegalTransformation(
                "Nothing can be inserted before the first convolution: ReLU would change the negative values of "
                f"normalised images. Received: {self}"
            )
        height, width, channels = architecture.shape_before(index)
        layer = Dense(height * width * channels) if self.kernel is None else Conv(channels, self.kernel)
        return PlainCNN((*layers[:index], layer, *layers[index:]), architecture.input_shape)


Transformation: TypeAlias = Net2Wider | Net2Deeper

_WIDER = re.compile(r"wider\(([0-9]{1,9}),([0-9]{1,9})\)")
_DEEPER = re.compile(r"deeper\(([0-9]{1,9}),([0-9]{1,9}),([0-9]{1,9}|-)\)")


def parse_transformation(text: str) -> Transformation:
    """Read `wider(layer,width)` or `deeper(block,position,kernel)`. The inverse of `str`.

    Raises:
        IllegalTransformation: If `text` is neither.
    """
    if match := _WIDER.fullmatch(text):
        return Net2Wider(int(match[1]), int(match[2]))
    if match := _DEEPER.fullmatch(text):
        return Net2Deeper(int(match[1]), int(match[2]), None if match[3] == "-" else int(match[3]))
    raise IllegalTransformation(
        f"A transformation is wider(layer,width), deeper(block,position,kernel) or deeper(block,position,-). "
        f"Received: {text[:60]!r}"
    )
