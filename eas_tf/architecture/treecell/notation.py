"""Reading cells such as `add(conv3g2>add(conv1>split(avg3,sep7),max3),conv3g2+>sep5)`.

    node = ("add" | "cat" | "split") "(" path "," path ["," path] ")" | path
    path = operation [(">" | "+>") node]

A node with one edge is written as its path. One word of look-ahead says what follows: only merges have brackets.
"""

import re
from typing import NoReturn

from eas_tf.architecture.notation import BLANKS, syntax_error
from eas_tf.architecture.treecell.tree import MAX_DEPTH, MERGES, OPERATIONS, Edge, Node

_WORD = re.compile(r"([a-z]+[0-9]?)(?:g([0-9]{1,5}))?", re.ASCII)
_BLANKS = re.compile(f"[{BLANKS}]*")


def read_cell(text: str, position: int, roots: tuple[str, ...]) -> Node:
    """The cell that stands in a layer string from `position` to its end. The inverse of `str`.

    Args:
        text: The layer string.
        position: Where the cell begins; blanks may precede it.
        roots: Operations of which the root's edges may be.

    Raises:
        InvalidArchitecture: Naming the position in `text` and what was expected there.
    """
    reader = _Reader(text, position, roots)
    cell = reader.node(depth=0)
    reader.end()
    return cell


def read_operation(word: str) -> Edge | None:
    """The leaf that a word such as `conv3g2` stands for; None if it is no operation."""
    match = _WORD.fullmatch(word)
    if match is None or match[1] not in OPERATIONS or (match[2] and match[1] != "conv3"):
        return None
    edge = Edge(match[1], max(1, int(match[2] or 1)))
    return edge if edge.word == word else None


class _Reader:
    """Goes through a string. After each piece it stands at the next one, behind blanks."""

    def __init__(self, text: str, position: int, roots: tuple[str, ...]) -> None:
        self._text, self._roots, self._position = text, roots, position
        self._take("")
        self._may_grow = False
        """Whether the path that was just read may go on."""

    def node(self, depth: int) -> Node:
        """The node that begins here."""
        merges = [merge for merge in MERGES if merge != "cat" or depth == 0]
        merge = self._word()
        if merge not in merges:
            return Node((self._path(depth, merges),))
        numbers = MERGES[merge]
        self._take(merge)
        self._expect("(")
        edges = [self._path(depth)]
        while self._expect(*[","] * (len(edges) < max(numbers)), *[")"] * (len(edges) in numbers)) == ",":
            edges.append(self._path(depth))
        self._may_grow = False
        return Node(tuple(edges), merge)

    def end(self) -> None:
        """Refuse what is left of the string."""
        if self._position < len(self._text):
            self._refuse("the end")

    def _path(self, depth: int, merges: list[str] | None = None) -> Edge:
        """The edge that begins here, with what follows it."""
        operations = tuple(OPERATIONS) if depth else self._roots
        word = self._word()
        edge = read_operation(word)
        if edge is None or edge.operation not in operations:
            groups = ["conv3g2 or more groups"] if "conv3" in operations else []
            self._may_grow = False
            self._refuse(*operations, *groups, *[f"{merge}(" for merge in merges or []])
        self._take(word)
        self._may_grow = depth + 1 < MAX_DEPTH
        arrow = next((arrow for arrow in (">", "+>") if self._text.startswith(arrow, self._position)), None)
        if arrow is None:
            return edge
        if not self._may_grow:
            self._refuse(f"the end of the path, because at most {MAX_DEPTH} operations follow each other")
        self._take(arrow)
        return Edge(edge.operation, edge.groups, self.node(depth + 1), arrow == "+>")

    def _word(self) -> str:
        match = _WORD.match(self._text, self._position)
        return match[0] if match else ""

    def _expect(self, *pieces: str) -> str:
        """Which of them comes next; it is passed."""
        piece = next((piece for piece in pieces if self._text.startswith(piece, self._position)), None)
        if piece is None:
            self._refuse(*pieces)
        self._take(piece)
        return piece

    def _refuse(self, *expected: str) -> NoReturn:
        arrows = (">", "+>") if self._may_grow else ()
        raise syntax_error(self._text, self._position, ", ".join([*arrows, *expected]))

    def _take(self, piece: str) -> None:
        blanks = _BLANKS.match(self._text, self._position + len(piece))
        self._position = blanks.end() if blanks else self._position
