"""How episodes grow a tree cell, which cells are in a space, and the closed form."""

import random
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from eas_tf.architecture import SPACES, Chain, State, parse_move, registry, token_of
from eas_tf.architecture.treecell import KIND, TreeNetwork
from eas_tf.architecture.treecell.bases import pyramidnet_base
from eas_tf.architecture.treecell.notation import read_cell
from eas_tf.architecture.treecell.optimum import distance
from eas_tf.architecture.treecell.tree import Node
from eas_tf.errors import IllegalTransformation, InvalidArchitecture, InvalidConfiguration

NAMED = {space.name: space for space in KIND.spaces}
PAPER, SMALL, DIGITS = NAMED.values()
CHAIN = replace(
    PAPER, name="chain", start="Chain-tree: C(48,3,1), B(), T(96), B(), SM(10); id", ideal="add(sep3,conv1+>max3)"
)
PYRAMID = replace(PAPER, name="pyramid", start="PyramidNet-tree: C(16,3,1), R(32), R(48,2), R(64,2), SM(10); conv3g2")
UNGROUPED = replace(PAPER, name="ungrouped", start=PAPER.start.replace("g2", ""), ideal=PAPER.ideal.replace("g2", ""))
TWO = replace(DIGITS, name="two", branches=(2, 2), start=DIGITS.start.replace("D(8)", "D(6)"))
ALL = (*NAMED.values(), CHAIN, PYRAMID, UNGROUPED, TWO, replace(PAPER, name="plain", skip=False))
each_space = pytest.mark.parametrize("space", ALL, ids=lambda space: space.name)


def started(space, cell=None):
    network = space.start_network((8, 8, 1), 10)
    return State(network.with_cell(read_cell(cell, 0, ("conv3", "id", "sep3"))) if cell else network)


def with_limit(space, times):
    """The space in which no network has more weights than so many times those of the start network."""
    return replace(space, max_parameters=int(times * started(space).architecture.parameter_count))


def choices(space, state):
    """What the mask of the decision says is legal."""
    decision = space.decision(state)
    combinations = [*product(*map(range, space.kinds[decision.kind].sizes))]
    assert len(combinations) == len(decision.mask)
    return [None] * decision.may_pass + [each for each, legal in zip(combinations, decision.mask, strict=True) if legal]


def drawn(space, state, rng):
    """The states of a random episode, each with what was decided in it."""
    passed = []
    while decision := space.decision(state):
        choice = rng.choice(choices(space, state))
        passed.append((state, decision, choice))
        state = space.act(state, choice)
    return passed, state


def played(space, state, *decided):
    """The state after decisions, each with the kind and the edge that it must be about."""
    for kind, path, choice in decided:
        decision = space.decision(state)
        edge = state.architecture.paths[decision.about - len(state.architecture.base)]
        assert (decision.kind, ".".join(map(str, edge))) == (kind, path)
        assert choice in choices(space, state)
        state = space.act(state, choice)
    return state


def test_the_spaces_are_as_spaces_are():
    for space in ALL:
        registry.check_space(space)
        assert all(isinstance(shape, Chain) for shape in space.kinds.values())
        assert [*space.kinds] == sorted(space.kinds)
    # On images of one channel the paper's stem has 18 * 96 weights less.
    assert PAPER.start_network((8, 8, 1), 10).parameter_count == 191_794 - 18 * 96
    assert DIGITS.start_network((8, 8, 1), 10).parameter_count == 6_418
    assert [(space.steps, space.most_edges) for space in (PAPER, CHAIN, DIGITS, TWO)] == [
        (61, 39), (64, 39), (13, 9), (9, 6),
    ]  # fmt: skip


