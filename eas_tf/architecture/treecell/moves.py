"""Path-level transformations (Cai et al., ICML 2018, section 3.1) as values, and what they do to a cell.

`branch(0,add,3)` puts three copies in the place of edge 0, `branch(0,concat,2)` two parts of it; `insert(0.1)` puts a
node with one identity edge behind edge 0.1; `set(0.1.0,sep5)` puts an operation in the place of an identity. An edge is
addressed by branch numbers from the root.
"""

import re
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from eas_tf.architecture.moves import register_move
from eas_tf.architecture.treecell.network import TreeNetwork
from eas_tf.architecture.treecell.notation import read_operation
from eas_tf.architecture.treecell.tree import MAX_DEPTH, MERGES, OPERATIONS, Edge, Node, Path, written
from eas_tf.errors import IllegalTransformation, InvalidArchitecture

#: An edge as moves write it. More branch numbers than this are refused before they are read.
_PATH = "([0-9](?:[.][0-9]){0,9})"


def _path(text: str) -> Path:
    return tuple(map(int, text.split(".")))


def _of_cells(move: object, network: TreeNetwork) -> Node:
    """The cell that a move is for.

    Raises:
        IllegalTransformation: If the network is of another kind.
    """
    if not isinstance(network, TreeNetwork):
        raise IllegalTransformation(f"{move} is for networks of tree cells. Received: {network}")
    return network.cell


def _with_cell(move: object, network: TreeNetwork, cell: Node) -> TreeNetwork:
    """The network with another cell.

    Raises:
        IllegalTransformation: If the cell does not fit the base.
    """
    try:
        return network.with_cell(cell)
    except InvalidArchitecture as error:
        raise IllegalTransformation(f"{move} leads to no network: {error}") from None


