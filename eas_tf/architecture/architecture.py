"""What all kinds of network have in common, for everything that need not know which kind it has."""

from collections.abc import Hashable
from typing import Protocol, TypeVar

from eas_tf.architecture.layers import AnyLayer, Shape


class Architecture(Hashable, Protocol):
    """A network as a value: layers in order, on images of one size. `str` is its layer string."""

    @property
    def layers(self) -> tuple[AnyLayer, ...]:
        """From the first convolution to the softmax classifier."""
        ...

    @property
    def input_shape(self) -> Shape:
        """Height, width and channels of the images."""
        ...

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The shape that leaves each layer, in the order of `layers`."""
        ...

    @property
    def parameter_counts(self) -> tuple[int, ...]:
        """The number of trainable weights of each layer, with the batch norms that belong to it."""
        ...

    @property
    def parameter_count(self) -> int:
        """The number of trainable weights, exactly as Keras counts them."""
        ...

    @property
    def multiply_adds(self) -> int:
        """Multiplications with a weight, each with its addition, for one image; batch norm is left out."""
        ...

    @property
    def classes(self) -> int:
        """The number of classes that the network tells apart."""
        ...

    def shape_before(self, layer: int) -> Shape:
        """The shape that reaches layer number `layer`, which may be one past the last."""
        ...


ArchitectureT = TypeVar("ArchitectureT", bound=Architecture)
