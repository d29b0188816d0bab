"""What all search spaces have in common, for everything that need not know which kind of network it searches."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeAlias

from eas_tf.architecture.architecture import ArchitectureT
from eas_tf.architecture.layers import AnyLayer, Shape
from eas_tf.architecture.transformations import Net2Deeper, Net2Wider
from eas_tf.errors import IllegalTransformation, InvalidArchitecture, InvalidConfiguration

#: Legal insertions, indexed by block, position and kernel: `[max_blocks][block_length][len(kernels)]`.
DeepenMask: TypeAlias = tuple[tuple[tuple[bool, ...], ...], ...]

#: The kind of a layer, the rungs that its width has reached, and which kernel it has.
Token: TypeAlias = tuple[int, int, int]


#: A space whose smallest images have this side is not looked for further.
_SMALLEST = 257


class Space(Protocol[ArchitectureT]):
    """Which networks may be reached, and which transformations are legal from one of them.

    Limits act through the masks: an agent that samples from a mask never leaves the space.
    """

    @property
    def name(self) -> str:
        """What the space is called."""
        ...

    @property
    def kernels(self) -> tuple[int, ...]:
        """What an insertion chooses from."""
        ...

    @property
    def max_blocks(self) -> int:
        """Blocks of a network."""
        ...

    @property
    def block_length(self) -> int:
        """Layers in one block, and positions at which one can be inserted."""
        ...

    @property
    def max_layers(self) -> int:
        """Layers in all."""
        ...

    @property
    def max_parameters(self) -> int | None:
        """Trainable weights, or None for no limit."""
        ...

    @property
    def token_limits(self) -> Token:
        """The largest value of each field of a token."""
        ...

    def token(self, layer: Any) -> Token:
        """A layer as numbers from 0 up, for observations. The first is not 0, which is padding's."""
        ...

    def start_network(self, input_shape: Sequence[int], classes: int) -> ArchitectureT:
        """The space's start network for images of this size and this many classes.

        Raises:
            InvalidArchitecture: If the images are too small for it, or it exceeds the space's limits.
        """
        ...

    def check(self, architecture: ArchitectureT) -> None:
        """Refuse a network outside the space, of another kind too.

        Raises:
            InvalidArchitecture: Naming the first limit that the network exceeds.
        """
        ...

    def widen_mask(self, architecture: ArchitectureT) -> tuple[bool, ...]:
        """For each layer whether it may be widened, such that every choice among them is legal."""
        ...

    def widened(self, architecture: ArchitectureT, indices: Iterable[int]) -> ArchitectureT:
        """The network with these layers on their next rung, whether `widen_mask` allows it or not.

        `widenings` tells the transformations that lead to it.
        """
        ...

    def deepen_mask(self, architecture: ArchitectureT) -> DeepenMask:
        """For each block, position and kernel whether a layer may be inserted there; at 0, 0 none ever may."""
        ...

    def deepening(self, architecture: ArchitectureT, block: int, position: int, kernel: int) -> Net2Deeper:
        """The transformation behind one entry of `deepen_mask`.

        Args:
            architecture: The parent.
            block: Index into its blocks.
            position: How many layers of the block come before the new one.
            kernel: Index into the space's kernels.

        Raises:
            IllegalTransformation: If `deepen_mask` does not allow it.
        """
        ...

    def distance(self, architecture: ArchitectureT) -> float:
        """How far a network is from `optimum`, 0 or more, in closed form: for work on agents without training."""
        ...

    def optimum(self, architecture: ArchitectureT) -> ArchitectureT:
        """The network at distance 0 that has what transformations cannot change from `architecture`."""
        ...


#: A space of whatever kind.
AnySpace: TypeAlias = Space[Any]


def for_images(space: AnySpace, build: Callable[[Shape], ArchitectureT], input_shape: Sequence[int]) -> ArchitectureT:
    """What a space builds for images of this height, width and channels.

    Raises:
        InvalidArchitecture: If they are too small, naming the smallest images that the space takes.
    """
    height, width, channels = input_shape
    try:
        return build((height, width, channels))
    except InvalidArchitecture as error:
        small = min(height, width)
        enough = next((side for side in range(small + 1, _SMALLEST) if _builds(build, (side, side, channels))), None)
        if small < 1 or enough is None:
            raise
        times = f"repeat({-(-enough // small)}, axis="
        raise InvalidArchitecture(
            f"{error} The smallest images of the space {space.name!r} are {enough}x{enough}: choose another space, or "
            f"save yours enlarged, x_train.{times}1).{times}2), and x_test likewise."
        ) from None


def _builds(build: Callable[[Shape], Any], shape: Shape) -> bool:
    try:
        build(shape)
    except InvalidArchitecture:
        return False
    return True


def check_limits(space: AnySpace) -> None:
    """Refuse limits of a space that leave nothing.

    Raises:
        InvalidConfiguration: Naming the limit.
    """
    for limit in ("max_blocks", "block_length", "max_layers", "max_parameters"):
        value = getattr(space, limit)
        if value is not None and value < 1:
            raise InvalidConfiguration(f"{limit} must be at least 1. Received: {value}")


def affordable(possible: Sequence[int], parameters: Callable[[Sequence[int]], int], most: int | None) -> list[int]:
    """The layers that may be widened under a limit, such that any of them may be together: the cheapest first.

    Args:
        possible: Indices of the layers that have a next rung.
        parameters: The trainable weights of the network with these layers widened. More layers, more weights.
        most: The limit, or None.
    """
    if most is None or parameters(possible) <= most:
        return [*possible]
    costs = {index: parameters([index]) for index in possible}
    chosen: list[int] = []
    for index in sorted(possible, key=lambda index: (costs[index], index)):
        if parameters([*chosen, index]) <= most:
            chosen.append(index)
    return chosen


def not_insertable(
    space: AnySpace, architecture: ArchitectureT, block: int, position: int, kernel: int
) -> IllegalTransformation:
    """What to raise where `deepen_mask` is not true."""
    return IllegalTransformation(
        f"Cannot insert a layer in block {block} at position {position} with kernel number {kernel} into "
        f"{architecture}: the space {space.name!r} does not allow it. Choose a legal entry of the mask."
    )


def widenings(parent: Sequence[AnyLayer], child: Sequence[AnyLayer]) -> tuple[Net2Wider, ...]:
    """The transformations that turn the layers of one network into those of another, which is wider in some."""
    pairs = enumerate(zip(parent, child, strict=True))
    return tuple([Net2Wider(index, after.width or 0) for index, (before, after) in pairs if before != after])
