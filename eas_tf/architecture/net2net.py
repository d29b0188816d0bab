"""Net2Wider and Net2Deeper (Chen et al. 2016; EAS paper, section "Function-Preserving Transformation") as values."""

import re
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self, TypeVar

from eas_tf.architecture.architecture import Architecture
from eas_tf.architecture.moves import register_move
from eas_tf.errors import IllegalTransformation

#: Stands for a width that depends on the images' size, where that is not known.
UNKNOWN_WIDTH = 1


class Layered(Architecture, Protocol):
    """A network whose layers can be widened, and in whose blocks layers can be inserted."""

    @property
    def blocks(self) -> tuple[range, ...]:
        """Where layers can be inserted, as ranges of indices into `layers`."""
        ...

    def index_of_new(self, block: int, position: int) -> int:
        """The index that a layer inserted at a position of a block gets."""
        ...

    def widened(self, layer: int, width: int) -> Self:
        """The network with one wider layer.

        Raises:
            IllegalTransformation: If there is no such layer, or it is not narrower than `width`.
        """
        ...

    def deepened(self, block: int, position: int, kernel: int | None) -> Self:
        """The network with a new layer.

        Raises:
            IllegalTransformation: If there is no such place, or no such layer can be inserted there.
        """
        ...

    def sketched(self, block: int, position: int, kernel: int | None) -> Self:
        """`deepened`, where a width that depends on the images' size is `UNKNOWN_WIDTH`."""
        ...


LayeredT = TypeVar("LayeredT", bound=Layered)


def _layered(move: object, architecture: LayeredT) -> LayeredT:
    """The architecture, if it can be widened and deepened.

    Raises:
        IllegalTransformation: If it is of another kind.
    """
    if not hasattr(architecture, "blocks"):
        raise IllegalTransformation(f"{move} is for networks that grow layer by layer. Received: {architecture}")
    return architecture


@register_move
@dataclass(frozen=True, slots=True)
class Net2Wider:
    """Give one layer more filters or units, or a larger growth rate.

    Attributes:
        layer: Index into the architecture's `layers`.
        width: The new number of filters or units, or growth rate, more than the layer has.
    """

    name: ClassVar[str] = "wider"
    form: ClassVar[str] = "wider(layer,width)"

    layer: int
    width: int

    @classmethod
    def read(cls, arguments: str) -> Self | None:
        """See `Move.read`."""
        match = re.fullmatch("([0-9]{1,9}),([0-9]{1,9})", arguments)
        return cls(int(match[1]), int(match[2])) if match else None

    def __str__(self) -> str:
        return f"wider({self.layer},{self.width})"

    def apply(self, architecture: LayeredT) -> LayeredT:
        """The architecture with the wider layer.

        Raises:
            IllegalTransformation: If there is no such layer, or it is not narrower than `width`.
        """
        return _layered(self, architecture).widened(self.layer, self.width)

    def words(self, architecture: LayeredT) -> tuple[str, LayeredT]:
        """See `Move.words`."""
        if not 0 <= self.layer < len(_layered(self, architecture).layers):
            raise IllegalTransformation(f"{architecture} has no layer number {self.layer}.")
        layer = architecture.layers[self.layer]
        before = "" if layer.width == UNKNOWN_WIDTH else f"from {layer.width} "
        return f"widen layer {self.layer + 1} {before}to {self.width} {layer.unit}", self.apply(architecture)


@register_move
@dataclass(frozen=True, slots=True)
class Net2Deeper:
    """Insert a layer that keeps the function, as wide as the architecture says.

    Attributes:
        block: Index into the architecture's `blocks`.
        position: A place in the block: in a plain network how many layers of it come before the new one (0 is the
            block's start), in a DenseNet the layer, counted from 0, that is copied.
        kernel: The new convolution's kernel, odd; None where none is chosen.
    """

    name: ClassVar[str] = "deeper"
    form: ClassVar[str] = "deeper(block,position,kernel) or deeper(block,position,-)"

    block: int
    position: int
    kernel: int | None

    @classmethod
    def read(cls, arguments: str) -> Self | None:
        """See `Move.read`."""
        match = re.fullmatch("([0-9]{1,9}),([0-9]{1,9}),([0-9]{1,9}|-)", arguments)
        return cls(int(match[1]), int(match[2]), None if match[3] == "-" else int(match[3])) if match else None

    def __str__(self) -> str:
        return f"deeper({self.block},{self.position},{'-' if self.kernel is None else self.kernel})"

    def index_in(self, architecture: Layered) -> int:
        """The index that the new layer gets in the child's `layers`."""
        return architecture.index_of_new(self.block, self.position)

    def apply(self, architecture: LayeredT) -> LayeredT:
        """The architecture with the new layer.

        Raises:
            IllegalTransformation: If there is no such place, or no such layer can be inserted there.
        """
        return _layered(self, architecture).deepened(self.block, self.position, self.kernel)

    def words(self, architecture: LayeredT) -> tuple[str, LayeredT]:
        """See `Move.words`."""
        child = _layered(self, architecture).sketched(self.block, self.position, self.kernel)
        index = self.index_in(architecture)
        return f"insert {child.layers[index].words} after layer {index}", child