@register_move
@dataclass(frozen=True, slots=True)
class Branch:
    """Replace an edge by several whose outputs are merged.

    The edge is a leaf and the only one of its node. A sum has copies of it. So has the concatenation of the root's 3x3
    convolution in one group, each of which gives half of the outputs. Of a grouped convolution the groups are parted,
    of the identity the channels. No other operation is branched, because it is chosen after the merge.

    Attributes:
        path: The edge.
        merge: "add" or "concat".
        branches: 2 or 3 that are added, 2 that are concatenated.
    """

    name: ClassVar[str] = "branch"
    form: ClassVar[str] = "branch(edge,add,2 or 3) or branch(edge,concat,2)"

    path: Path
    merge: str
    branches: int

    @classmethod
    def read(cls, arguments: str) -> Self | None:
        """See `Move.read`."""
        match = re.fullmatch(f"{_PATH},(?:(add),([23])|(concat),(2))", arguments)
        return cls(_path(match[1]), match[2] or match[4], int(match[3] or match[5])) if match else None

    def __str__(self) -> str:
        return f"branch({written(self.path)},{self.merge},{self.branches})"

    def apply(self, architecture: TreeNetwork) -> TreeNetwork:
        """The network with the branches.

        Raises:
            IllegalTransformation: If there is no such edge, or it cannot be merged so.
        """
        cell = _of_cells(self, architecture)
        edge, node = cell.edge(self.path), cell.node(self.path)
        received = f"Received: {self}, edge {written(self.path)} is {edge} of {node}"
        if node.merge or edge.node is not None:
            raise IllegalTransformation(f"Only a leaf that is its node's only edge can be branched. {received}")
        if edge.operation not in ("conv3", "id"):
            raise IllegalTransformation(f"Only conv3 and id can be branched. {received}")
        merge, copy = self._merged(edge, received)
        if merge != "add":
            self._check_channels(architecture, merge, received)
        return _with_cell(self, architecture, cell.with_node(self.path, Node((copy,) * self.branches, merge)))

    def _merged(self, edge: Edge, received: str) -> tuple[str, Edge]:
        """The merge as cells have it, and each of the branches."""
        is_root, merge = len(self.path) == 1, {"add": "add", "concat": "split"}.get(self.merge, "")
        if self.branches not in MERGES.get(merge, ()):
            raise IllegalTransformation(f"A merge is {self.form}. {received}")
        if merge == "add" or edge.operation == "id":
            return merge, edge
        if edge.groups == 1 and is_root:
            return "cat", edge
        if edge.groups % self.branches:
            raise IllegalTransformation(
                f"Concatenation parts the groups of a convolution. Expected: a multiple of {self.branches}. {received}"
            )
        return "split", replace(edge, groups=edge.groups // self.branches)

    def _check_channels(self, network: TreeNetwork, merge: str, received: str) -> None:
        """Refuse to part channels of which there is an odd number in some block."""
        for block in network.places:
            _, _, _, inputs, outputs = network.placed(block)[network.paths.index(self.path)]
            parted = outputs if merge == "cat" else inputs if inputs % self.branches else outputs
            if parted % self.branches:
                raise IllegalTransformation(
                    f"Concatenation parts channels. Expected: a multiple of {self.branches}, but in layer {block}, "
                    f"{network.base[block]}, there are {parted}. {received}"
                )

    def words(self, architecture: TreeNetwork) -> tuple[str, TreeNetwork]:
        """See `Move.words`."""
        child, number = self.apply(architecture), {2: "two", 3: "three"}[self.branches]
        how = {"add": f"{number} copies that are added", "cat": f"{number} that are concatenated"}
        merge = child.cell.node(self.path).merge
        into = how.get(merge, f"{number} on parts of its channels, concatenated")
        return f"branch edge {written(self.path)} into {into}", child


@register_move
@dataclass(frozen=True, slots=True)
class InsertNode:
    """Insert a node with one identity edge behind a leaf.

    Attributes:
        path: The leaf.
        skip: Whether the node is put beside what the leaf gives, behind a batch norm whose gamma and beta are 0 at
            birth (`+>`). Otherwise it takes its place (`>`), as in the paper.
    """

    name: ClassVar[str] = "insert"
    form: ClassVar[str] = "insert(edge) or insert(edge,plain)"

    path: Path
    skip: bool = True

    @classmethod
    def read(cls, arguments: str) -> Self | None:
        """See `Move.read`."""
        match = re.fullmatch(f"{_PATH}(,plain)?", arguments)
        return cls(_path(match[1]), match[2] is None) if match else None

    def __str__(self) -> str:
        return f"insert({written(self.path)}{'' if self.skip else ',plain'})"

    def apply(self, architecture: TreeNetwork) -> TreeNetwork:
        """The network with the node.

        Raises:
            IllegalTransformation: If there is no such edge, it is no leaf, or paths would become too long.
        """
        cell = _of_cells(self, architecture)
        edge = cell.edge(self.path)
        if edge.node is not None:
            raise IllegalTransformation(f"A node is inserted behind a leaf. Received: {self}, behind it is {edge.node}")
        if len(self.path) >= MAX_DEPTH:
            raise IllegalTransformation(f"At most {MAX_DEPTH} operations follow each other. Received: {self}")
        grown = replace(edge, node=Node((Edge("id"),)), skip=self.skip)
        return _with_cell(self, architecture, cell.with_edge(self.path, grown))

    def words(self, architecture: TreeNetwork) -> tuple[str, TreeNetwork]:
        """See `Move.words`."""
        place = "beside what it gives" if self.skip else "in its path"
        return f"insert a node behind edge {written(self.path)}, {place}", self.apply(architecture)


@register_move
@dataclass(frozen=True, slots=True)
class SetEdge:
    """Put an operation in the place of an identity.

    Attributes:
        path: The edge.
        operation: As the cell writes it, such as `sep5` or `conv3g2`.
    """

    name: ClassVar[str] = "set"
    form: ClassVar[str] = "set(edge,operation)"

    path: Path
    operation: str

    @classmethod
    def read(cls, arguments: str) -> Self | None:
        """See `Move.read`."""
        match = re.fullmatch(f"{_PATH},([a-z0-9]{{2,12}})", arguments)
        return cls(_path(match[1]), match[2]) if match and read_operation(match[2]) else None

    def __str__(self) -> str:
        return f"set({written(self.path)},{self.operation})"

    def apply(self, architecture: TreeNetwork) -> TreeNetwork:
        """The network with the operation.

        Raises:
            IllegalTransformation: If there is no such edge or operation, the edge is no identity, or the operation does
                not fit its channels.
        """
        cell = _of_cells(self, architecture)
        before, operation = cell.edge(self.path), read_operation(self.operation)
        if operation is None:
            raise IllegalTransformation(f"The operations are {', '.join(OPERATIONS)}. Received: {self}")
        if before.operation != "id":
            raise IllegalTransformation(
                f"An operation takes the place of an identity. Received: {self}, the edge is {before.word}"
            )
        after = replace(operation, node=before.node, skip=before.skip)
        return _with_cell(self, architecture, cell.with_edge(self.path, after))

    def words(self, architecture: TreeNetwork) -> tuple[str, TreeNetwork]:
        """See `Move.words`."""
        child = self.apply(architecture)
        return f"put {child.cell.edge(self.path).words} on edge {written(self.path)}", child
