"""Tree cells as values (Cai et al., ICML 2018, "Path-Level Network Transformation", section 3.2).

A cell turns a map into another one. It is a tree: a node takes its input along one to three edges and merges what they
give; an edge is an operation, and may be followed by a node of its own. The cell is its root node.

The paper lets a node take the place of what its edge gives, y, so the cell gives node(y): `sep3>add(id,avg3)`. With
`+>` the node is put beside it, behind a batch norm: y + BN(node(y)). While that batch norm's gamma and beta are 0 the
function is kept to the last bit, at inference and in training mode, whatever the node is made of.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from eas_tf.errors import IllegalTransformation, InvalidArchitecture

#: Branch numbers from the root: each chooses one of a node's edges.
Path: TypeAlias = tuple[int, ...]

#: The most operations on one path (the paper's code: nodes stand at depth 0, 1 and 2).
MAX_DEPTH = 3

#: How a node's branches are merged, and how many there may be: summed; copies of the input, outputs concatenated; the
#: input's channels parted, outputs concatenated.
MERGES = {"add": (2, 3), "cat": (2,), "split": (2,)}

#: What each operation is, in words.
OPERATIONS = {
    "conv3": "a 3x3 convolution",
    "conv1": "a 1x1 convolution",
    "sep3": "a separable 3x3 convolution",
    "sep5": "a separable 5x5 convolution",
    "sep7": "a separable 7x7 convolution",
    "id": "the identity",
    "avg3": "a 3x3 average pool",
    "max3": "a 3x3 maximum pool",
}

#: Those without weights, which keep channels and size.
WEIGHTLESS = ("id", "avg3", "max3")


@dataclass(frozen=True, slots=True)
class Edge:
    """One operation of a cell, and the node that follows it. `str` is its notation, such as `conv3g2+>id`.

    Convolutions come behind batch norm and ReLU and have no bias. A separable one is a depthwise convolution and a
    1x1 convolution with nothing between them. Pools have stride 1; an average counts only pixels inside the map.

    Attributes:
        operation: Among `OPERATIONS`.
        groups: Of a 3x3 convolution.
        node: What follows; None at a leaf.
        skip: Whether what follows is added to what the operation gives, behind a batch norm (`+>`).
    """

    operation: str
    groups: int = 1
    node: "Node | None" = None
    skip: bool = False

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS:
            raise InvalidArchitecture(f"The operations are {', '.join(OPERATIONS)}. Received: {self.operation!r}")
        if self.groups < 1 or (self.groups > 1 and self.operation != "conv3"):
            raise InvalidArchitecture(f"Only conv3 has groups, at least 1. Received: {self.word}")
        if self.skip and self.node is None:
            raise InvalidArchitecture(f"A skip goes round a node. Received: {self.word} without one")

    def __str__(self) -> str:
        return self.word if self.node is None else f"{self.word}{'+>' if self.skip else '>'}{self.node}"

    @property
    def word(self) -> str:
        """The operation alone, such as `conv3g2`."""
        return f"{self.operation}g{self.groups}" if self.groups > 1 else self.operation

    @property
    def alone(self) -> "Edge":
        """The edge without what follows it."""
        return Edge(self.operation, self.groups)

    @property
    def words(self) -> str:
        """The operation in words."""
        grouped = f" in {self.groups} groups" if self.groups > 1 else ""
        return f"{OPERATIONS[self.operation]}{grouped}"

    def kernels(self, inputs: int, outputs: int) -> int:
        """The weights of the kernels, from so many channels to so many."""
        if self.operation == "conv3":
            return 9 * inputs * outputs // self.groups
        if self.operation in WEIGHTLESS:
            return 0
        depthwise = int(self.operation[-1]) ** 2 * inputs if self.operation != "conv1" else 0
        return depthwise + inputs * outputs

    def parameters(self, inputs: int, outputs: int) -> int:
        """The trainable weights: kernels, and gamma and beta of the batch norms before it and of a skip."""
        normalised = 0 if self.operation in WEIGHTLESS else inputs
        return self.kernels(inputs, outputs) + 2 * (normalised + outputs * self.skip)


@dataclass(frozen=True, slots=True)
class Node:
    """Edges that all start from one map, and how what they give is merged. `str` is the cell's notation.

    A sum behind `>` is divided by the number of branches, as in the paper; at the root and behind `+>` it is not,
    because copies that are averaged learn more slowly.

    Attributes:
        edges: One to three.
        merge: Among `MERGES`; empty with one edge.
    """

    edges: tuple[Edge, ...]
    merge: str = ""

    def __post_init__(self) -> None:
        if len(self.edges) not in (MERGES.get(self.merge, ()) if self.merge else (1,)):
            raise InvalidArchitecture(
                "A node has one edge, or 2 or 3 that are added, or 2 that are concatenated (cat, split). "
                f"Received: {len(self.edges)} edges, merge {self.merge!r}"
            )

    def __str__(self) -> str:
        paths = ",".join(map(str, self.edges))
        return f"{self.merge}({paths})" if self.merge else paths

    @property
    def depth(self) -> int:
        """The most operations on one path."""
        return 1 + max([edge.node.depth if edge.node else 0 for edge in self.edges])

    def edge(self, path: Path) -> Edge:
        """The edge to which branch numbers lead.

        Raises:
            IllegalTransformation: If there is none.
        """
        return self.node(path).edges[path[-1]]

    def node(self, path: Path) -> "Node":
        """The node of which the edge at `path` is a branch.

        Raises:
            IllegalTransformation: If there is no such edge.
        """
        node = self if path else None
        for branch in path[:-1]:
            node = node.edges[branch].node if node and 0 <= branch < len(node.edges) else None
        if node is None or not 0 <= path[-1] < len(node.edges):
            edges = ", ".join(written(path) for path, *_ in self.walk())
            raise IllegalTransformation(f"The cell {self} has the edges {edges}. Received: {written(path) or 'none'}")
        return node

    def with_edge(self, path: Path, edge: Edge) -> "Node":
        """The cell with another edge at `path`."""
        branch, *rest = path
        if rest:
            below = self.edges[branch].node
            edge = replace(self.edges[branch], node=below and below.with_edge(tuple(rest), edge))
        return replace(self, edges=(*self.edges[:branch], edge, *self.edges[branch + 1 :]))

    def with_node(self, path: Path, node: "Node") -> "Node":
        """The cell with another node in the place of that of which the edge at `path` is a branch."""
        return self.with_edge(path[:-1], replace(self.edge(path[:-1]), node=node)) if path[1:] else node

    def walk(self, above: Path = ()) -> Iterator[tuple[Path, Edge, "Node"]]:
        """Every edge in preorder: its path, the edge, and the node of which it is a branch."""
        for branch, edge in enumerate(self.edges):
            path = (*above, branch)
            yield path, edge, self
            if edge.node is not None:
                yield from edge.node.walk(path)


class Placed(NamedTuple):
    """An edge in a block of a network."""

    path: Path
    edge: Edge
    node: Node
    """Of which it is a branch."""
    inputs: int
    """Channels that reach it."""
    outputs: int
    """Channels that it gives."""


@lru_cache(maxsize=4096)
def placed(cell: Node, inputs: int, outputs: int) -> tuple[Placed, ...]:
    """The edges of a cell that turns so many channels into so many, in preorder.

    Only the root's edges change the number of channels.

    Raises:
        InvalidArchitecture: If an operation cannot have its numbers of channels.
    """
    channels: dict[Path, int] = {}
    edges = []
    for path, edge, node in cell.walk():
        above, branch = path[:-1], path[-1]
        before, after = (channels[above],) * 2 if above else (inputs, outputs)
        if node.merge == "split":
            before = runs(before, len(node.edges))[branch]
        if node.merge in ("cat", "split"):
            after = runs(after, len(node.edges))[branch]
        channels[path] = after
        _check_channels(path, edge, before, after)
        edges.append(Placed(path, edge, node, before, after))
    return tuple(edges)


def runs(channels: int, branches: int) -> tuple[int, ...]:
    """The channels of each branch, as equal as possible, the larger ones first."""
    least, more = divmod(channels, branches)
    return tuple([least + (branch < more) for branch in range(branches)])


def _check_channels(path: Path, edge: Edge, inputs: int, outputs: int) -> None:
    if min(inputs, outputs) < 1:
        expected = "at least 1; part fewer channels, or use a wider base"
    elif inputs % edge.groups or outputs % edge.groups:
        expected = f"multiples of its {edge.groups} groups"
    elif edge.operation in WEIGHTLESS and inputs != outputs:
        expected = f"as many after {edge.operation} as before it"
    else:
        return
    raise InvalidArchitecture(
        f"Edge {written(path)} of the cell, {edge.word}, goes from {inputs} to {outputs} channels. "
        f"Expected: {expected}."
    )


def written(path: Path) -> str:
    """Branch numbers as moves write them: `0.0.1`."""
    return ".".join(map(str, path))


def check_cell(cell: Node, roots: tuple[str, ...]) -> None:
    """Refuse a cell that no string has.

    Args:
        cell: The cell.
        roots: Operations of which the root's edges may be.

    Raises:
        InvalidArchitecture: If paths are too long, or the root's edges or the merges below it are others.
    """
    if cell.depth > MAX_DEPTH:
        raise InvalidArchitecture(f"At most {MAX_DEPTH} operations follow each other. Received: {cell.depth} in {cell}")
    for path, edge, node in cell.walk():
        if path[1:] and node.merge == "cat":
            raise InvalidArchitecture(f"Only the root may be of the kind cat. Received: {node} in {cell}")
        if not path[1:] and edge.operation not in roots:
            raise InvalidArchitecture(f"An edge of the root is {' or '.join(roots)}. Received: {edge.word} in {cell}")
