"""Net2Wider and Net2Deeper (Chen et al. 2016; EAS paper, section "Function-Preserving Transformation") as values.

A transformation is applied to an architecture here, and to trained weights in `eas_tf.surgery`. A network is its
parent, the list of its transformations and a seed; the strings below are how that list is stored.
"""

import re
from dataclasses import dataclass
from typing import TypeAlias

from eas_tf.architecture.architecture import Architecture, ArchitectureT
from eas_tf.errors import IllegalTransformation


@dataclass(frozen=True, slots=True)
class Net2Wider:
    """Give one layer more filters or units, or a larger growth rate.

    Attributes:
        layer: Index into the architecture's `layers`.
        width: The new number of filters or units, or growth rate, more than the layer has.
    """

    layer: int
    width: int

    def __str__(self) -> str:
        return f"wider({self.layer},{self.width})"

    def apply(self, architecture: ArchitectureT) -> ArchitectureT:
        """The architecture with the wider layer.

        Raises:
            IllegalTransformation: If there is no such layer, or it is not narrower than `width`.
        """
        return architecture.widened(self.layer, self.width)


@dataclass(frozen=True, slots=True)
class Net2Deeper:
    """Insert a layer that keeps the function, as wide as the architecture says.

    Attributes:
        block: Index into the architecture's `blocks`.
        position: A place in the block: in a plain network how many layers of it come before the new one (0 is the
            block's start), in a DenseNet the layer, counted from 0, that is copied.
        kernel: The new convolution's kernel, odd; None where none is chosen.
    """

    block: int
    position: int
    kernel: int | None

    def __str__(self) -> str:
        return f"deeper({self.block},{self.position},{'-' if self.kernel is None else self.kernel})"

    def index_in(self, architecture: Architecture) -> int:
        """The index that the new layer gets in the child's `layers`."""
        return architecture.index_of_new(self.block, self.position)

    def apply(self, architecture: ArchitectureT) -> ArchitectureT:
        """The architecture with the new layer.

        Raises:
            IllegalTransformation: If there is no such place, or no such layer can be inserted there.
        """
        return architecture.deepened(self.block, self.position, self.kernel)


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
