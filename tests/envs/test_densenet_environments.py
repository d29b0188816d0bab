"""The environments of DenseNets: another network. That they keep the contract is tested with all ids."""

import gymnasium as gym
import numpy as np
import pytest
from playing import INFO, OBSERVATION, SHORT, RecordingEvaluator, legal_action, rollout, surrogate

from eas_tf.architecture import SPACES, DenseLayer, DenseNet, parse_move
from eas_tf.envs import EASEnv
from eas_tf.errors import EASError, InvalidArchitecture

NAMES = ["EAS-DenseNet-Digits-v0", "EAS-DenseNet-Cifar10-v0"]
ids = pytest.mark.parametrize("name", NAMES)
LARGE = "DenseNet-BC: C(80,3,1), 6xD(40), T(160), 6xD(40), T(200), 6xD(40), SM(10)"


def nothing(env):
    return {key: np.zeros(space.shape, np.int64) for key, space in env.action_space.items()}


def test_the_start_of_the_cifar_environment_is_the_paper_s():
    env = surrogate("EAS-DenseNet-Cifar10-v0")
    observation, info = env.reset(seed=0)
    assert (info["architecture"], info["parameters"]) == (LARGE, 1_901_930)
    expected = [(1, 0, 1), *[(2, 1, 1)] * 6, (3, 0, 0), *[(2, 1, 1)] * 6, (3, 0, 0), *[(2, 1, 1)] * 6, (4, 0, 0)]
    np.testing.assert_array_equal(observation["layers"][:22], expected)
    assert observation["layers"].shape == (50, 3)
    assert not observation["layers"][22:].any()


def test_an_insertion_copies_the_layer_before_it():
    """In block 1 behind its second layer, which is layer 5; layers are counted from 0."""
    env = surrogate(NAMES[0], schedule=["widen", "deepen", "deepen"])
    _, info = env.reset(seed=0)
    assert np.flatnonzero(info["action_mask"]["widen"]).tolist() == [1, 2, 4, 5]
    widen = np.zeros(15, np.int64)
    widen[5] = 1
    _, _, _, _, info = env.step(nothing(env) | {"widen": widen})
    mask = info["action_mask"]["deepen"]
    assert np.argwhere(mask).tolist() == [[0, 1, 0], [0, 2, 0], [1, 1, 0], [1, 2, 0]]
    observation, _, _, _, info = env.step(nothing(env) | {"deepen": np.array([1, 2, 0])})
    assert info["architecture"] == "DenseNet-BC: C(8,3,1), 2xD(4), T(8), D(4), 2xD(6), SM(10)"
    assert observation["layers"][6].tolist() == [2, 2, 1]
    _, _, terminated, _, info = env.step(nothing(env) | {"deepen": np.array([0, 0, 0])})
    assert terminated
    assert info["illegal"], "there is nothing to copy at position 0, and elsewhere there is"
    assert info["transformations"] == "wider(5,6) deeper(1,1,-)"


@ids
@pytest.mark.parametrize("seed", range(3))
def test_an_episode_ends_at_what_its_transformations_lead_to(name, seed):
    env = surrogate(name)
    steps = rollout(env, seed=seed, actions=seed)
    network = DenseNet.parse(env.unwrapped.process.space.start, env.unwrapped.architecture.input_shape)
    for text in steps[-1][INFO]["transformations"].split():
        network = parse_move(text).apply(network)
    assert network == env.unwrapped.architecture
    assert str(network) == steps[-1][INFO]["architecture"]
    assert all(env.observation_space.contains(step[OBSERVATION]) for step in steps)
    assert sum(isinstance(layer, DenseLayer) for layer in network.layers) == (4 if "Digits" in name else 18) + 5


def test_what_is_rederived_is_among_the_transformations():
    """The stem and the transitions are no choice of the agent's."""
    env = EASEnv(space="densenet-rederive", schedule=["widen"], evaluator=RecordingEvaluator())
    _, info = env.reset(seed=0)
    mask = info["action_mask"]["widen"]
    assert np.flatnonzero(mask).tolist() == [*range(1, 7), *range(8, 14), *range(15, 21)]
    *_, info = env.step(nothing(env) | {"widen": mask})
    assert info["architecture"] == "DenseNet-BC: C(88,3,1), 6xD(44), T(176), 6xD(44), T(220), 6xD(44), SM(10)"
    assert "wider(0,88)" in info["transformations"].split()
    assert "wider(7,176)" in info["transformations"].split()


def test_many_episodes_side_by_side():
    envs = gym.make_vec(NAMES[0], num_envs=3, evaluator="surrogate", schedule=SHORT)
    observation, info = envs.reset(seed=1)
    assert observation["layers"].shape == (3, 15, 3)
    assert set(info["architecture"]) == {SPACES["densenet-digits"].start}


@ids
def test_it_can_be_drawn(name):
    env = surrogate(name, render_mode="rgb_array")
    env.reset(seed=0)
    picture = env.render()
    assert (picture.shape, picture.dtype) == ((300, 900, 3), np.uint8)


def test_where_nothing_can_be_inserted_nothing_is():
    env = surrogate(NAMES[0], schedule=["deepen"], max_parameters=3_586)
    _, info = env.reset(seed=0)
    action = legal_action(info["action_mask"], np.random.default_rng(0))
    assert action["deepen"].tolist() == [0, 0, 0]
    *_, info = env.step(action)
    assert not info["illegal"]
    assert info["transformations"] == ""


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"start": SPACES["digits"].start}, r"outside the space 'densenet-digits': it is no DenseNet"),
        ({"start": "DenseNet-BC: C(8,3,1), D(5), SM(10)"}, r"layer 1, D\(5\), must have a growth rate among \(4, 6, 8"),
        ({"start": "DenseNet-BC: C(8,3,1), D(32), SM(10)"}, r"layer 1, D\(32\)"),
        ({"start": "DenseNet-BC: C(8,3,1), SM(10)"}, r"At position 23 .* expected D\(growth\)"),
        ({"start": "DenseNet-BC: C(8,3,1), 0xD(4), SM(10)"}, r"At position 23"),
        ({"start": "DenseNet-XL: C(8,3,1), D(4), SM(10)"}, r"headers .* Received: 'DenseNet-XL'"),
        ({"start": "DenseNet-BC: C(8,3,1), D(4), SM(9)"}, r"ends in 9 classes"),
        ({"price_start": "DenseNet-BC: C(8,3,1), T(4), SM(9)"}, r"At position 23"),
        ({"input_shape": [1, 1, 1]}, r"Layer 3, T\(8\), halves .* Use larger images"),
        ({"max_parameters": 3_585}, r"3,586 parameters, at most 3,585"),
    ],
)
def test_bad_input_is_one_line_when_an_environment_is_made(arguments, reason):
    with pytest.raises(EASError, match=reason) as refusal:
        surrogate(NAMES[0], **arguments)
    assert "\n" not in str(refusal.value)


def test_a_plain_space_refuses_a_densenet_as_its_start():
    with pytest.raises(InvalidArchitecture, match="outside the space 'digits': it is no plain network"):
        surrogate("EAS-Digits-v0", start=SPACES["densenet-digits"].start)