def test_an_episode_in_the_order_of_the_paper():
    """Merge of the root; insertions in order; a new node's merge, operations and insertions, depth first."""
    sep3, conv1, same, avg3 = (PAPER.operations.index(each) for each in ("sep3", "conv1", "id", "avg3"))
    state = played(
        PAPER,
        started(PAPER),
        ("merge", "0", (1, 0)),
        ("insert", "0", (1,)),
        ("merge", "0.0", (2, 0)),
        ("operation", "0.0", (sep3,)),
        ("operation", "0.1", (same,)),
        ("insert", "0.0", None),
        ("insert", "0.1", (1,)),
        ("merge", "0.1.0", None),
        ("operation", "0.1.0", (avg3,)),
        ("insert", "1", (1,)),
        ("merge", "1.0", None),
        ("operation", "1.0", (conv1,)),
        ("insert", "1.0", None),
    )
    assert PAPER.decision(state) is None
    assert str(state.architecture.cell) == "add(conv3g2+>split(sep3,id+>avg3),conv3g2+>conv1)"
    assert " ".join(map(str, state.moves)) == (
        "branch(0,add,2) insert(0) branch(0.0,concat,2) set(0.0,sep3) insert(0.1) set(0.1.0,avg3) insert(1) "
        "set(1.0,conv1)"
    )
    assert state.steps == 13


def test_in_a_chain_the_root_s_operations_are_chosen_too():
    state = played(CHAIN, started(CHAIN), ("merge", "0", (1, 0)), ("operation", "0", (0,)), ("operation", "1", (5,)))
    assert str(state.architecture.cell) == "add(sep3,max3)"
    assert CHAIN.decision(state).kind == "insert"


def test_on_a_cell_that_is_not_bare_a_node_may_be_inserted_behind_each_leaf_in_preorder():
    state = started(PAPER, "add(conv3g2+>add(sep3,id+>sep3),conv3g2)")
    state = played(
        PAPER,
        state,
        ("insert", "0.0", None),
        ("insert", "1", (1,)),
        ("merge", "1.0", None),
        ("operation", "1.0", (0,)),
        ("insert", "1.0", None),
    )
    assert PAPER.decision(state) is None
    assert str(state.architecture.cell) == "add(conv3g2+>add(sep3,id+>sep3),conv3g2+>sep3)"


def test_a_full_cell_has_an_episode_of_one_step_in_which_nothing_can_be_done():
    state = started(TWO, "add(conv3+>sep3,conv3+>add(id,id))")
    assert choices(TWO, state) == [None]
    after = TWO.act(state, None)
    assert (after.architecture, after.steps, TWO.decision(after)) == (state.architecture, 1, None)


def test_a_node_must_be_inserted_at_the_last_place_if_none_was():
    """The paper draws a cell again if it has no node."""
    passing = replace(PAPER, may_pass=True)
    for space, last in ((PAPER, [(1,)]), (passing, [None, (1,)])):
        state = played(space, started(space), ("merge", "0", (1, 1)), ("insert", "0", None), ("insert", "1", None))
        assert choices(space, state) == last
    grown = played(PAPER, started(PAPER), ("merge", "0", (1, 0)), ("insert", "0", (1,)), ("merge", "0.0", None),
                   ("operation", "0.0", (4,)), ("insert", "0.0", None))  # fmt: skip
    assert choices(PAPER, grown) == [None, (1,)]


def test_under_a_limit_nothing_need_be_inserted_where_nothing_can_be():
    space = replace(DIGITS, max_parameters=6_418)
    state = started(space)
    assert choices(space, state) == [None]  # Two parts have a batch norm each.
    state = played(space, state, ("merge", "0", None), ("insert", "0", None))
    assert (space.decision(state), state.moves) == (None, ())
    # Room for one skip of 2 * 8 weights in two blocks, behind the first edge or the last one.
    space = replace(DIGITS, max_parameters=6_418 + 32)
    state = played(space, started(space), ("merge", "0", None), ("insert", "0", (1,)), ("merge", "0.0", None))
    assert choices(space, state) == [(space.operations.index(each),) for each in ("id", "max3", "avg3")]


