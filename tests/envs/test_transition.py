"""The decision process: masks are exact, illegal actions change nothing, the reward is the paper's."""

from dataclasses import replace
from itertools import product
from math import inf, pi, tan

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playing import INFO, OBSERVATION, RecordingEvaluator, rollout
from strategies import TINY, networks_in_spaces, unlimited

from eas_tf.architecture import SCHEDULE, SPACES, Net2Deeper, Net2Wider, PlainCNN
from eas_tf.envs import EASEnv
from eas_tf.envs.transition import Process, action_mask, initial, observation, reward, transition
from eas_tf.errors import IllegalTransformation, InvalidArchitecture, InvalidConfiguration

PAPER = SPACES["paper"]
TABLE_1 = PlainCNN.parse(PAPER.start)
NOWHERE = np.zeros(50, np.int8)


def after_one_step(case, kind, **action):
    """The state after the first step of an episode, whether it was legal, and the mask before."""
    architecture, space = case
    process = Process(space=replace(space, schedule=(kind, "widen")), start=architecture)
    decision = process.space.decision(initial(process))
    mask = action_mask(process, decision)
    state, legal = transition(process, initial(process), action, decision)
    assert state.steps == 1
    return state, legal, mask


def child_inside(case, transformation):
    """The child of a transformation, or None where it cannot be built or leaves the space: found without a mask."""
    architecture, space = case
    try:
        child = transformation.apply(architecture)
        space.check(child)
    except (IllegalTransformation, InvalidArchitecture):
        return None
    return child


@settings(deadline=None, max_examples=20)
@given(st.one_of(networks_in_spaces(TINY), networks_in_spaces()))
def test_an_insertion_is_legal_exactly_where_the_child_stays_inside_the_space(case):
    architecture, space = case
    connected = len(architecture.blocks) - 1
    anything = False
    for block, position, kernel in product(
        range(space.max_blocks), range(space.block_length), range(len(space.kernels))
    ):
        if (block, position) == (0, 0):
            continue
        deeper = Net2Deeper(block, position, None if block == connected else space.kernels[kernel])
        child = None if block == connected and kernel else child_inside(case, deeper)
        state, legal, mask = after_one_step(case, "deepen", deepen=[block, position, kernel])
        assert legal == bool(mask["deepen"][block, position, kernel]) == (child is not None)
        assert state.architecture == (child or architecture)
        assert state.moves == ((deeper,) if child else ())
        anything |= legal
    for kernel in range(len(space.kernels)):
        state, legal, mask = after_one_step(case, "deepen", deepen=[0, 0, kernel])
        assert legal == bool(mask["deepen"][0, 0, kernel]) == (not anything and kernel == 0)
        assert (state.architecture, state.moves) == (architecture, ())
    assert not mask["widen"].any()


@settings(deadline=None, max_examples=30)
@given(networks_in_spaces().map(lambda case: (case[0], unlimited(case[1]))))
def test_without_a_limit_a_widening_is_legal_exactly_where_the_child_stays_inside_the_space(case):
    architecture, space = case
    for index in range(space.max_layers):
        layer = architecture.layers[index] if index < len(architecture.layers) else None
        width = space.next_width(layer) if layer else None
        child = child_inside(case, Net2Wider(index, width)) if width else None
        state, legal, mask = after_one_step(case, "widen", widen=np.arange(space.max_layers) == index)
        assert legal == bool(mask["widen"][index]) == (child is not None)
        assert state.architecture == (child or architecture)
        assert state.moves == ((Net2Wider(index, width),) if child else ())
    assert not mask["deepen"].any()


@settings(deadline=None, max_examples=40)
@given(networks_in_spaces(), st.data())
def test_every_set_of_layers_in_the_mask_can_be_widened_and_no_other(case, data):
    """No layers at all included; under a limit on parameters too."""
    architecture, space = case
    chosen = np.array(data.draw(st.lists(st.booleans(), min_size=space.max_layers, max_size=space.max_layers)))
    chosen &= data.draw(st.sampled_from([True, action_mask_of(case) == 1]))
    state, legal, mask = after_one_step(case, "widen", widen=chosen.astype(np.int8))
    assert legal == (not (chosen & (mask["widen"] == 0)).any())
    expected = architecture
    for index in np.flatnonzero(chosen) if legal else ():
        expected = Net2Wider(int(index), space.next_width(architecture.layers[index])).apply(expected)
    assert state.architecture == expected
    assert len(state.moves) == (chosen.sum() if legal else 0)
    space.check(state.architecture)


def action_mask_of(case):
    """The widening mask of a network."""
    process = Process(space=replace(case[1], schedule=("widen",)), start=case[0])
    return masks(process, initial(process))["widen"]


def masks(process, state):
    """What is legal in a state."""
    return action_mask(process, process.space.decision(state))


