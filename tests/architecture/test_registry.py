"""What is known by name, and what may take a name that is known."""

from dataclasses import dataclass, replace

import pytest

from eas_tf.architecture import SPACES, NetworkKind, PlainCNN, PlainSpace, moves, registry
from eas_tf.architecture.cells.cell import Cell
from eas_tf.architecture.cells.space import CellSpace, SetOperation
from eas_tf.errors import InvalidConfiguration


@pytest.fixture(autouse=True)
def nothing_stays_registered(monkeypatch):
    monkeypatch.setattr(registry, "SPACES", dict(SPACES))
    monkeypatch.setattr(registry, "_READERS", dict(registry._READERS))
    monkeypatch.setattr(moves, "MOVES", dict(moves.MOVES))


def cell_run_again():
    """What a notebook's cell defines, each time anew."""

    @dataclass(frozen=True, kw_only=True)
    class MySpace(CellSpace):
        name: str = "mine"

    class MyCell(Cell):
        pass

    class MyMove(SetOperation):
        name = "mine"

    return MySpace, MyCell, MyMove


def test_a_cell_that_runs_again_replaces_what_it_registered():
    for _ in range(2):
        my_space, my_cell, my_move = cell_run_again()
        space = my_space()
        registry.register_kind(NetworkKind(parse=my_cell.parse, headers=("Mine",), spaces=(space,)))
        assert moves.register_move(my_move) is moves.MOVES["mine"]
        assert registry.SPACES["mine"] is space
        assert registry._READERS["Mine"] == my_cell.parse


def test_something_else_of_the_same_name_is_refused():
    registry.register_space(CellSpace())
    with pytest.raises(InvalidConfiguration, match=r"There is a space 'paper' already"):
        registry.register_space(replace(SPACES["paper"], max_layers=7))
    with pytest.raises(InvalidConfiguration, match=r"There is a space 'paper' already"):
        registry.register_space(CellSpace(name="paper"))
    with pytest.raises(InvalidConfiguration, match=r"with the header 'NAS-Bench-201' already"):
        registry.register_kind(NetworkKind(parse=cell_run_again()[1].parse, headers=("NAS-Bench-201",)))
    with pytest.raises(InvalidConfiguration, match=r"There is a move 'wider' already"):
        moves.register_move(type("MyMove", (SetOperation,), {"name": "wider"}))


@pytest.mark.parametrize(
    "refused",
    [
        NetworkKind(parse=PlainCNN.parse, headers=("New", "NAS-Bench-201"), spaces=(CellSpace(name="new"),)),
        NetworkKind(parse=PlainCNN.parse, headers=("New",), spaces=(CellSpace(name="new"), CellSpace(name="paper"))),
        NetworkKind(parse=PlainCNN.parse, headers=("New",), spaces=(CellSpace(name="new"), 3)),
        NetworkKind(parse=PlainCNN.parse, headers=("New",), spaces=(CellSpace(name="new"), PlainSpace)),
        NetworkKind(parse=PlainCNN.parse, headers=("New",), spaces=(CellSpace(name="new"), CellSpace(name="new"))),
        NetworkKind(parse=PlainCNN.parse, headers=("New",), spaces=CellSpace(name="new")),
        NetworkKind(parse=PlainCNN.parse, headers=("New",), spaces=(CellSpace(name=""),)),
        NetworkKind(parse=PlainCNN.parse, headers=("New",), spaces=(CellSpace(name=3),)),
        NetworkKind(parse=PlainCNN.parse, headers="New"),
        NetworkKind(parse=PlainCNN.parse, headers=("",)),
        NetworkKind(parse=PlainCNN.parse, headers=("New:",)),
        NetworkKind(parse=PlainCNN.parse, headers=("New (mine)",)),
        NetworkKind(parse=PlainCNN.parse, headers=(3,)),
        NetworkKind(parse=None, headers=("New",)),
        PlainCNN,
        None,
    ],
)
def test_a_kind_that_is_refused_leaves_nothing_behind(refused):
    before = dict(registry.SPACES), dict(registry._READERS)
    with pytest.raises(InvalidConfiguration, match=r"^[^\n]+$"):
        registry.register_kind(refused)
    assert before == (registry.SPACES, registry._READERS)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (3, r"A space has act, check, .*Received: 3$"),
        (PlainSpace, r"A space is an object, not its class"),
        (type("Broken", (CellSpace,), {"decision": None, "act": 3})(), r"^Methods of a space are act, decision\. "),
    ],
)
def test_what_is_no_space_is_refused(space, message):
    with pytest.raises(InvalidConfiguration, match=message):
        registry.register_space(space)


@pytest.mark.parametrize(
    ("move", "received"),
    [
        (None, "without apply, read, words, form, name"),
        (type("Bare", (), {"name": "bare"}), "without apply, read, words, form"),
        (type("Unreadable", (SetOperation,), {"name": "unreadable", "read": None}), "without read"),
        (type("Nameless", (SetOperation,), {"name": 3}), "without name"),
        (SetOperation(0, 0), "an object"),
    ],
)
def test_what_is_no_move_is_refused(move, received):
    with pytest.raises(InvalidConfiguration, match=rf"^A move is a class with .* Received: [^\n]+, {received}$"):
        moves.register_move(move)
