"""Path-level transformations as values: their strings, what they do to a cell, and which are refused."""

import random

import pytest

from eas_tf.architecture import SPACES, in_words, parse_move, register_kind, registry
from eas_tf.architecture.treecell import KIND, TreeNetwork
from eas_tf.architecture.treecell.moves import Branch, InsertNode, SetEdge
from eas_tf.errors import IllegalTransformation

GROUPED, BARE = "DenseNet-tree: C(16,3,1), D(8), T(12), D(4), SM(10); conv3g2", "C(16,3,1), D(8), T(12), D(8), SM(10); "
DENSENET, CHAIN = f"DenseNet-tree: {BARE}", "Chain-tree: C(12,3,1), B(), T(18), B(), SM(10); "


@pytest.fixture
def known(monkeypatch):
    """The kind of network is registered, whether it is by default or not."""
    monkeypatch.setattr(registry, "SPACES", dict(SPACES))
    monkeypatch.setattr(registry, "_READERS", dict(registry._READERS))
    register_kind(KIND)


def after(network, moves):
    for move in moves.split():
        network = parse_move(move).apply(network)
    return network


@pytest.mark.parametrize(
    ("start", "moves", "cell"),
    [
        (DENSENET + "conv3", "branch(0,add,3)", "add(conv3,conv3,conv3)"),
        (DENSENET + "conv3", "branch(0,concat,2)", "cat(conv3,conv3)"),
        (DENSENET + "conv3g4", "branch(0,add,2)", "add(conv3g4,conv3g4)"),
        (DENSENET + "conv3g4", "branch(0,concat,2)", "split(conv3g2,conv3g2)"),
        (DENSENET + "conv3g2", "branch(0,concat,2)", "split(conv3,conv3)"),
        (CHAIN + "id", "branch(0,concat,2)", "split(id,id)"),
        (CHAIN + "id", "branch(0,add,2) set(1,sep3)", "add(id,sep3)"),
        (DENSENET + "conv3", "insert(0)", "conv3+>id"),
        (DENSENET + "conv3", "insert(0,plain)", "conv3>id"),
        (DENSENET + "conv3", "insert(0) set(0.0,sep3) insert(0.0) set(0.0.0,conv3g2)", "conv3+>sep3+>conv3g2"),
        (
            DENSENET + "add(conv3,conv3>id)",
            "insert(0) branch(0.0,concat,2) set(0.1,max3) insert(0.0,plain) branch(1.0,add,3) set(1.2,avg3)",
            "add(conv3+>split(id>id,max3),conv3>add(id,id,avg3))",
        ),
        (DENSENET + "conv3>id>sep3", "set(0.0,conv1)", "conv3>conv1>sep3"),
        (DENSENET + "conv3>id+>sep3", "set(0.0,conv1)", "conv3>conv1+>sep3"),
    ],
)
def test_what_moves_make(start, moves, cell):
    network = TreeNetwork.parse(start)
    child = after(network, moves)
    assert str(child.cell) == cell
    assert (child.kind, child.base, child.input_shape) == (network.kind, network.base, network.input_shape)
    assert [*map(str, map(parse_move, moves.split()))] == moves.split()


@pytest.mark.parametrize(
    ("start", "move", "reason"),
    [
        (DENSENET + "add(conv3,conv3)", "branch(0,add,2)", r"Only a leaf that is its node's only edge"),
        (DENSENET + "conv3>id", "branch(0,add,2)", r"Only a leaf .* edge 0 is conv3>id of conv3>id"),
        (DENSENET + "conv3>sep3", "branch(0.0,add,2)", r"Only conv3 and id .* Received: branch\(0.0,add,2"),
        (DENSENET + "conv3>avg3", "branch(0.0,concat,2)", r"Only conv3 and id can be branched"),
        (DENSENET + "conv3g3", "branch(0,concat,2)", r"parts the groups .* a multiple of 2"),
        (DENSENET + "conv3>conv3", "branch(0.0,concat,2)", r"parts the groups .* a multiple of 2"),
        (DENSENET.replace("D(8), S", "D(7), S") + "conv3", "branch(0,concat,2)", r"in layer 3, D\(7\), there are 7"),
        (CHAIN.replace("12", "13") + "id", "branch(0,concat,2)", r"multiple of 2, but in layer 1, B\(\), there are 13"),
        (CHAIN + "split(id>id,id)", "branch(0.0,concat,2)", r"in layer 3, B\(\), there are 9"),
        (DENSENET + "conv3>id", "insert(0)", r"inserted behind a leaf. Received: insert\(0\), behind it is id"),
        (DENSENET + "conv3>id>id", "insert(0.0.0)", r"At most 3 operations .* Received: insert\(0.0.0\)"),
        (DENSENET + "conv3", "insert(1)", r"has the edges 0. Received: 1"),
        (DENSENET + "conv3>add(id,sep3)", "insert(0.2)", r"has the edges 0, 0.0, 0.1. Received: 0.2"),
        (DENSENET + "conv3", "insert(0.0)", r"has the edges 0. Received: 0.0"),
        (DENSENET + "conv3", "set(0,sep3)", r"takes the place of an identity.*is conv3"),
        (DENSENET + "conv3>sep3", "set(0.0,sep3)", r"takes the place of an identity. Received: .* the edge is sep3"),
        (DENSENET + "conv3>id", "set(0.0,conv3g3)", r"set\(0.0,conv3g3\) leads to no network: Edge 0.0 .* 3 groups"),
        (CHAIN + "id", "wider(1,20)", r"Only the layers \[0, 2\] can be widened"),
    ],
)  # fmt: skip
def test_a_move_that_does_not_fit_is_refused_in_one_line(start, move, reason):
    network = TreeNetwork.parse(start.replace("D(8)", "D(9)") if "conv3g3" in start else start.replace("C(16", "C(12"))
    with pytest.raises(IllegalTransformation, match=reason) as refusal:
        parse_move(move).apply(network)
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize(
    "text",
    ["branch(0,add,4)", "branch(0,add,1)", "branch(0,concat,3)", "branch(0,mul,2)", "branch(,add,2)", "branch(0,add)",
     "branch(0, add,2)", "branch(00,add,2)", "branch(-1,add,2)", "branch(0.,add,2)", "insert()", "insert(0,bare)",
     "insert(0.1.)", "insert(a)", "insert(0.0.0.0.0.0.0.0.0.0.0.0)", "set(0,conv5)", "set(0,conv3g1)", "set(0,sep3g2)",
     "set(0)", "set(0,)", "insert(٣)"],
)  # fmt: skip
def test_what_is_no_move_is_refused_with_the_forms(text):
    with pytest.raises(IllegalTransformation, match=r"The moves are .*branch\(edge,add,2 or 3\).*insert\(edge\)"):
        parse_move(text)