@each_space
def test_random_episodes_stay_in_the_space_and_their_moves_lead_there(space):
    rng, most = random.Random(0), 0
    for number in range(60):
        limited = space
        if number % 2:
            limited = with_limit(space, rng.uniform(1, 2.5))
        state = started(limited)
        for _ in range(rng.choice([1, 2])):  # The child of an episode is the parent of the next.
            passed, end = drawn(limited, State(state.architecture), rng)
            most = max(most, len(passed))
            assert len(passed) <= space.steps
            for state, *_ in passed:
                limited.check(state.architecture)
                assert len(state.architecture.layers) <= space.max_layers
            network = passed[0][0].architecture
            for move in end.moves:
                network = parse_move(str(move)).apply(network)
            assert network == end.architecture == TreeNetwork.parse(str(network), (8, 8, 1))
            grown = any(move.name == "insert" for move in end.moves)
            assert grown or limited.max_parameters or len(passed) == 1
            state = end
    assert most > space.steps / 3


@each_space
def test_masks_allow_exactly_what_act_accepts_and_keeps_in_the_space(space):
    rng = random.Random(1)
    for number in range(12):
        limited = space
        if number % 3:
            limited = with_limit(space, rng.uniform(1, 1.7))
        passed, _ = drawn(limited, started(limited), rng)
        for state, decision, _ in passed:
            for choice, legal in zip(
                product(*map(range, space.kinds[decision.kind].sizes)), decision.mask, strict=True
            ):
                assert bool(legal) == accepted(limited, state, choice), (str(state.architecture), decision, choice)


def accepted(space, state, choice):
    try:
        space.check(space.act(state, choice).architecture)
    except (IllegalTransformation, InvalidArchitecture):
        return False
    return True


@pytest.mark.parametrize("choice", [(0,), (2,), (-1,), (1, 0), ()])
def test_a_choice_of_another_shape_is_refused(choice):
    state = played(DIGITS, started(DIGITS), ("merge", "0", None))
    with pytest.raises(IllegalTransformation, match=r"'insert' is numbers from 0 to below \(2,\).* Received: \("):
        DIGITS.act(state, choice)
    for merge in ((0, 0), (0, 1), (2, 1), (3, 0), (1, -1)):
        with pytest.raises(IllegalTransformation, match=r"'merge' is numbers from 0 to below \(3, 2\)"):
            DIGITS.act(started(DIGITS), merge)


@pytest.mark.parametrize(
    ("space", "cell", "reason"),
    [
        (PAPER, "conv3", "edge 0, conv3, is not what branching makes of conv3g2"),
        (PAPER, "conv3g2>sep3", "edge 0, conv3g2, is followed by >, in this space +>"),
        (replace(PAPER, skip=False), "conv3g2+>sep3", "edge 0, conv3g2, is followed by +>, in this space >"),
        (PAPER, "split(conv3g2,conv3g2)", "edge 0, conv3g2, is not what branching makes"),
        (PAPER, "cat(conv3g2,conv3g2)", "edge 0, conv3g2, is not what branching makes of conv3g2"),
        (PAPER, "conv3g2+>conv3", "edge 0.0, conv3, is none of"),
        (PAPER, "cat(conv3,conv3)", "edge 0, conv3, is not what branching makes"),
        (DIGITS, "conv3+>sep7", "edge 0.0, sep7, is none of sep3, sep5, conv1, id, max3, avg3"),
        (DIGITS, "conv3+>id+>id", "edge 0.0.0, id, is operation 3 of a path, at most 2 are allowed"),
        (DIGITS, "conv3+>add(id,id,id)", "edge 0.0, id, is one of 3 branches, at most 2 are allowed"),
        (replace(DIGITS, max_parameters=6_418), "add(conv3,conv3)", "parameters, at most 6,418 are allowed"),
    ],
)
def test_a_network_outside_the_space_is_refused_with_the_limit(space, cell, reason):
    network = replace(space, max_parameters=None).start_network((8, 8, 1), 10).with_cell(read_cell(cell, 0, ("conv3",)))
    with pytest.raises(InvalidArchitecture, match="outside the space") as refusal:
        space.check(network)
    assert reason in str(refusal.value)


