"""Search spaces: which plain networks may be reached, and which transformations are legal from one of them.

Limits on layers and on parameters act through the masks, so that an agent which samples from a mask never leaves
the space.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TypeAlias

from eas_tf.architecture.layers import MAX_KERNEL, MAX_WIDTH, Conv, Dense, Layer, Pool, Softmax, width_of, with_width
from eas_tf.architecture.plain import PlainCNN
from eas_tf.architecture.transformations import Net2Deeper, Net2Wider
from eas_tf.errors import IllegalTransformation, InvalidArchitecture, InvalidConfiguration

#: Legal insertions, indexed by block, position and kernel: `[max_blocks][block_length][len(kernels)]`.
DeepenMask: TypeAlias = tuple[tuple[tuple[bool, ...], ...], ...]


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
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
    _nothing: DeepenMask = field(init=False, repr=False, compare=False)
    _one_kernel: tuple[bool, ...] = field(init=False, repr=False, compare=False)
    _all_kernels: tuple[bool, ...] = field(init=False, repr=False, compare=False)

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
        for limit in ("max_blocks", "block_length", "max_layers", "max_parameters"):
            value = getattr(self, limit)
            if value is not None and value < 1:
                raise InvalidConfiguration(f"{limit} must be at least 1. Received: {value}")
        nothing = (((False,) * len(self.kernels),) * self.block_length,) * self.max_blocks
        object.__setattr__(self, "_nothing", nothing)
        object.__setattr__(self, "_one_kernel", (True, *nothing[0][0][1:]))
        object.__setattr__(self, "_all_kernels", (True,) * len(self.kernels))

    def start_network(self, input_shape: Sequence[int], classes: int) -> PlainCNN:
        """The space's start network for images of this size and this many classes.

        Raises:
            InvalidArchitecture: If the images are too small for its pools, or it exceeds the space's limits.
        """
        classifier = Softmax(classes)
        layers = (*PlainCNN.parse(self.start, (1024, 1024, 3)).layers[:-1], classifier)
        height, width, channels = input_shape
        last = max((i for i, layer in enumerate(layers) if isinstance(layer, Pool)), default=0)
        if getattr(layers[last], "kind", None) == "AVG":
            trunk = PlainCNN((*layers[:last], classifier), (height, width, channels))
            side = min(trunk.shape_before(last)[:2])
            layers = (*layers[:last], Pool(side, side, "AVG"), *layers[last + 1 :])
        start = PlainCNN(layers, (height, width, channels))
        self.check(start)
        return start

    def check(self, architecture: PlainCNN) -> None:
        """Refuse a network outside the space.

        Raises:
            InvalidArchitecture: Naming the first limit that the network exceeds.
        """
        reason = self._outside(architecture)
        if reason:
            raise InvalidArchitecture(
                f"The network is outside the space {self.name!r}: {reason}. Received: {architecture}"
            )

    def _outside(self, architecture: PlainCNN) -> str | None:
        for index, layer in enumerate(architecture.layers):
            if isinstance(layer, Conv) and (layer.kernel not in self.kernels or layer.stride != 1):
                return f"layer {index}, {layer}, must have stride 1 and a kernel among {self.kernels}"
            width, rungs = width_of(layer), self._rungs(layer)
            if width is not None and width > rungs[-1]:
                return f"layer {index}, {layer}, is wider than the last rung, {rungs[-1]}"
        if len(architecture.blocks) > self.max_blocks:
            return f"it has {len(architecture.blocks)} blocks, at most {self.max_blocks} are allowed"
        if max(map(len, architecture.blocks)) > self.block_length:
            return f"a block has more than {self.block_length} layers"
        if len(architecture.layers) > self.max_layers:
            return f"it has {len(architecture.layers)} layers, at most {self.max_layers} are allowed"
        if not self._affords(architecture.parameter_count):
            return f"it has {architecture.parameter_count:,} parameters, at most {self.max_parameters:,} are allowed"
        return None

    def _affords(self, parameters: int) -> bool:
        return self.max_parameters is None or parameters <= self.max_parameters

    def _rungs(self, layer: Layer) -> tuple[int, ...]:
        return self.units if isinstance(layer, Dense) else self.filters

    def rung(self, layer: Layer) -> int:
        """The number of rungs that the layer's width has reached: 0 below the first, and for a layer without one."""
        width = width_of(layer)
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

    def widen_mask(self, architecture: PlainCNN) -> tuple[bool, ...]:
        """For each layer whether it may be widened, such that every choice among them is legal.

        Near the parameter limit that is the set which takes the layers with the cheapest next rung first.
        """
        wider = [self.next_width(layer) is not None for layer in architecture.layers]
        possible = [i for i, legal in enumerate(wider) if legal]
        if self.max_parameters is not None and not self._affords(self.widened(architecture, possible).parameter_count):
            costs = {i: self.widened(architecture, [i]).parameter_count for i in possible}
            affordable: list[int] = []
            for index in sorted(possible, key=lambda i: (costs[i], i)):
                if self._affords(self.widened(architecture, [*affordable, index]).parameter_count):
                    affordable.append(index)
            wider = [i in affordable for i in range(len(wider))]
        return tuple(wider)

    def widening(self, architecture: PlainCNN, layers: Iterable[int]) -> tuple[Net2Wider, ...]:
        """The transformations that take each of these layers to its next rung.

        Raises:
            IllegalTransformation: If `widen_mask` does not allow one of them.
        """
        mask, chosen = self.widen_mask(architecture), tuple(dict.fromkeys(layers))
        for index in chosen:
            if not (0 <= index < len(mask) and mask[index]):
                allowed = [i for i, legal in enumerate(mask) if legal]
                raise IllegalTransformation(
                    f"Cannot widen layer {index} of {architecture}: it has no width, is on the last rung, or the "
                    f"limit of {self.max_parameters} parameters forbids it. The layers {allowed} may be widened."
                )
        return tuple(Net2Wider(i, self.next_width(architecture.layers[i]) or 0) for i in chosen)

    def widened(self, architecture: PlainCNN, indices: Iterable[int]) -> PlainCNN:
        """The child of `widening`, built at once, whether the space allows it or not."""
        layers = list(architecture.layers)
        for index in set(indices):
            layers[index] = with_width(layers[index], self.next_width(layers[index]) or 0)
        return PlainCNN(tuple(layers), architecture.input_shape)

    def deepen_mask(self, architecture: PlainCNN) -> DeepenMask:
        """For each block, position and kernel whether a layer may be inserted there.

        In the fully connected block no kernel is chosen: there only kernel number 0 is legal.
        """
        blocks = []
        for block in range(len(architecture.blocks)):
            legal = [self._kernels(architecture, block, index) for index in self._places(architecture, block)]
            blocks.append((*legal, *self._nothing[0][len(legal) :]))
        return (*blocks, *self._nothing[len(blocks) :])

    def _places(self, architecture: PlainCNN, block: int) -> range:
        """The indices that a new layer of a block could have, position after position; none if there is no room."""
        layers = architecture.blocks[block]
        full = len(layers) >= self.block_length or len(architecture.layers) >= self.max_layers
        return range(layers.start, layers.start if full else layers.stop + 1)

    def _kernels(self, architecture: PlainCNN, block: int, index: int) -> tuple[bool, ...]:
        """Which kernels a new layer of a block may have as layer number `index`."""
        if index == 0:
            return self._nothing[0][0]
        height, width, channels = shape = architecture.shapes[index - 1]
        dense = block == len(architecture.blocks) - 1
        if (height * width * channels > self.units[-1]) if dense else (channels > self.filters[-1]):
            return self._nothing[0][0]
        if self.max_parameters is None:
            return self._one_kernel if dense else self._all_kernels
        kernels = self.kernels[:1] if dense else self.kernels
        new = [Dense(height * width * channels) if dense else Conv(channels, kernel) for kernel in kernels]
        legal = [self._affords(architecture.parameter_count + layer.parameter_count(shape)) for layer in new]
        return (*legal, *self._nothing[0][0][len(legal) :])

    def deepening(self, architecture: PlainCNN, block: int, position: int, kernel: int) -> Net2Deeper:
        """The transformation behind one entry of `deepen_mask`.

        Args:
            architecture: The parent.
            block: Index into its blocks.
            position: How many layers of the block come before the new one.
            kernel: Index into the space's kernels, 0 in the fully connected block.

        Raises:
            IllegalTransformation: If `deepen_mask` does not allow it.
        """
        places = self._places(architecture, block) if 0 <= block < len(architecture.blocks) else range(0)
        within = 0 <= position < len(places) and 0 <= kernel < len(self.kernels)
        if not within or not self._kernels(architecture, block, places[position])[kernel]:
            raise IllegalTransformation(
                f"Cannot insert a layer in block {block} at position {position} with kernel number {kernel} into "
                f"{architecture}: the space {self.name!r} does not allow it. Choose a legal entry of the mask."
            )
        dense = block == len(architecture.blocks) - 1
        return Net2Deeper(block, position, None if dense else self.kernels[kernel])