@pytest.mark.parametrize(
    ("move", "reason"),
    [
        (Branch((0,), "mul", 2), "A merge is"),
        (Branch((0,), "add", 4), "A merge is"),
        (Branch((0,), "concat", 3), "A merge is"),
        (Branch((), "add", 2), "has the edges 0. Received: none"),
        (InsertNode((-1,)), "has the edges 0. Received: -1"),
        (InsertNode((0, -1)), "has the edges 0. Received"),
        (InsertNode((-1, 0)), "has the edges 0, 0.0. Received: -1.0"),
        (SetEdge((0,), "conv5"), "The operations are"),
    ],
)
def test_moves_that_no_string_has_are_refused(move, reason):
    with pytest.raises(IllegalTransformation, match=reason):
        move.apply(TreeNetwork.parse(DENSENET + ("conv3>id" if move.path == (-1, 0) else "conv3")))


def test_moves_are_for_tree_cells_only():
    plain = SPACES["paper"].start_network((32, 32, 3), 10)
    for text in ("branch(0,add,2)", "insert(0)", "set(0,sep3)"):
        with pytest.raises(IllegalTransformation, match="is for networks of tree cells"):
            parse_move(text).apply(plain)
    with pytest.raises(IllegalTransformation, match="is for cells"):
        parse_move("operation(0,0)").apply(TreeNetwork.parse(DENSENET + "conv3"))


@pytest.mark.usefixtures("known")
def test_moves_in_words():
    first = "branch(0,concat,2) insert(1) branch(1.0,add,3) set(1.2,sep5) insert(1.0,plain) branch(1.0.0,concat,2)"
    assert in_words(DENSENET + "conv3", f"{first} wider(0,9) x") == [
        "branch edge 0 into two that are concatenated",
        "insert a node behind edge 1, beside what it gives",
        "branch edge 1.0 into three copies that are added",
        "put a separable 5x5 convolution on edge 1.2",
        "insert a node behind edge 1.0, in its path",
        "branch edge 1.0.0 into two on parts of its channels, concatenated",
        "wider(0,9)",
        "x",
    ]


def test_every_move_adds_what_it_says_to_the_weights():
    """A branch of add copies the edge's weights; concat keeps kernels; a node costs its skip; an operation itself."""
    start = TreeNetwork.parse(DENSENET + "conv3")
    root = start.parameter_counts[-1]
    assert after(start, "branch(0,add,3)").parameter_count - start.parameter_count == 2 * root
    norm = sum(2 * place.inputs for place in start.places.values())
    assert after(start, "branch(0,concat,2)").parameter_count - start.parameter_count == norm
    assert after(start, "insert(0)").parameter_count - start.parameter_count == 2 * (8 + 8)
    assert after(start, "insert(0,plain)").parameter_count == start.parameter_count
    grown = after(start, "insert(0,plain)")
    assert after(grown, "set(0.0,sep5)").parameter_count - start.parameter_count == 2 * (2 * 8 + 25 * 8 + 64)


def test_random_moves_keep_what_they_do_not_name():
    """Any move on any edge is refused, or leaves the base and every other edge as it was, and reads back from text."""
    rng, legal = random.Random(0), 0
    for _ in range(300):
        network = TreeNetwork.parse(rng.choice([GROUPED, DENSENET + "conv3", CHAIN + "id"]))
        for _ in range(12):
            path = rng.choice(network.paths)
            merge = Branch(path, rng.choice(["add", "concat"]), 2)
            move = rng.choice(
                [merge, InsertNode(path, rng.random() < 0.5), SetEdge(path, rng.choice(["sep3", "conv1"]))]
            )
            assert parse_move(str(move)) == move
            try:
                child = move.apply(network)
            except IllegalTransformation:
                continue
            legal += 1
            assert TreeNetwork.parse(str(child)) == child
            assert child.base == network.base
            others = [each for each in network.paths if each[: len(path)] != path]
            assert all(child.cell.edge(each).word == network.cell.edge(each).word for each in others)
            assert move.words(network)[1] == child
            network = child
    assert legal > 1_000
