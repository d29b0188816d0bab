"""The space of plain networks: which may be reached, and which transformations are legal from one of them.

Limits on layers and on parameters act through the masks, so that an agent which samples from a mask never leaves
the space.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import prod
from typing import Any

from eas_tf.architecture.layers import MAX_KERNEL, MAX_WIDTH, Conv, Dense, Layer, Pool, Shape, Softmax
from eas_tf.architecture.layerwise import SCHEDULE, Layerwise, climbed
from eas_tf.architecture.net2net import Net2Deeper
from eas_tf.architecture.plain.network import PlainCNN
from eas_tf.architecture.plain.optimum import PlainOptimum
from eas_tf.architecture.space import Token, for_images
from eas_tf.architecture.work import layer_work, work
from eas_tf.errors import InvalidConfiguration

#: The kinds of layers of an observation.
KINDS = ("padding", "convolution", "maximum pool", "average pool", "fully connected", "softmax")


@dataclass(frozen=True, kw_only=True)
class PlainSpace(Layerwise[PlainCNN]):
    """Rungs, kernels and limits of plain networks.

    A width need not be on a rung: a fully connected layer inserted after 320 features has 320 units. Widening takes
    it to the next rung above.
    """

    name: str
    filters: tuple[int, ...]
    """Rungs that the width of a convolution climbs, ascending."""
    units: tuple[int, ...]
    """Rungs that the width of a fully connected layer climbs, ascending."""
    start: str
    """The layer string of the network from which a search starts. If its last pool averages, it is made as large as
    the map that reaches it."""
    kernels: tuple[int, ...] = (1, 3, 5)
    """Kernels of convolutions, odd, ascending."""
    max_blocks: int = 5
    """Blocks, the fully connected one included (the paper's code: 5)."""
    block_length: int = 10
    """Convolutional or fully connected layers in one block (the paper's code: 10)."""
    max_layers: int = 50
    """Layers in all, pools and classifier included (the paper's code: 50)."""
    max_parameters: int | None = None
    """Trainable weights, or None for no limit."""
    max_work: int | None = None
    """See `eas_tf.architecture.work`; None for no limit."""
    schedule: tuple[str, ...] = SCHEDULE
    """The kind of each step of an episode."""
    may_pass: bool = False
    """Whether an episode may leave insertions out."""

    def __post_init__(self) -> None:
        for what, rungs, most in (
            ("filters", self.filters, MAX_WIDTH),
            ("units", self.units, MAX_WIDTH),
            ("kernels", self.kernels, MAX_KERNEL),
        ):
            if not rungs or rungs[0] < 1 or rungs[-1] > most or any(low >= high for low, high in pairwise(rungs)):
                raise InvalidConfiguration(
                    f"The {what} of a space must be ascending, from 1 to {most:,}. Received: {rungs}"
                )
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise InvalidConfiguration(f"The kernels of a space must be odd. Received: {self.kernels}")
        super().__post_init__()

    def start_network(self, input_shape: Sequence[int], classes: int) -> PlainCNN:
        """The space's start network for images of this size and this many classes.

        Raises:
            InvalidArchitecture: If the images are too small for its pools, or it exceeds the space's limits.
        """
        start = for_images(self, lambda shape: self._started(shape, Softmax(classes)), input_shape)
        self.check(start)
        return start

    def _started(self, input_shape: Shape, classifier: Softmax) -> PlainCNN:
        layers = (*PlainCNN.parse(self.start, (1024, 1024, 3)).layers[:-1], classifier)
        last = max((i for i, layer in enumerate(layers) if isinstance(layer, Pool)), default=0)
        if getattr(layers[last], "kind", None) == "AVG":
            trunk = PlainCNN((*layers[:last], classifier), input_shape)
            side = min(trunk.shape_before(last)[:2])
            layers = (*layers[:last], Pool(side, side, "AVG"), *layers[last + 1 :])
        return PlainCNN(layers, input_shape)

    def outside(self, architecture: Any) -> str | None:
        """The first limit that a network exceeds, if any."""
        if not isinstance(architecture, PlainCNN):
            return "it is no plain network; choose a space of its kind"
        for index, layer in enumerate(architecture.layers):
            if isinstance(layer, Conv) and (layer.kernel not in self.kernels or layer.stride != 1):
                return f"layer {index}, {layer}, must have stride 1 and a kernel among {self.kernels}"
            width, rungs = layer.width, self._rungs(layer)
            if width is not None and width > rungs[-1]:
                return f"layer {index}, {layer}, is wider than the last rung, {rungs[-1]}"
        return self.too_large(architecture)

    def _rungs(self, layer: Layer) -> tuple[int, ...]:
        return self.units if isinstance(layer, Dense) else self.filters

    def rung(self, layer: Layer) -> int:
        """The number of rungs that the layer's width has reached: 0 below the first, and for a layer without one."""
        width = layer.width
        return 0 if width is None else bisect_right(self._rungs(layer), width)

    def next_width(self, layer: Layer) -> int | None:
        """The next rung above the layer's width; None on the last rung, and for a layer without a width."""
        if type(layer) is Conv:
            width, rungs = layer.filters, self.filters
        elif type(layer) is Dense:
            width, rungs = layer.units, self.units
        else:
            return None
        return rungs[bisect_right(rungs, width)] if width < rungs[-1] else None

    def climbed(self, architecture: PlainCNN, indices: Iterable[int]) -> PlainCNN:
        """The network with these layers on their next rungs, whatever the limits say."""
        return architecture.with_widths(climbed(architecture.layers, indices, self.next_width))

    def deepen_mask(self, architecture: PlainCNN) -> bytes:
        """For each block, position and kernel number in C order whether a layer may be inserted there.

        In the fully connected block no kernel is chosen: there only kernel number 0 is legal.
        """
        kernels, rows = len(self.kernels), []
        if len(architecture.layers) < self.max_layers:
            *blocks, dense = architecture.blocks
            if self.is_limited:
                rows = [self._positions(architecture, block, dense=False) for block in blocks]
            else:
                # What reaches a convolution is no wider than the last rung: the network is in the space.
                rows = [_anywhere(len(block), not block.start, self.block_length, kernels) for block in blocks]
            rows.append(self._positions(architecture, dense, dense=True))
        return b"".join(rows).ljust(self.max_blocks * self.block_length * kernels, b"\0")

    def _positions(self, architecture: PlainCNN, block: range, dense: bool) -> bytes:
        """For each position of a block and each kernel whether a layer may be inserted there."""
        size, none = self.block_length * len(self.kernels), bytes(len(self.kernels))
        if len(block) >= self.block_length:
            return bytes(size)
        shapes = architecture.shapes[max(0, block.start - 1) : block.stop]
        widths = [prod(shape) for shape in shapes] if dense else [shape[2] for shape in shapes]
        widest = (self.units if dense else self.filters)[-1]
        row = [
            self._affordable(architecture, shape, width, dense) if width <= widest else none
            for shape, width in zip(shapes, widths, strict=True)
        ]
        return b"".join(row if block.start else [none, *row]).ljust(size, b"\0")

    def _affordable(self, architecture: PlainCNN, before: Shape, width: int, dense: bool) -> bytes:
        """For each kernel whether the network may have a new layer of this width."""
        if not self.is_limited:
            return b"\1".ljust(len(self.kernels), b"\0" if dense else b"\1")
        new = [Dense(width)] if dense else [Conv(width, kernel) for kernel in self.kernels]
        legal = [
            self.fullness(
                architecture.parameter_count + layer.parameter_count(before),
                work(architecture) + layer_work(layer.multiply_adds(before), layer.output_shape(before)),
            )
            <= 1
            for layer in new
        ]
        return bytes(legal).ljust(len(self.kernels), b"\0")

    def insertion(self, architecture: PlainCNN, block: int, position: int, kernel: int) -> Net2Deeper:
        """The move behind one entry of `deepen_mask`.

        Args:
            architecture: The parent.
            block: Index into its blocks.
            position: How many layers of the block come before the new one.
            kernel: Index into the space's kernels, 0 in the fully connected block.
        """
        dense = block == len(architecture.blocks) - 1
        return Net2Deeper(block, position, None if dense else self.kernels[kernel])

    @property
    def token_limits(self) -> Token:
        """The largest value of each field of a token."""
        return len(KINDS) - 1, max(len(self.filters), len(self.units)), len(self.kernels)

    def token(self, layer: Layer) -> Token:
        """The kind of a layer, the rungs that its width has reached, and its kernel, counted from 1."""
        match layer:
            case Conv(kernel=kernel):
                return 1, self.rung(layer), self.kernels.index(kernel) + 1
            case Pool(kind=kind):
                return (2 if kind == "MAX" else 3), 0, 0
            case Dense():
                return 4, self.rung(layer), 0
            case Softmax():
                return 5, 0, 0

    def distance(self, architecture: PlainCNN) -> float:
        """See `PlainOptimum`."""
        return self._ideal.distance(architecture)

    def optimum(self, architecture: PlainCNN) -> PlainCNN:
        """The ideal network with the same pools and classifier."""
        return self._ideal.network(architecture)

    @property
    def _ideal(self) -> PlainOptimum:
        return PlainOptimum(filters=self.filters, units=self.units, kernels=self.kernels)


@lru_cache(maxsize=4096)
def _anywhere(length: int, is_first: bool, block_length: int, kernels: int) -> bytes:
    """For each position of a block of so many convolutions and each kernel whether another one fits in."""
    legal = b"\1" * kernels * (length + 1) if length < block_length else b""
    return (bytes(kernels) + legal[kernels:] if is_first else legal).ljust(block_length * kernels, b"\0")
