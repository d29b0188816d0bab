"""The space of DenseNets: which may be reached, and which transformations are legal from one of them.

A widening takes the growth rate of a dense layer to its next rung; an insertion copies a dense layer next to itself.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from eas_tf.architecture.densenet.layers import DenseLayer, Transition
from eas_tf.architecture.densenet.network import DenseNet, DenseNetLayer
from eas_tf.architecture.densenet.optimum import DenseNetOptimum
from eas_tf.architecture.layers import MAX_WIDTH, Conv, Softmax
from eas_tf.architecture.layerwise import SCHEDULE, Layerwise, climbed
from eas_tf.architecture.net2net import Net2Deeper
from eas_tf.architecture.space import Token, for_images
from eas_tf.errors import InvalidConfiguration

#: The kinds of layers of an observation.
KINDS = ("padding", "stem", "dense layer", "transition", "softmax")

#: No map may have more channels: half of the limit for stem and transitions, half for the dense layers of a block.
_MOST = MAX_WIDTH // 2


@dataclass(frozen=True, kw_only=True)
class DenseNetSpace(Layerwise[DenseNet]):
    """Rungs of growth rates, and limits of DenseNets. Every growth rate is on a rung."""

    name: str
    growth_rates: tuple[int, ...]
    """Rungs that the growth rate of a dense layer climbs, ascending (paper: 40, 44, 48, 52, 56, 60, 64)."""
    start: str
    """The layer string of the network from which a search starts (paper: DenseNet-BC with L = 40 and k = 40)."""
    max_blocks: int = 3
    """Blocks (paper: 3)."""
    block_length: int = 15
    """Dense layers in one block."""
    max_layers: int = 50
    """Layers in all, with stem, transitions and classifier; a dense layer is one (the paper's code: 50)."""
    max_parameters: int | None = None
    """Trainable weights, or None for no limit."""
    max_work: int | None = None
    """See `eas_tf.architecture.work`; None for no limit."""
    rederive: bool = False
    """Whether a widening also takes the stem to twice the mean growth rate and each transition to half of its input
    channels, rounded down, where they have fewer (the paper's code does so, at the end of each episode)."""
    kernels: tuple[int, ...] = (3,)
    """The kernel of every dense layer: there is nothing to choose."""
    schedule: tuple[str, ...] = SCHEDULE
    """The kind of each step of an episode."""
    may_pass: bool = False
    """Whether an episode may leave insertions out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        rungs = self.growth_rates
        most = _MOST // max(2, self.block_length)
        if not rungs or rungs[0] < 1 or rungs[-1] > most or any(low >= high for low, high in pairwise(rungs)):
            raise InvalidConfiguration(
                f"The growth rates of a space must be ascending, from 1 to {most:,}, with blocks of {self.block_length}"
                f" layers. Received: {rungs}"
            )
        if self.kernels != (3,):
            raise InvalidConfiguration(f"The kernels of dense layers are (3,). Received: {self.kernels}")

    def start_network(self, input_shape: Sequence[int], classes: int) -> DenseNet:
        """The space's start network for images of this size and this many classes.

        Raises:
            InvalidArchitecture: If the images are too small for its transitions, or it exceeds the space's limits.
        """
        published = DenseNet.parse(self.start, (1024, 1024, 3))
        layers = (*published.layers[:-1], Softmax(classes))
        start = for_images(self, lambda shape: DenseNet(published.kind, layers, shape), input_shape)
        self.check(start)
        return start

    def outside(self, architecture: Any) -> str | None:
        """The first limit that a network exceeds, if any."""
        if not isinstance(architecture, DenseNet):
            return "it is no DenseNet; choose a space of its kind"
        for index, layer in enumerate(architecture.layers):
            if isinstance(layer, DenseLayer) and layer.growth not in self.growth_rates:
                return f"layer {index}, {layer}, must have a growth rate among {self.growth_rates}"
            if isinstance(layer, Conv | Transition) and layer.filters > _MOST:
                return f"layer {index}, {layer}, has more than {_MOST:,} filters"
        return self.too_large(architecture)

    def rung(self, layer: DenseNetLayer) -> int:
        """The number of rungs that a dense layer's growth rate has reached; 0 for other layers."""
        return self.growth_rates.index(layer.growth) + 1 if isinstance(layer, DenseLayer) else 0

    def next_width(self, layer: DenseNetLayer) -> int | None:
        """The next rung above a dense layer's growth rate; None on the last rung, and for other layers."""
        higher = self.growth_rates[self.rung(layer) :] if isinstance(layer, DenseLayer) else ()
        return higher[0] if higher else None

    def climbed(self, architecture: DenseNet, indices: Iterable[int]) -> DenseNet:
        """The network with these layers on their next rungs, whatever the limits say; and stem and transitions."""
        chosen = [*indices]
        layers = climbed(architecture.layers, chosen, self.next_width)
        if chosen and self.rederive:
            layers = _rederived(layers)
        return DenseNet(architecture.kind, tuple(layers), architecture.input_shape)

    def deepen_mask(self, architecture: DenseNet) -> bytes:
        """For each block and position in C order whether a layer may be inserted there.

        A position is how many layers of the block come before the new one, as in every space: the last of them is
        copied. So nothing can be inserted at position 0.
        """
        return b"".join([bytes(self._places(architecture, block)) for block in range(self.max_blocks)])

    def _places(self, architecture: DenseNet, block: int) -> list[bool]:
        """For each position of a block whether a layer may be inserted there."""
        places = [False] * self.block_length
        layers = architecture.blocks[block] if block < len(architecture.blocks) else range(0)
        if len(layers) >= self.block_length or len(architecture.layers) >= self.max_layers:
            return places
        copied: DenseNetLayer | None = None
        for position, index in enumerate(layers):
            # A copy of any layer of a run makes the same network.
            if architecture.layers[index] != copied:
                copied = architecture.layers[index]
                legal = not self.is_limited or self.affords(architecture.deepened(block, position, None))
            places[position + 1] = legal
        return places

    def insertion(self, architecture: DenseNet, block: int, position: int, kernel: int) -> Net2Deeper:  # noqa: ARG002
        """The move behind one entry of `deepen_mask`.

        Args:
            architecture: The parent.
            block: Index into its blocks.
            position: How many layers of the block come before the new one, at least one.
            kernel: 0.
        """
        return Net2Deeper(block, position - 1, None)

    @property
    def token_limits(self) -> Token:
        """The largest value of each field of a token."""
        return len(KINDS) - 1, len(self.growth_rates), len(self.kernels)

    def token(self, layer: DenseNetLayer) -> Token:
        """The kind of a layer, the rungs that its growth rate has reached, and 1 if it has a 3x3 kernel."""
        match layer:
            case Conv():
                return 1, 0, 1
            case DenseLayer():
                return 2, self.rung(layer), 1
            case Transition():
                return 3, 0, 0
            case Softmax():
                return 4, 0, 0

    def distance(self, architecture: DenseNet) -> float:
        """See `DenseNetOptimum`."""
        return self._ideal(architecture).distance(architecture)

    def optimum(self, architecture: DenseNet) -> DenseNet:
        """The ideal network of the same kind with the same stem, transitions and classifier."""
        return self._ideal(architecture).network(architecture)

    def _ideal(self, architecture: DenseNet) -> DenseNetOptimum:
        blocks = len(architecture.blocks)
        room = max(1, (self.max_layers - blocks - 1) // blocks)
        return DenseNetOptimum(growth_rates=self.growth_rates, block_length=min(self.block_length, room))


def _rederived(layers: Sequence[DenseNetLayer]) -> list[DenseNetLayer]:
    """The layers with a wider stem and wider transitions, as growth rates ask for (the paper's code)."""
    growths = [layer.growth for layer in layers if isinstance(layer, DenseLayer)]
    channels, wanted, wider = 0, 2 * sum(growths) // len(growths), []
    for layer in layers:
        if isinstance(layer, DenseLayer):
            channels += layer.growth
        elif isinstance(layer, Conv | Transition):
            channels = max(layer.filters, wanted if isinstance(layer, Conv) else channels // 2)
            layer = layer.with_width(channels)
        wider.append(layer)
    return wider