def test_the_mask_of_table_1():
    """By hand. Blocks 0 to 3 have one convolution each, so positions 0 and 1 with three kernels; block 0 only

    position 1, as nothing may come before the first convolution. The fully connected block has the positions 0
    (128 features, fewer than 1,024) and 1, and no choice of kernel: 3 + 3 * 6 + 2 = 23 entries. Layers 0, 2, 4, 6 and
    8 have a width below the last rung.
    """
    process = Process(space=replace(PAPER, schedule=("deepen", "widen")), start=TABLE_1)
    expected = np.zeros((5, 10, 3), np.int8)
    expected[0, 1] = expected[1:4, :2] = 1
    expected[4, :2, 0] = 1
    assert expected.sum() == 23
    np.testing.assert_array_equal(masks(process, initial(process))["deepen"], expected)
    state, _ = transition(process, initial(process), {"deepen": [0, 0, 0]}, process.space.decision(initial(process)))
    np.testing.assert_array_equal(np.flatnonzero(masks(process, state)["widen"]), [0, 2, 4, 6, 8])


@settings(deadline=None, max_examples=15)
@given(st.sampled_from(sorted({*SPACES} - {"nasbench201"})), st.integers(0, 2**32), st.integers(0, 40_000))
def test_random_legal_play_stays_inside_the_space_and_random_illegal_steps_change_nothing(name, seed, more):
    """Over whole episodes of the environment itself, legal and illegal steps mixed, with a limit on parameters."""
    shape = (8, 8, 1) if "digits" in name else (32, 32, 3)
    limit = SPACES[name].start_network(shape, 10).parameter_count + more
    env = EASEnv(space=name, input_shape=shape, max_parameters=limit, evaluator=RecordingEvaluator())
    space, rng = replace(SPACES[name], max_parameters=limit), np.random.default_rng(seed)
    observation, info = env.reset(seed=0)
    for step in range(9):
        before, mask, kind = env.architecture, info["action_mask"], env.process.due[observation["kind"]]
        legal = rng.random() < 0.6
        places = np.argwhere(mask[kind]) if legal else np.argwhere(mask[kind] == 0)
        choice = places[rng.integers(len(places))] if len(places) else ()
        action = {"deepen": choice, "widen": np.isin(np.arange(space.max_layers), choice)}
        observation, *_, info = env.step(action)
        assert info["illegal"] == (not legal)
        assert observation["steps_left"] == 8 - step
        # The entry before the first convolution inserts nothing, and so does widening none.
        moves = len(choice) > 0 if kind == "widen" else any(choice[:2])
        assert (env.architecture != before) == (legal and moves)
        space.check(env.architecture)


@pytest.mark.parametrize("deepen", [[0, 0, 0], [0, 0, 1], [0, 2, 0], [1, 9, 2], [4, 0, 1], [4, 2, 0], [2, 5, 0]])
def test_an_illegal_insertion_changes_nothing_but_the_step(deepen):
    env = EASEnv(evaluator=RecordingEvaluator())
    before, info = env.reset(seed=0)
    after, value, *_, flagged = env.step({"deepen": deepen, "widen": NOWHERE})
    np.testing.assert_array_equal(after["layers"], before["layers"])
    assert (flagged["illegal"], value) == (True, 0.0)
    assert flagged["architecture"] == info["architecture"] == PAPER.start
    assert after["steps_left"] == before["steps_left"] - 1
    assert not env.step({"deepen": [0, 1, 1], "widen": NOWHERE})[INFO]["illegal"], "the flag is of one step"


@pytest.mark.parametrize("layers", [[1], [0, 1], [9], [10], [49], list(range(50))])
def test_an_illegal_widening_changes_nothing_but_the_step(layers):
    env = EASEnv(evaluator=RecordingEvaluator(), schedule=["widen", "widen"])
    before, _ = env.reset(seed=0)
    after, *_, info = env.step({"deepen": [0, 1, 0], "widen": np.isin(np.arange(50), layers)})
    np.testing.assert_array_equal(after["layers"], before["layers"])
    assert info["illegal"]
    assert info["architecture"] == PAPER.start


def test_an_illegal_action_leaves_no_trace_in_the_request():
    evaluator = RecordingEvaluator()
    env = EASEnv(evaluator=evaluator, schedule=["deepen", "deepen", "widen"])
    env.reset(seed=0)
    env.step({"deepen": [0, 0, 0], "widen": NOWHERE})
    env.step({"deepen": [3, 1, 1], "widen": NOWHERE})
    env.step({"deepen": [3, 1, 1], "widen": NOWHERE + 1})
    ((request,),) = evaluator.calls
    assert request.transformations == (Net2Deeper(3, 1, 3),)


@pytest.mark.parametrize(
    "deepen",
    [
        [-1, 0, 0],
        [0, -1, 0],
        [0, 1, -1],
        [4, -10, 0],
        [5, 0, 0],
        [0, 10, 0],
        [0, 1, 3],
        [0, 1],
        [0, 1, 0, 0],
        7,
        [0, 1, np.nan],
        [0, 1.5, 0],
        [[0, 1, 0]],
    ],
)
def test_an_insertion_outside_the_action_space_is_an_error(deepen):
    """A negative number must not count from the end: that would be another place, and a legal one."""
    env = EASEnv(evaluator=RecordingEvaluator())
    env.reset(seed=0)
    with pytest.raises(gym.error.InvalidAction, match=r"is block, position, kernel, whole .* Received: "):
        env.step({"deepen": deepen, "widen": NOWHERE})
    assert str(env.architecture) == PAPER.start
    assert not env.step({"deepen": [0, 1, 0], "widen": NOWHERE})[INFO]["illegal"], "the step was not used up"


