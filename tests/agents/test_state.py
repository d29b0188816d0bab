"""What an agent knows, kept and restored: from there on all decisions are the same."""

import numpy as np
import pytest
from told import outcomes

from eas_tf.agents import make_agent
from eas_tf.agents.baseline import MovingAverage
from eas_tf.agents.state import generator_state, restore_generator
from eas_tf.envs import EASVectorEnv
from eas_tf.errors import RunDamaged


def play(agent, envs, seed):
    observation, infos = envs.reset(seed=seed)
    actions, over = [], np.zeros(envs.num_envs, bool)
    while not over.all():
        action = agent.act(observation, infos["action_mask"])
        actions.append(action)
        observation, rewards, over, _, infos = envs.step(action)
    agent.learn(outcomes(rewards))
    return actions


def make(name, envs, seed):
    rng = np.random.default_rng(seed)
    return make_agent(name, envs.single_observation_space, envs.single_action_space, rng=rng)


@pytest.mark.parametrize("name", ["reinforce", "random", "evolution"])
def test_an_agent_goes_on_from_its_state_as_if_it_had_not_ended(name, tmp_path):
    envs = EASVectorEnv(4, space="digits", input_shape=(8, 8, 1), evaluator="surrogate")
    agent, other = make(name, envs, 0), make(name, envs, 1)
    for seed in (0, 10):
        play(agent, envs, seed)
    np.savez(tmp_path / "state.npz", **agent.state())
    with np.load(tmp_path / "state.npz", allow_pickle=False) as state:
        other.restore(state)
    for seed in (20, 30, 40):
        for one, two in zip(play(agent, envs, seed), play(other, envs, seed), strict=True):
            assert all(np.array_equal(one[kind], two[kind]) for kind in one)
    first, second = agent.state(), other.state()
    assert set(first) == set(second)
    assert all(np.array_equal(first[key], second[key]) for key in first)


def test_the_state_of_another_agent_is_refused():
    envs = EASVectorEnv(2, space="digits", input_shape=(8, 8, 1), evaluator="surrogate")
    larger = EASVectorEnv(2, space="paper", evaluator="surrogate")
    agent = make("reinforce", envs, 0)
    with pytest.raises(RunDamaged, match="another agent"):
        agent.restore(make("random", envs, 0).state())
    with pytest.raises(RunDamaged, match="has shape"):
        agent.restore(make("reinforce", larger, 0).state())


def test_another_kind_of_generator_is_refused():
    with pytest.raises(RunDamaged, match="not the state of a PCG64"):
        restore_generator(np.random.default_rng(0), generator_state(np.random.Generator(np.random.MT19937(0))))


def test_the_baseline_remembers_two_sums():
    one, two = MovingAverage(0.9), MovingAverage(0.9)
    one.update(1.0)
    one.update(2.0)
    two.sums = one.sums
    assert two.value == one.value
    assert two.update(5.0) == one.update(5.0)
