"""Regularised evolution: who may be a parent, who wins, and how far children are from their parents."""

import numpy as np
import pytest

from eas_tf.agents import make_agent
from eas_tf.agents.base import Outcome
from eas_tf.agents.evolution import EvolutionAgent, EvolutionConfig
from eas_tf.architecture import space_named
from eas_tf.envs import EASVectorEnv
from eas_tf.errors import InvalidConfiguration

HISTORY = [
    Outcome(architecture=str(place), reward=reward, failure="" if reward else "it diverged")
    for place, reward in enumerate([1.0, 3.0, 0.0, 2.0])
]


def make(space="digits", seed=0, networks=40, **config):
    if isinstance(space, str):
        space = space_named(space, **({} if space == "nasbench201" else {"may_pass": True}))
    shape = (32, 32, 3) if space.name == "nasbench201" else (8, 8, 1)
    envs = EASVectorEnv(networks, space=space, input_shape=shape, evaluator="surrogate")
    return envs, EvolutionAgent(
        envs.single_action_space, rng=np.random.default_rng(seed), config=EvolutionConfig(**config)
    )


def play(envs, agent, parent=None):
    """Networks after an episode, how many steps changed something, and whether anything illegal was done."""
    observation, infos = envs.reset(seed=0, options=parent and {"parent": parent})
    over, moves, illegal = np.zeros(envs.num_envs, bool), np.zeros(envs.num_envs, int), False
    while not over.all():
        before = infos["architecture"]
        action = agent.act(observation, infos["action_mask"])
        observation, _, over, _, infos = envs.step(action)
        moves += infos["architecture"] != before
        illegal |= infos["illegal"].any()
    return infos, moves, illegal


def test_the_best_of_a_sample_of_those_that_live_is_the_parent():
    _, agent = make(sample=60, population=80)
    assert {place % 4 for place in agent.parents(20 * HISTORY, 5)} == {1}
    _, agent = make(sample=1)
    chosen = np.bincount(agent.parents(HISTORY, 3000), minlength=4) / 3000
    np.testing.assert_allclose(chosen, [1 / 3, 1 / 3, 0, 1 / 3], atol=0.03)


def test_of_two_draws_the_best_wins_as_often_as_it_is_among_them():
    """Of three, drawn twice with replacement, the best is among them with probability 5/9, the worst alone with 1/9."""
    _, agent = make(sample=2)
    chosen = np.bincount(agent.parents(HISTORY, 9000), minlength=4) / 9000
    np.testing.assert_allclose(chosen, [1 / 9, 5 / 9, 0, 3 / 9], atol=0.02)


def test_until_there_is_a_sample_of_those_that_live_the_search_decides():
    _, agent = make(sample=3)
    assert agent.parents([], 5) is None
    assert agent.parents(HISTORY[:3], 5) is None
    assert len(agent.parents(HISTORY, 5)) == 5


@pytest.mark.parametrize("space", ["digits", "densenet-digits"])
def test_children_are_one_to_three_moves_away_each_number_as_often(space):
    envs, agent = make(space, networks=600)
    infos, moves, illegal = play(envs, agent)
    assert not illegal
    np.testing.assert_allclose(np.bincount(moves, minlength=5) / 600, [0, 1 / 3, 1 / 3, 1 / 3, 0], atol=0.06)
    assert len(set(infos["architecture"])) > 60


def test_moves_are_spread_over_all_steps():
    envs, agent = make("digits", networks=600, mutations=1)
    kinds = {"deeper": 0, "wider": 0}
    for told in play(envs, agent)[0]["transformations"]:
        kinds[told.partition("(")[0]] += 1
    assert kinds["deeper"] / 600 == pytest.approx(5 / 9, abs=0.06)


def test_what_must_be_decided_is_decided_and_from_there_on_little_changes():
    envs, agent = make("nasbench201", networks=300)
    infos, moves, illegal = play(envs, agent)
    assert not illegal
    assert (moves == 6).all()
    parent = infos["architecture"][0]
    _, moves, illegal = play(envs, agent, parent)
    assert not illegal
    np.testing.assert_allclose(np.bincount(moves, minlength=5)[:5] / 300, [0, 1 / 3, 1 / 3, 1 / 3, 0], atol=0.09)


def test_sizes_below_one_are_refused():
    with pytest.raises(InvalidConfiguration, match=r"`sample` must be at least 1. Received: 0"):
        make(sample=0)


def test_it_is_known_by_name():
    envs, _ = make(networks=1)
    spaces = envs.single_observation_space, envs.single_action_space
    assert make_agent("evolution", *spaces, rng=np.random.default_rng(0)).population == 50
