"""Episodes of a batch that end at different times."""

from dataclasses import dataclass
from itertools import chain, islice
from typing import ClassVar

import gymnasium as gym
import numpy as np
import pytest

from eas_tf.agents import make_agent
from eas_tf.agents.base import Outcome
from eas_tf.agents.random_search import RandomSearchAgent
from eas_tf.architecture import SPACES, Chain, Decision, PlainSpace
from eas_tf.architecture.cells import CellSpace
from eas_tf.envs import EASVectorEnv, FlatActions
from eas_tf.errors import InvalidConfiguration
from eas_tf.search.episodes import batches, chosen_parents, play


@dataclass(frozen=True, kw_only=True)
class UntilWider(PlainSpace):
    """Its episodes are over as soon as something is wider."""

    def decision(self, state):
        return None if state.moves else super().decision(state)


SPACE = UntilWider(**{**vars(SPACES["toy"]), "schedule": ("widen",) * 6})


class Watched(EASVectorEnv):
    """Remembers what its steps gave."""

    def reset(self, **options):
        self.steps = []
        return super().reset(**options)

    def step(self, actions):
        self.steps.append(super().step(actions))
        return self.steps[-1]


class Watching:
    """An agent that remembers what it was asked, and seldom says yes."""

    def __init__(self, agent, rng):
        self.agent, self.rng, self.asked = agent, rng, []

    def act(self, observation, mask):
        self.asked.append((observation["kind"].copy(), {kind: part.copy() for kind, part in mask.items()}))
        rare = self.rng.random(mask["widen"].shape) < 0.15
        return self.agent.act(observation, {**mask, "widen": mask["widen"] & rare})

    def learn(self, outcomes):
        return self.agent.learn(outcomes)


@pytest.mark.parametrize("name", ["random", "reinforce"])
def test_the_first_episode_of_each_environment_counts_and_no_other(name):
    envs = Watched(8, space=SPACE, evaluator="surrogate")
    spaces = envs.single_observation_space, envs.single_action_space
    agent = Watching(make_agent(name, *spaces, rng=np.random.default_rng(0)), np.random.default_rng(1))
    envs.reset(seed=0)
    outcomes, account = play(envs, agent)
    ends = np.array([over for _, _, over, *_ in envs.steps])
    first = ends.argmax(axis=0)
    assert len(set(first)) > 1
    assert len(envs.steps) == first.max() + 1
    assert [outcome.reward for outcome in outcomes] == [envs.steps[at][1][i] for i, at in enumerate(first)]
    assert [outcome.architecture for outcome in outcomes] == [
        envs.steps[at][4]["architecture"][i] for i, at in enumerate(first)
    ]
    for step, (kind, mask) in enumerate(agent.asked):
        np.testing.assert_array_equal(kind == 2, step > first)
        assert not mask["widen"][step > first].any()
    if name == "reinforce":
        assert np.isfinite(list(account.values())).all()


@dataclass(frozen=True, kw_only=True)
class WithoutPass(CellSpace):
    """Zeros are a choice of their own here: the operation none."""

    kinds: ClassVar = {"operation": Chain(("operation",), (5,))}
    legal: bytes = b"\1\1\0\1\1"

    def decision(self, state):
        due = super().decision(state)
        return due and Decision("operation", self.legal)

    def act(self, state, choice):
        return super().act(state, choice and (choice[0] + 1,))


def test_an_illegal_flat_action_changes_nothing_where_zeros_do_not_stand_for_nothing():
    env = FlatActions(gym.make("EAS-Surrogate-v0", space=WithoutPass()))
    for action in range(env.action_space.n):
        _, before = env.reset(seed=0)
        *_, after = env.step(action)
        legal = action not in (2, 5)
        assert before["action_mask"][action] == legal
        assert after["illegal"] == (not legal)
        assert (after["architecture"] == before["architecture"]) == (not legal)
    env = FlatActions(gym.make("EAS-Surrogate-v0", space=WithoutPass(legal=b"\1" * 5)))
    env.reset(seed=0)
    with pytest.raises(gym.error.InvalidAction, match="Number 5 is not legal now"):
        env.step(5)


class Chooser(RandomSearchAgent):
    """Decides at random, and chooses the parents that it is told to."""

    population = 5

    def __init__(self, action_space, chosen):
        super().__init__(action_space, rng=np.random.default_rng(0))
        self.chosen, self.histories = chosen, []

    def parents(self, history, episodes):
        self.histories.append(history)
        return self.chosen(len(history), episodes)


def chooser(chosen):
    envs = EASVectorEnv(3, space="toy", evaluator="surrogate")
    envs.reset(seed=0)
    return envs, Chooser(envs.single_action_space, chosen)


def test_an_agent_that_chooses_parents_sees_the_latest_networks_and_gets_those_it_chooses():
    envs, agent = chooser(lambda known, episodes: [known - 1] * episodes if known else None)
    told = list(islice(batches(envs, agent), 3))
    everything = [*chain.from_iterable(told)]
    assert [len(history) for history in agent.histories] == [0, 3, 5]
    assert agent.histories[2] == everything[1:6]
    assert [outcome.parent for outcome in told[1]] == [told[0][-1].architecture] * 3
    assert [outcome.parent for outcome in told[0]] == [str(envs.process.start)] * 3


@pytest.mark.parametrize(
    "chosen",
    [[0, 1], [0, 1, 99], [0, 1, -1], [0, 0, 1, 1], [], 0, "012", [0.0, 1.0, 2.0], [[0], [1], [2]], [0, [1], 2]],
)
def test_parents_that_there_are_not_are_refused_by_name(chosen):
    envs, agent = chooser(lambda known, _: chosen if known else None)
    with pytest.raises(InvalidConfiguration, match=r"3 places among \[0, 1, 2\].*Received from Chooser: "):
        list(islice(batches(envs, agent), 2))


def test_a_network_that_failed_is_no_parent():
    history = [Outcome(architecture="C(1,1,1)", reward=0.0, failure="it diverged")]
    _, agent = chooser(lambda _, episodes: [0] * episodes)
    with pytest.raises(InvalidConfiguration, match="networks that did not fail"):
        chosen_parents(agent, history, 3)


def test_parents_may_be_an_array():
    envs, agent = chooser(lambda known, episodes: np.arange(episodes) if known else None)
    told = list(islice(batches(envs, agent), 2))
    assert [outcome.parent for outcome in told[1]] == [outcome.architecture for outcome in told[0]]
    history = [Outcome(architecture="C(1,1,1)", reward=0.0)] * 7
    assert [type(place) for place in chosen_parents(agent, history, 3)] == [int] * 3


def test_an_agent_that_chooses_parents_among_none_is_refused():
    envs, agent = chooser(lambda *_: None)
    agent.population = 0
    with pytest.raises(InvalidConfiguration, match=r"`population` of an agent .* at least 1 .* from Chooser: 0$"):
        next(batches(envs, agent))
