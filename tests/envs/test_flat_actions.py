"""The wrapper for libraries that know one `Discrete` action: the same environment, read flat."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env, data_equivalence
from playing import SHORT, RecordingEvaluator, surrogate

from eas_tf.architecture import SPACES, PlainCNN
from eas_tf.envs import EASEnv, FlatActions
from eas_tf.errors import InvalidConfiguration
from eas_tf.registration import ENVIRONMENTS

#: 5 blocks, 10 positions, 3 kernels; 50 layers; nothing.
NOTHING = 5 * 10 * 3 + 50


def flat(**kwargs):
    return FlatActions(EASEnv(**({"evaluator": RecordingEvaluator()} | kwargs)))


def play(env, *, seed, episodes=1):
    """Steps of episodes of random legal actions."""
    rng, steps = np.random.default_rng(seed), []
    for _ in range(episodes):
        steps.append((*env.reset(seed=seed),))
        over = False
        while not over:
            observation, reward, over, _, info = env.step(rng.choice(np.flatnonzero(env.action_masks())))
            steps.append((observation, reward, over, info))
    return steps


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_check_env_is_content(name):
    """Through the wrapper: the checks of spaces and determinism, without the drawing."""
    env = gym.make(name, evaluator="surrogate", disable_env_checker=True)
    with pytest.warns(UserWarning, match="different from the unwrapped version"):
        check_env(FlatActions(env), skip_render_check=True)


def test_the_flat_mask_is_the_nested_one():
    """In C order: insertions, then layers, then nothing."""
    env, nested = flat(), EASEnv(evaluator=RecordingEvaluator())
    rng = np.random.default_rng(0)
    (observation, info), (_, other) = env.reset(seed=0), nested.reset(seed=0)
    assert env.action_space == gym.spaces.Discrete(NOTHING + 1)
    over = False
    while not over:
        mask, expected = info["action_mask"], other["action_mask"]
        assert (mask.dtype, mask.shape) == (np.int8, (NOTHING + 1,))
        np.testing.assert_array_equal(mask[:150].reshape(5, 10, 3), expected["deepen"])
        np.testing.assert_array_equal(mask[150:200], expected["widen"])
        assert mask[NOTHING] == (observation["kind"] == 1)
        np.testing.assert_array_equal(env.action_masks(), mask == 1)
        assert env.action_masks().dtype == bool
        action = rng.choice(np.flatnonzero(mask))
        observation, _, over, _, info = env.step(action)
        place = np.unravel_index(action, (5, 10, 3)) if action < 150 else (0, 0, 0)
        _, _, _, _, other = nested.step({"deepen": place, "widen": np.arange(50) == action - 150})
        assert info["architecture"] == other["architecture"]
        assert not info["illegal"]


@pytest.mark.parametrize("kind", ["deepen", "widen"])
def test_every_action_does_what_its_number_says_if_it_is_legal_and_nothing_if_not(kind):
    """All 201 actions in the first step.

    Legal are two places in each convolutional block (in the first not its start) with three kernels, and three in the
    fully connected one, which has no choice of kernel; or four layers, as two of the six with a width stand on the
    last rung, and nothing.
    """
    start = "C(16,3,1), C(20,1,1), P(2,2,MAX), C(512,3,1), P(2,2,MAX), C(64,5,1), P(8,8,AVG), FC(64), FC(1024), SM(10)"
    env = flat(schedule=[kind, "widen"], start=start)
    space, network = SPACES["paper"], PlainCNN.parse(start)
    worked = 0
    for action in range(NOTHING + 1):
        _, info = env.reset(seed=0)
        legal = bool(info["action_mask"][action])
        *_, info = env.step(action)
        expected = network
        if legal and action < 150:
            expected = space.insertion(network, *map(int, np.unravel_index(action, (5, 10, 3)))).apply(network)
        elif legal and action < NOTHING:
            expected = space.climbed(network, [action - 150])
        assert info["architecture"] == str(expected)
        assert info["illegal"] == (not legal)
        worked += legal
    assert worked == {"deepen": 3 * 2 * 3 + 3, "widen": 4 + 1}[kind]


def test_nothing_is_legal_in_an_inserting_step_only_where_no_insertion_is():
    env = flat(schedule=["deepen", "widen"], max_parameters=133_530)
    _, info = env.reset(seed=0)
    np.testing.assert_array_equal(np.flatnonzero(info["action_mask"]), [NOTHING])
    *_, info = env.step(NOTHING)
    assert not info["illegal"]
    assert info["architecture"] == SPACES["paper"].start
    np.testing.assert_array_equal(np.flatnonzero(info["action_mask"]), [NOTHING])
    env = flat()
    env.reset(seed=0)
    *_, info = env.step(NOTHING)
    assert info["illegal"]


@pytest.mark.parametrize("action", [-1, -201, NOTHING + 1, 1.5, None])
def test_a_number_outside_the_action_space_is_an_error(action):
    env = flat()
    env.reset(seed=0)
    with pytest.raises(gym.error.InvalidAction, match=r"from 0 to 200. Received: "):
        env.step(action)


def test_masks_share_no_memory():
    env = flat(schedule=SHORT)
    masks = []
    for *_, info in play(env, seed=0, episodes=2):
        masks += [info["action_mask"], env.action_masks()]
    assert not any(np.shares_memory(mask, other) for i, mask in enumerate(masks) for other in masks[:i])


def test_what_a_user_writes_into_a_mask_changes_nothing():
    env = flat()
    _, info = env.reset(seed=0)
    info["action_mask"][:] = env.action_masks()[:] = 1
    assert not env.action_masks().all()
    assert env.step(NOTHING)[-1]["illegal"]


def test_the_spec_survives_json_and_rebuilds_the_wrapper():
    env = FlatActions(surrogate(schedule=SHORT))
    rebuilt = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert isinstance(rebuilt, FlatActions)
    assert rebuilt.action_space == env.action_space
    assert data_equivalence(play(env, seed=4), play(rebuilt, seed=4))


def test_environments_of_others_are_refused():
    with pytest.raises(InvalidConfiguration, match=r"^FlatActions is for environments of eas_tf\. Received: [^\n]+$"):
        FlatActions(gym.make("CartPole-v1"))
