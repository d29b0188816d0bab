"""What is to be decided about a network, as values: agents answer them, whatever kind of network it is."""

from dataclasses import dataclass
from typing import Generic, TypeAlias

from eas_tf.architecture.architecture import ArchitectureT
from eas_tf.architecture.moves import Move


@dataclass(frozen=True, slots=True)
class Chain:
    """Categories that are chosen one after the other, each depending on those before.

    A choice is a number for each category. Its mask is a byte for each combination in C order, 1 where it is legal.

    Attributes:
        names: What each category is, such as block, position and kernel.
        sizes: How many there are to choose from.
        passes: Whether to leave the network as it is may be legal. Then zeros are no choice of their own, and stand for
            that where a choice is an array of numbers.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    passes: bool = False


@dataclass(frozen=True, slots=True)
class Coins:
    """A coin for each layer, all of them tossed at once.

    A choice is the indices of the layers whose coin says yes. Its mask is a byte for each layer, 1 where it may say
    yes: every choice among those is legal, none too.

    Attributes:
        number: How many coins there are.
    """

    number: int


#: The shape of a choice.
ChoiceShape: TypeAlias = Chain | Coins

#: Numbers as the shape says; None to leave the network as it is.
Choice: TypeAlias = tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be decided next.

    Attributes:
        kind: Its name, among those of `Space.kinds`.
        mask: Which choices are legal, as the kind's shape says.
        may_pass: Whether None is legal: to leave the network as it is.
        about: Which layer it is about, as an index into `layers`, where neither kind nor choice says that.
    """

    kind: str
    mask: bytes
    may_pass: bool = False
    about: int | None = None


@dataclass(frozen=True, slots=True)
class State(Generic[ArchitectureT]):
    """Where an episode is.

    Attributes:
        architecture: The network.
        moves: What led to it from the episode's parent.
        steps: Decisions taken, those that left the network as it is included.
    """

    architecture: ArchitectureT
    moves: tuple[Move, ...] = ()
    steps: int = 0

    def after(self, architecture: ArchitectureT, *moves: Move) -> "State[ArchitectureT]":
        """The state one decision later."""
        return State(architecture, (*self.moves, *moves), self.steps + 1)
