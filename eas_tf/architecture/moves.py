"""Moves: what turns one network into the next, as values.

A move is applied to an architecture here, and to trained weights in `eas_tf.surgery`. A network is its parent, the list
of its moves and a seed; their strings are how that list is stored.
"""

import re
from collections.abc import Hashable
from typing import Any, ClassVar, Protocol, Self, TypeVar

from eas_tf.errors import IllegalTransformation, InvalidConfiguration
from eas_tf.naming import check_free
from eas_tf.text import printable


class Move(Hashable, Protocol):
    """A change of a network. `str` is `name(arguments)`."""

    name: ClassVar[str]
    """What its string begins with."""
    form: ClassVar[str]
    """Its string with words for its arguments."""

    @classmethod
    def read(cls, arguments: str) -> Self | None:
        """The move with these arguments, as `str` writes them; None if they are not its own."""
        ...

    def apply(self, architecture: Any) -> Any:
        """The network after it.

        Raises:
            IllegalTransformation: If it does not fit the network.
        """
        ...

    def words(self, architecture: Any) -> tuple[str, Any]:
        """What it does, for people, and the network after it; of a network whose images' size is not known."""
        ...


#: The kinds of moves, by name.
MOVES: dict[str, type[Move]] = {}

MoveT = TypeVar("MoveT", bound=type[Move])

_FORM = re.compile(r"([a-z_]{1,40})\(([^()]{0,200})\)")


def register_move(move: MoveT) -> MoveT:
    """Make a kind of move known to `parse_move`; a decorator.

    Raises:
        InvalidConfiguration: If it is no class with what a `Move` has, another one has its name, or it is no name for a
            string of moves.
    """
    lacking = [name for name in ("apply", "read", "words") if not callable(getattr(move, name, None))]
    lacking += [name for name in ("form", "name") if not isinstance(getattr(move, name, None), str)]
    if lacking or not isinstance(move, type):
        what = f"without {', '.join(lacking)}" if lacking else "an object"
        raise InvalidConfiguration(
            "A move is a class with the methods apply, read and words, and the texts form and name; see `Move`. "
            f"Received: {printable(move, 60)}, {what}"
        )
    if not _FORM.fullmatch(f"{move.name}()"):
        raise InvalidConfiguration(f"The name of a move is small letters and _. Received: {move.name!r}")
    check_free(MOVES, move.name, move, "a move")
    MOVES[move.name] = move
    return move


def parse_move(text: str) -> Move:
    """Read a move. The inverse of `str`.

    Raises:
        IllegalTransformation: If `text` is none.
    """
    match = _FORM.fullmatch(text)
    move = MOVES[match[1]].read(match[2]) if match and match[1] in MOVES else None
    if move is None:
        forms = ", ".join(each.form for each in MOVES.values())
        raise IllegalTransformation(f"The moves are {forms}. Received: {printable(text, 60)!r}")
    return move