def test_another_base_is_in_the_space_if_it_leaves_room_for_the_cell():
    longer, too_long = (
        TreeNetwork.parse(DIGITS.start.replace("T(12), D(8)", f"T(12), {blocks}xD(8)"), (8, 8, 1)) for blocks in (7, 8)
    )
    DIGITS.check(longer)
    with pytest.raises(InvalidArchitecture, match="its base has 12 layers, at most 11 leave room for the cell"):
        DIGITS.check(too_long)
    pyramid = TreeNetwork("PyramidNet-tree", pyramidnet_base(1, 48, 2), read_cell("conv3g2", 0, ("conv3",)))
    for other in (pyramid, SPACES["paper"].start_network((32, 32, 3), 10)):
        with pytest.raises(InvalidArchitecture, match="it is no DenseNet-tree; choose a space of its kind"):
            PAPER.check(other)
    with pytest.raises(InvalidArchitecture, match="The smallest images of the space 'treecell-digits' are 2x2"):
        DIGITS.start_network((1, 1, 1), 10)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"branches": ()}, "`branches` is from 1 to 3"),
        ({"branches": (3, 3, 3, 3)}, "`branches` is from 1 to 3"),
        ({"branches": (3, 0)}, "`branches` is from 1 to 3"),
        ({"branches": (4,)}, "`branches` is from 1 to 3"),
        ({"branches": (3,)}, "`ideal` is outside the space: edge 0.0"),
        ({"operations": ("sep3",)}, "`operations` are id and others, each once"),
        ({"operations": ("id", "conv5")}, "`operations` are id and others, each once"),
        ({"operations": ("id", "id")}, "`operations` are id and others, each once"),
        ({"operations": ("id", "sep3")}, "`ideal` is outside the space: edge 0.0, avg3"),
        ({"max_parameters": 0}, "`max_parameters` must be at least 1"),
        ({"max_layers": 13}, "`start` is outside the space: its base has 5 layers, at most 4"),
        ({"start": DIGITS.start + "+>id"}, "The cell of `start` is one edge. Received: conv3\\+>id"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(options, reason):
    with pytest.raises(InvalidConfiguration, match=reason):
        replace(DIGITS, **options)


ROWS = ("", "Conv", "DenseLayer", "Residual", "Block", "Transition", "Softmax",
        "conv3", "conv1", "sep3", "sep5", "sep7", "id", "avg3", "max3", "grouped")  # fmt: skip


def told(rows, start=0, depth=1):
    """The text of the node whose first edge is row `start`, from the tokens alone."""
    paths, merge = [], ["", "add", "cat", "split"][rows[start][3] - 1]
    for place in range(start, len(rows)):
        if rows[place][1] < depth:
            break
        if rows[place][1] == depth:
            assert rows[place][2:] == (len(paths), rows[start][3])
            below = place + 1 < len(rows) and rows[place + 1][1] > depth
            paths.append(ROWS[rows[place][0]] + (">" + told(rows, place + 1, depth + 1) if below else ""))
    return f"{merge}({','.join(paths)})" if merge else paths[0]


@each_space
def test_tokens_say_the_whole_tree(space):
    """From the rows of an observation the cell is built again, without what joins nodes, and with groups as such."""
    rng = random.Random(2)
    for _ in range(20):
        network = drawn(space, started(space), rng)[1].architecture
        rows, length = [token_of(space, layer) for layer in network.layers], len(network.base)
        assert [ROWS[row[0]] for row in rows[:length]] == [type(layer).__name__ for layer in network.base]
        assert told(rows[length:]) == str(network.cell).replace("+>", ">").replace("conv3g2", "grouped")


def test_the_distance_by_hand():
    """Edits, times two, through the edges of the ideal cell, of which the one of the digits has six."""

    def edits(cell):
        return round(DIGITS.distance(started(DIGITS, cell).architecture) * 6 / 2, 9)

    assert edits("add(conv3+>split(avg3,sep5),conv3+>add(sep3,conv1))") == 0
    assert edits("add(conv3+>add(conv1,sep3),conv3+>split(sep5,avg3))") == 0  # in another order
    assert edits("cat(conv3+>split(avg3,sep5),conv3+>add(sep3,conv1))") == 1  # another merge
    assert edits("add(conv3+>split(avg3,sep3),conv3+>add(sep3,conv1))") == 1  # another operation
    assert edits("add(conv3+>split(avg3,sep5),conv3+>sep3)") == 2  # another merge, an edge missing
    assert edits("add(conv3,conv3+>add(sep3,conv1))") == 2  # two edges missing
    assert edits("add(conv3,conv3+>add(sep3,conv1),conv3)") == 3  # two missing, one too many
    assert edits("conv3") == 6  # another merge, five missing


@each_space
def test_the_closed_form(space):
    """It is 0 at the optimum, which is in the space and can be reached; random cells are above, and differ."""
    start = started(space).architecture
    optimum = space.optimum(start)
    space.check(optimum)
    assert (optimum.base, space.distance(optimum), space.distance(start)) == (
        start.base,
        0,
        8 / 3 if space is CHAIN else 2,
    )
    assert reached(space, State(start), optimum)
    rng = random.Random(3)
    found = {space.distance(drawn(space, State(start), rng)[1].architecture) for _ in range(50)}
    assert len(found) > 4
    assert min(found) > 0


def reached(space, state, target):
    """Whether choices lead to a network: at each edge those that the target has there."""
    while decision := space.decision(state):
        path = state.architecture.paths[decision.about - len(target.base)]
        edge, node = target.cell.edge(path), target.cell.node(path)
        if decision.kind == "insert":
            choice = (1,) if edge.node else None
        elif decision.kind == "operation":
            choice = (space.operations.index(edge.operation),)
        else:
            choice = {"": None, "add": (1, len(node.edges) - 2)}.get(node.merge, (2, 0))
        if choice not in choices(space, state):
            return False
        state = space.act(state, choice)
    return state.architecture == target


def test_distance_is_symmetric_and_0_only_for_the_same_tree():
    rng = random.Random(4)
    cells = [drawn(DIGITS, started(DIGITS), rng)[1].architecture.cell for _ in range(40)]
    for one, other in product(cells, cells):
        there, back = (distance(*pair) * sum(1 for _ in pair[1].walk()) for pair in ((one, other), (other, one)))
        assert round(there - back, 9) == 0
        assert (there == 0) == (ordered(one) == ordered(other))


def ordered(node: Node):
    """The tree, whatever the order of branches is."""
    return node.merge, tuple(sorted((edge.operation, repr(edge.node and ordered(edge.node))) for edge in node.edges))


@pytest.mark.parametrize(
    "space", [DIGITS, replace(PAPER, name="limited", max_parameters=250_000)], ids=lambda s: s.name
)
def test_environments_play_it(space):
    """Every action that the mask allows is accepted, and random children are worth more than the start network."""
    from eas_tf.envs import EASEnv

    env = EASEnv(space=space, input_shape=[8, 8, 1], evaluator="surrogate")
    env.action_space.seed(0)
    accuracies = []
    for episode in range(30):
        observation, info = env.reset(seed=episode)
        over, steps = False, 0
        while not over:
            assert env.observation_space.contains(observation)
            observation, _, over, _, info = env.step(env.action_space.sample(mask=info["action_mask"]))
            assert not info["illegal"]
            steps += 1
        space.check(env.architecture)
        accuracies.append(info["accuracy"])
        assert steps <= space.steps
    assert np.mean(accuracies) > 0.1 + 0.85 * np.exp(-2)