_PAPER_FILTERS = (16, 32, 64, 96, 128, 192, 256, 320, 384, 448, 512)
_PAPER_UNITS = (64, 128, 256, 384, 512, 640, 768, 896, 1024)
_TABLE_1 = (
    "C(16,3,1), P(2,2,MAX), C(32,3,1), P(2,2,MAX), C(64,3,1), P(2,2,MAX), C(128,3,1), P(4,4,AVG), FC(256), SM(10)"
)

#: The named spaces: the paper's two, its code's example, and one for 8x8 digits.
SPACES: dict[str, SearchSpace] = {
    space.name: space
    for space in (
        SearchSpace(name="paper", filters=_PAPER_FILTERS, units=_PAPER_UNITS, start=_TABLE_1),
        SearchSpace(
            name="large",
            filters=(*_PAPER_FILTERS, 576, 640),
            units=(*_PAPER_UNITS, 1152, 1280),
            start=_TABLE_1,
        ),
        SearchSpace(
            name="toy",
            filters=tuple(range(4, 41, 4)),
            units=tuple(range(8, 81, 8)),
            start="C(4,3,1), P(2,2,MAX), C(4,3,1), P(2,2,MAX), C(4,3,1), P(2,2,MAX), C(4,3,1), P(4,4,AVG), FC(8), "
            "SM(10)",
        ),
        SearchSpace(
            name="digits",
            filters=(4, 8, 12, 16, 24, 32, 48, 64),
            units=(8, 16, 24, 32, 48, 64, 96, 128),
            start="C(4,3,1), P(2,2,MAX), C(8,3,1), P(4,4,AVG), FC(16), SM(10)",
            max_blocks=3,
            block_length=6,
            max_layers=20,
        ),
    )
}


def space_named(name: str, max_parameters: int | None = None) -> SearchSpace:
    """One of the named spaces, with a limit on parameters if one is given.

    Raises:
        InvalidConfiguration: If there is none of that name, or the limit is not positive.
    """
    if name not in SPACES:
        raise InvalidConfiguration(f"The spaces are {', '.join(SPACES)}. Received: {name!r}")
    return replace(SPACES[name], max_parameters=max_parameters)
