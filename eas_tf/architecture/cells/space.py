"""The space of NAS-Bench-201: an operation for each edge of a cell, one after the other."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from eas_tf.architecture.cells.cell import EDGES, OPERATIONS, Cell, Edge
from eas_tf.architecture.decisions import Chain, Choice, ChoiceShape, Decision, State
from eas_tf.architecture.moves import register_move
from eas_tf.architecture.space import Token
from eas_tf.errors import IllegalTransformation, InvalidArchitecture

#: The benchmark's best cell on CIFAR-10, by its mean over seeds.
_BEST = "333132"


@register_move
@dataclass(frozen=True, slots=True)
class SetOperation:
    """Put an operation on an edge of a cell.

    Attributes:
        edge: Index into `EDGES`.
        operation: Index into `OPERATIONS`.
    """

    name: ClassVar[str] = "operation"
    form: ClassVar[str] = "operation(edge,number)"

    edge: int
    operation: int

    @classmethod
    def read(cls, arguments: str) -> Self | None:
        """See `Move.read`."""
        match = re.fullmatch("([0-5]),([0-4])", arguments)
        return cls(int(match[1]), int(match[2])) if match else None

    def __str__(self) -> str:
        return f"operation({self.edge},{self.operation})"

    def apply(self, architecture: Cell) -> Cell:
        """The network with the operation.

        Raises:
            IllegalTransformation: If the network is no cell.
        """
        if not isinstance(architecture, Cell):
            raise IllegalTransformation(f"{self} is for cells. Received: {architecture}")
        return architecture.replaced(self.edge, OPERATIONS[self.operation])

    def words(self, architecture: Cell) -> tuple[str, Cell]:
        """See `Move.words`."""
        child, (node, source) = self.apply(architecture), EDGES[self.edge]
        return f"put {child.layers[self.edge].words} between nodes {source} and {node}", child


@dataclass(frozen=True, kw_only=True)
class CellSpace:
    """All cells of the benchmark. An episode decides its six edges in turn, whatever stands there."""

    name: str = "nasbench201"
    max_layers: ClassVar[int] = len(EDGES)
    steps: ClassVar[int] = len(EDGES)
    token_limits: ClassVar[Token] = (len(OPERATIONS) + 1, 1, 2)
    kinds: ClassVar[dict[str, ChoiceShape]] = {
        # Number 0 keeps what stands on the edge.
        "operation": Chain(("operation",), (1 + len(OPERATIONS),), passes=True)
    }

    def start_network(self, input_shape: Sequence[int], classes: int) -> Cell:
        """A cell in which nothing is decided yet."""
        height, width, channels = input_shape
        return Cell.of(["undecided"] * len(EDGES), classes, (height, width, channels))

    def check(self, architecture: Any) -> None:
        """Refuse what is no cell.

        Raises:
            InvalidArchitecture: If it is another kind of network.
        """
        if not isinstance(architecture, Cell):
            raise InvalidArchitecture(
                f"The network is outside the space {self.name!r}: it is no cell; choose a space of its kind. "
                f"Received: {architecture}"
            )

    def token(self, layer: Edge) -> Token:
        """The operation, 1 if it is undecided and from 2 on the benchmark's; whether it is decided; its source."""
        decided = layer.operation != "undecided"
        return 2 + OPERATIONS.index(layer.operation) if decided else 1, int(decided), layer.source

    def decision(self, state: State[Cell]) -> Decision | None:
        """The operation of the next edge: any other than the one that is there, which may be kept."""
        if state.steps == len(EDGES):
            return None
        now = state.architecture.layers[state.steps].operation
        mask = b"\0" + bytes(operation != now for operation in OPERATIONS)
        return Decision("operation", mask, may_pass=now in OPERATIONS)

    def act(self, state: State[Cell], choice: Choice) -> State[Cell]:
        """The state after a choice.

        Raises:
            IllegalTransformation: If the choice has another shape.
        """
        if choice is None:
            return state.after(state.architecture)
        if len(choice) != 1 or not 1 <= choice[0] <= len(OPERATIONS):
            raise IllegalTransformation(
                f"An operation is a number from 1 to {len(OPERATIONS)}, or None to keep what is there. "
                f"Received: {choice}"
            )
        move = SetOperation(state.steps, choice[0] - 1)
        return state.after(move.apply(state.architecture), move)

    def distance(self, architecture: Cell) -> float:
        """The share of edges on which it differs from `optimum`."""
        return sum(a != b for a, b in zip(architecture.key, _BEST, strict=True)) / len(EDGES)

    def optimum(self, architecture: Cell) -> Cell:
        """The benchmark's best cell on CIFAR-10."""
        operations = [OPERATIONS[int(number)] for number in _BEST]
        return Cell.of(operations, architecture.classes, architecture.input_shape)
