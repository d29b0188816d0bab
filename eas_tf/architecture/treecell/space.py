"""The space of tree cells: how an episode grows one, and which cells may be reached.

Cai et al. (ICML 2018), section 3.3. On a bare cell an episode decides how the root's edge is merged, then for each edge
at whose end a node may stand whether one is inserted there. A new node's merge is decided at once, then the operation
of each of its edges, then what is inserted behind them, depth first. The paper has no episodes on other cells; here
they begin with whether a node is inserted behind each leaf, in preorder, so that children can be parents.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from operator import mul
from typing import Any, TypeAlias

from eas_tf.architecture.decisions import Chain, Choice, ChoiceShape, Decision, State
from eas_tf.architecture.densenet.layers import DenseLayer, Transition
from eas_tf.architecture.layers import Conv, Softmax
from eas_tf.architecture.moves import Move
from eas_tf.architecture.space import Token, for_images
from eas_tf.architecture.treecell.layers import Block, CellEdge, Residual
from eas_tf.architecture.treecell.moves import Branch, InsertNode, SetEdge
from eas_tf.architecture.treecell.network import TreeNetwork
from eas_tf.architecture.treecell.notation import read_cell
from eas_tf.architecture.treecell.optimum import distance
from eas_tf.architecture.treecell.tree import MAX_DEPTH, MERGES, OPERATIONS, Edge, Node, Path, written
from eas_tf.errors import IllegalTransformation, InvalidArchitecture, InvalidConfiguration

#: The operations that the paper's search chooses among, in the order of its code.
SEARCHED = ("sep3", "sep5", "sep7", "conv1", "id", "max3", "avg3")

#: What choices 1, 0 and so on of a merge stand for; 0, 0 stands for none.
_MERGE_CHOICES = (("add", 2), ("add", 3), ("concat", 2))

#: The kinds of rows of an observation: layers of the base, then edges by operation, grouped convolutions by themselves.
_ROWS: tuple[Any, ...] = (Conv, DenseLayer, Residual, Block, Transition, Softmax, *OPERATIONS, "grouped")
_MERGES = ("", *MERGES)

#: What is still to be decided, and about which edge.
Agenda: TypeAlias = tuple[tuple[str, Path], ...]


@dataclass(frozen=True, slots=True)
class Growing(State[TreeNetwork]):
    """Where an episode is.

    Attributes:
        agenda: What is to be decided next, and what after that, as far as it is known.
    """

    agenda: Agenda = ()


@dataclass(frozen=True, kw_only=True)
class TreeCellSpace:
    """Limits of cells, and the base that they are put into. The module says in which order is decided.

    - "merge" is none, add or concat, and 2 or 3 branches, of which only add has a choice.
    - "insert" is yes, or to pass.
    - "operation" is a number of `operations`.
    """

    name: str
    start: str
    """The layer string of the network from which a search starts. Its cell is bare: one edge."""
    ideal: str
    """The cell at distance 0 of the closed form, as a space with skips has it."""
    operations: tuple[str, ...] = SEARCHED
    """Operations to choose among; the identity is one of them."""
    branches: tuple[int, ...] = (3, 3, 3)
    """The most branches of a node at depth 0, 1 and so on. No node stands deeper (paper: 3 at depths 0, 1 and 2)."""
    skip: bool = True
    """Whether inserted nodes stand beside what they follow, which keeps the function (`+>`), or in its path (`>`, the
    paper's)."""
    max_layers: int = 64
    """Layers of the base and edges of the cell."""
    max_parameters: int | None = None
    """Trainable weights, or None for no limit."""
    may_pass: bool = False
    """Whether an episode may end without a node inserted where one could have been."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.branches) <= MAX_DEPTH or any(not 1 <= most <= 3 for most in self.branches):
            raise InvalidConfiguration(
                f"`branches` is from 1 to 3 for each depth, of which there are up to {MAX_DEPTH}. "
                f"Received: {self.branches}"
            )
        different = set(self.operations)
        if "id" not in different or not different <= set(OPERATIONS) or len(different) < len(self.operations):
            raise InvalidConfiguration(
                f"`operations` are id and others, each once, of {', '.join(OPERATIONS)}. Received: {self.operations}"
            )
        if self.max_parameters is not None and self.max_parameters < 1:
            raise InvalidConfiguration(f"`max_parameters` must be at least 1. Received: {self.max_parameters}")
        if not _is_bare(self._start.cell):
            raise InvalidConfiguration(f"The cell of `start` is one edge. Received: {self._start.cell}")
        for what, network in (("start", self._start), ("ideal", self.optimum(self._start))):
            if reason := self._structure_outside(network):
                raise InvalidConfiguration(f"`{what}` is outside the space: {reason}. Received: {network}")

    @property
    def kinds(self) -> dict[str, ChoiceShape]:
        """See `Space.kinds`."""
        return {
            "insert": Chain(("insert",), self._sizes("insert"), passes=True),
            "merge": Chain(("merge", "branches"), self._sizes("merge"), passes=True),
            "operation": Chain(("operation",), self._sizes("operation")),
        }

    def _sizes(self, kind: str) -> tuple[int, ...]:
        return {"insert": (2,), "merge": (3, 2)}.get(kind, (len(self.operations),))

    @property
    def steps(self) -> int:
        """See `Space.steps`; 61 in the paper's space."""
        below = 0
        for depth, most in reversed([*enumerate(self.branches)]):
            chosen = depth > 0 or self._root.operation == "id"
            below = 1 + most * (chosen + (1 + below if depth + 1 < len(self.branches) else 0))
        return below

    @property
    def most_edges(self) -> int:
        """Edges of the largest cell; 39 in the paper's space."""
        return sum(accumulate(self.branches, mul))

    def start_network(self, input_shape: Sequence[int], classes: int) -> TreeNetwork:
        """The space's start network for images of this size and this many classes.

        Raises:
            InvalidArchitecture: If the images are too small for its transitions, or it exceeds the space's limits.
        """
        base = (*self._start.base[:-1], Softmax(classes))
        start = for_images(self, lambda shape: replace(self._start, base=base, input_shape=shape), input_shape)
        self.check(start)
        return start

    def check(self, architecture: TreeNetwork) -> None:
        """See `Space.check`."""
        if reason := self.outside(architecture):
            raise InvalidArchitecture(
                f"The network is outside the space {self.name!r}: {reason}. Received: {architecture}"
            )

    def outside(self, architecture: Any) -> str | None:
        """The first limit that a network exceeds, if any; also that it is of another kind."""
        kind = self._start.kind
        if not isinstance(architecture, TreeNetwork) or architecture.kind != kind:
            return f"it is no {kind}; choose a space of its kind"
        if reason := self._structure_outside(architecture):
            return reason
        if not self._affords(architecture):
            return f"it has {architecture.parameter_count:,} parameters, at most {self.max_parameters:,} are allowed"
        return None

    def _structure_outside(self, architecture: TreeNetwork) -> str | None:
        """The first limit that base or cell exceeds, if any."""
        room = self.max_layers - self.most_edges
        if len(architecture.base) > room:
            return f"its base has {len(architecture.base)} layers, at most {room} leave room for the cell"
        return next(filter(None, [self._edge_outside(*each) for each in architecture.cell.walk()]), None)

    def _edge_outside(self, path: Path, edge: Edge, node: Node) -> str | None:
        """The first limit that an edge of a cell exceeds, if any."""
        where, depth = f"edge {written(path)}, {edge.word},", len(path)
        if depth > len(self.branches):
            return f"{where} is operation {depth} of a path, at most {len(self.branches)} are allowed"
        if len(node.edges) > self.branches[depth - 1]:
            return f"{where} is one of {len(node.edges)} branches, at most {self.branches[depth - 1]} are allowed"
        if depth == 1 and self._root.operation != "id":
            parts = len(node.edges) if node.merge == "split" else 1
            if edge.groups * parts != self._root.groups or (node.merge == "cat" and edge.groups > 1):
                return f"{where} is not what branching makes of {self._root.word}"
        elif edge.word not in self.operations:
            return f"{where} is none of {', '.join(self.operations)}"
        if edge.node is not None and edge.skip != self.skip:
            return f"{where} is followed by {'>' if self.skip else '+>'}, in this space {'+>' if self.skip else '>'}"
        return None

    @property
    def token_limits(self) -> Token:
        """The largest value of each field of a token."""
        return len(_ROWS), MAX_DEPTH, max(self.branches) - 1, 1 + len(_MERGES)

    def token(self, layer: Any) -> Token:
        """Its kind; of an edge its depth from 1, its number among its node's, and from 1 how the node is merged."""
        if not isinstance(layer, CellEdge):
            return 1 + _ROWS.index(type(layer)), 0, 0, 0
        operation = layer.operation
        kind = "grouped" if operation.groups > 1 else operation.operation
        return 1 + _ROWS.index(kind), layer.depth, layer.branch, 1 + _MERGES.index(layer.merge)

    def decision(self, state: State[TreeNetwork]) -> Decision | None:
        """See `Space.decision`. It is about an edge: the place of a merge, the leaf, or what the operation is for."""
        agenda, network = self._agenda(state), state.architecture
        if not agenda:
            # The cell is full: as environments want it, there is one step, in which nothing can be done.
            return None if state.steps else Decision("insert", b"\0\0", may_pass=True)
        (kind, path), *later = agenda
        mask = bytes([self._allows(network, move) for move in self._moves(kind, path)])
        may_pass = kind != "operation"
        if kind == "insert" and mask[1] and not self.may_pass and not _has_grown(state):
            # The paper draws a cell again if nothing was inserted.
            may_pass = any(self._allows(network, self._moves(*each)[1]) for each in later if each[0] == "insert")
        return Decision(kind, mask, may_pass, about=len(network.base) + network.paths.index(path))

    def act(self, state: State[TreeNetwork], choice: Choice) -> State[TreeNetwork]:
        """See `Space.act`."""
        agenda, network = self._agenda(state), state.architecture
        if not agenda:
            return Growing(network, state.moves, state.steps + 1)
        (kind, path), *later = agenda
        move = None if choice is None else self._chosen(kind, path, choice)
        child = network if move is None else move.apply(network)
        if kind == "insert":
            due: Agenda = (("merge", (*path, 0)),) if move else ()
        else:
            due = self._after_merge(child.cell, path) if kind == "merge" else ()
        moves = state.moves if move is None or child == network else (*state.moves, move)
        return Growing(child, moves, state.steps + 1, (*due, *later))

    def _agenda(self, state: State[TreeNetwork]) -> Agenda:
        if isinstance(state, Growing):
            return state.agenda
        cell = state.architecture.cell
        if _is_bare(cell):
            return (("merge", (0,)),)
        return tuple([("insert", path) for path, edge, _ in cell.walk() if not edge.node and self._may_follow(path)])

    def _after_merge(self, cell: Node, path: Path) -> Agenda:
        """What follows the merge of a new node: its operations, then what is inserted behind its edges."""
        edges = [(*path[:-1], branch) for branch in range(len(cell.node(path).edges))]
        chosen = [("operation", each) for each in edges if cell.edge(each).operation == "id"]
        return (*chosen, *[("insert", each) for each in edges if self._may_follow(each)])

    def _may_follow(self, path: Path) -> bool:
        """Whether a node may stand behind an edge."""
        return len(path) < len(self.branches)

    def _moves(self, kind: str, path: Path) -> list[Move | None]:
        """The move behind each number of a decision's mask; None where there is none."""
        if kind == "insert":
            return [None, InsertNode(path, self.skip)]
        if kind == "operation":
            return [SetEdge(path, operation) for operation in self.operations]
        most = self.branches[len(path) - 1]
        merges = [Branch(path, merge, number) if number <= most else None for merge, number in _MERGE_CHOICES]
        return [None, None, *merges, None]

    def _chosen(self, kind: str, path: Path, choice: tuple[int, ...]) -> Move:
        """The move behind a choice.

        Raises:
            IllegalTransformation: If there is none.
        """
        sizes, place = self._sizes(kind), 0
        is_right = len(choice) == len(sizes) and all(0 <= each < size for each, size in zip(choice, sizes, strict=True))
        for each, size in zip(choice, sizes, strict=False):
            place = place * size + each
        move = self._moves(kind, path)[place] if is_right else None
        if move is None:
            raise IllegalTransformation(
                f"A choice of kind {kind!r} is numbers from 0 to below {sizes} that stand for a move, or None to pass. "
                f"Received: {choice}"
            )
        return move

    def _allows(self, network: TreeNetwork, move: Move | None) -> bool:
        """Whether a move leads to a network of the space."""
        if move is None:
            return False
        if self.max_parameters is None and not isinstance(move, Branch):
            return True  # Nodes and operations to choose among fit any channels.
        try:
            return self._affords(move.apply(network))
        except IllegalTransformation:
            return False

    def _affords(self, network: TreeNetwork) -> bool:
        return self.max_parameters is None or network.parameter_count <= self.max_parameters

    def distance(self, architecture: TreeNetwork) -> float:
        """See `treecell.optimum.distance`."""
        return distance(architecture.cell, self._ideal)

    def optimum(self, architecture: TreeNetwork) -> TreeNetwork:
        """The same base with the ideal cell."""
        return architecture.with_cell(self._ideal)

    @property
    def _start(self) -> TreeNetwork:
        return _parsed(self.start)

    @property
    def _root(self) -> Edge:
        """The edge of the bare cell."""
        return self._start.cell.edges[0]

    @property
    def _ideal(self) -> Node:
        return _cell(self.ideal if self.skip else self.ideal.replace("+>", ">"))


@lru_cache(maxsize=64)
def _parsed(start: str) -> TreeNetwork:
    return TreeNetwork.parse(start, (1024, 1024, 3))


@lru_cache(maxsize=64)
def _cell(text: str) -> Node:
    return read_cell(text, 0, tuple(OPERATIONS))


def _is_bare(cell: Node) -> bool:
    return len(cell.edges) == 1 and cell.edges[0].node is None


def _has_grown(state: State[TreeNetwork]) -> bool:
    return any(isinstance(move, InsertNode) for move in state.moves)