@pytest.mark.parametrize(
    "widen", [NOWHERE[:49], np.zeros(51), NOWHERE - 1, NOWHERE + 2, [0, 2], 1, NOWHERE[None], None]
)
def test_a_widening_outside_the_action_space_is_an_error(widen):
    """[0, 2] is what indices of layers look like."""
    env = EASEnv(evaluator=RecordingEvaluator(), schedule=["widen"])
    env.reset(seed=0)
    with pytest.raises(gym.error.InvalidAction, match=r"0 or 1 for each of 50 layers. Received: "):
        env.step({"deepen": [0, 1, 0], "widen": widen})


@pytest.mark.parametrize("action", [{"widen": NOWHERE}, {}, None, 3, NOWHERE, [NOWHERE]])
def test_a_missing_part_is_an_error_only_if_it_is_due(action):
    env = EASEnv(evaluator=RecordingEvaluator(), schedule=["widen", "deepen"])
    env.reset(seed=0)
    env.step({"widen": NOWHERE})
    with pytest.raises(
        gym.error.InvalidAction, match=r"^An action is a dictionary with the part 'deepen'\. Rec[^\n]+$"
    ):
        env.step(action)


def test_where_nothing_can_be_inserted_the_first_entry_inserts_nothing():
    """At the limit on parameters every step is still playable, and the child is the start network."""
    evaluator = RecordingEvaluator()
    env = EASEnv(evaluator=evaluator, max_parameters=133_530)
    _, info = env.reset(seed=0)
    np.testing.assert_array_equal(np.argwhere(info["action_mask"]["deepen"]), [[0, 0, 0]])
    steps = rollout(env, seed=0, actions=0)
    assert not any(step[INFO]["illegal"] for step in steps)
    assert all(not step[INFO]["action_mask"]["widen"].any() for step in steps)
    ((request,),) = evaluator.calls
    assert (request.architecture, request.transformations) == (TABLE_1, ())


def test_the_due_part_follows_the_schedule():
    """The paper's: five insertions, then four widening steps."""
    assert SCHEDULE == ("deepen",) * 5 + ("widen",) * 4
    process = Process(space=PAPER, start=TABLE_1)
    states = [replace(initial(process), steps=steps) for steps in range(10)]
    seen = [observation(process, state, process.space.decision(state)) for state in states]
    assert [process.due[each["kind"]] for each in seen] == [*SCHEDULE, "over"]
    assert [int(each["kind"]) for each in seen] == [0] * 5 + [1] * 4 + [2]
    assert [int(each["steps_left"]) for each in seen] == list(range(9, -1, -1))


def test_observations_lie_in_the_space_along_long_episodes():
    env = EASEnv(evaluator=RecordingEvaluator(), schedule=["deepen"] * 50 + ["widen"] * 12)
    for step in rollout(env, seed=0, actions=0):
        assert env.observation_space.contains(step[OBSERVATION])


def test_a_start_outside_the_space_and_a_schedule_of_other_kinds_are_refused():
    with pytest.raises(InvalidArchitecture, match="outside the space 'toy'"):
        Process(space=SPACES["toy"], start=TABLE_1)
    with pytest.raises(InvalidConfiguration, match="`schedule` is a list"):
        replace(PAPER, schedule=("deepen", "over"))


@pytest.mark.parametrize(
    ("accuracy", "images", "expected"),
    [
        (0.0, 5_000, 0.0),
        (0.5, 5_000, 1.0),
        (1 / 3, 5_000, 3**-0.5),
        (2 / 3, 5_000, 3**0.5),
        (0.9, 5_000, 6.313752),
        (1.0, 5_000, 6366.1977),
        (1.0, 1, 1.0),
        (0.75, 2, 1 + 2**0.5),
        (1.0, 2, 1 + 2**0.5),
    ],
)
def test_known_rewards(accuracy, images, expected):
    """tan(accuracy * pi / 2): tan 45, 30, 60 and 81 degrees by hand.

    Accuracy 1 on n images counts as 1 - 1/(2n), so it gives tan(pi/2 - pi/(4n)) = cot(pi/(4n)), about 4n/pi: for
    5,000 images 1/tan(0.000157080) = 6366.1977. On one image it counts as 1/2, and on two as 3/4: tan 67.5 degrees is
    1 + sqrt 2.
    """
    assert reward(accuracy, images) == pytest.approx(expected, rel=1e-6, abs=1e-12)


@given(st.integers(1, 10**6), st.data())
def test_the_reward_rises_with_every_image_and_is_finite(images, data):
    right = data.draw(st.integers(0, images - 1))
    less, more = reward(right / images, images), reward((right + 1) / images, images)
    assert 0 <= less < more < inf
    assert less == pytest.approx(tan(right / images * pi / 2), rel=1e-6)
