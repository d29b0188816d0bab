"""A closed form for tree cells: how far one is from an ideal one. For work on agents without training."""

from functools import lru_cache
from itertools import permutations

from eas_tf.architecture.treecell.tree import Edge, Node

#: A bare cell is so far from an ideal one of any size.
_SCALE = 2.0


def distance(cell: Node, ideal: Node) -> float:
    """Twice the edits that separate two cells, as a fraction of the ideal cell's edges.

    An edit is another operation, another merge, or an edge that only one of them has. Branches are paired as it suits:
    their order says nothing. How a node is joined to what is before it (`>` or `+>`) and groups are not compared.
    """
    return _SCALE * _apart(cell, ideal) / _edges(ideal)


@lru_cache(maxsize=65_536)
def _apart(one: Node | None, other: Node | None) -> int:
    if one is None or other is None:
        return _edges(one) + _edges(other)
    few, many = sorted((one.edges, other.edges), key=len)
    return (one.merge != other.merge) + min(
        sum(map(_edge_apart, few, several)) + sum(1 + _edges(edge.node) for edge in several[len(few) :])
        for several in permutations(many)
    )


def _edge_apart(one: Edge, other: Edge) -> int:
    return (one.operation != other.operation) + _apart(one.node, other.node)


def _edges(node: Node | None) -> int:
    return sum(1 for _ in node.walk()) if node else 0
