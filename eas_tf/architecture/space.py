"""What all search spaces have in common, for everything that need not know which kind of network it searches."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

from eas_tf.architecture.architecture import Architecture, ArchitectureT
from eas_tf.architecture.decisions import Choice, ChoiceShape, Decision, State
from eas_tf.architecture.layers import Shape
from eas_tf.errors import InvalidArchitecture

#: A layer as numbers: of plain networks and DenseNets its kind, the rungs that its width has reached, and its kernel.
Token: TypeAlias = tuple[int, ...]

#: A space whose smallest images have this side is not looked for further.
_SMALLEST = 257


@runtime_checkable
class Space(Protocol[ArchitectureT]):
    """Which networks may be reached, what is to be decided about one of them, and what a choice leads to.

    Limits act through the masks: an agent that chooses what is legal never leaves the space.
    """

    @property
    def name(self) -> str:
        """What the space is called."""
        ...

    @property
    def kinds(self) -> Mapping[str, ChoiceShape]:
        """The kinds of decisions by name, in alphabetical order, and the shapes of their choices."""
        ...

    @property
    def steps(self) -> int:
        """The most decisions of an episode."""
        ...

    @property
    def max_layers(self) -> int:
        """Layers in all."""
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

    def decision(self, state: State[ArchitectureT]) -> Decision | None:
        """What is to be decided next; None if the episode is over."""
        ...

    def act(self, state: State[ArchitectureT], choice: Choice) -> State[ArchitectureT]:
        """The state after a choice that `decision` says is legal. None leaves the network as it is.

        Raises:
            IllegalTransformation: If the choice has another shape, or leads to no network. Whether it leads out of the
                space is not looked at: that is what the mask is for.
        """
        ...

    def distance(self, architecture: ArchitectureT) -> float:
        """How far a network is from `optimum`, 0 or more, in closed form: for work on agents without training."""
        ...

    def optimum(self, architecture: ArchitectureT) -> ArchitectureT:
        """The network at distance 0 that has what moves cannot change from `architecture`."""
        ...


#: A space of whatever kind.
AnySpace: TypeAlias = Space[Any]


@dataclass(frozen=True, kw_only=True)
class NetworkKind:
    """A kind of network, as its folder tells of it."""

    parse: Callable[[str, Sequence[int]], Architecture]
    """Reads a layer string for images of this height, width and channels."""
    headers: tuple[str, ...] = ()
    """What its strings begin with, before a colon; none for the one kind whose strings have no header."""
    spaces: tuple[AnySpace, ...] = ()
    """Those that have a name."""


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
