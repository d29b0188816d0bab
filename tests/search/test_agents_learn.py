import gymnasium as gym
import numpy as np

import eas_tf  # noqa: F401 - registers the environments
from eas_tf.agents import make_agent
from eas_tf.search.episodes import play


def rewards(agent_name, batches):
    envs = gym.make_vec("EAS-Surrogate-v0", num_envs=10)
    spaces = envs.single_observation_space, envs.single_action_space
    agent = make_agent(agent_name, *spaces, rng=np.random.default_rng(0))
    envs.reset(seed=0)
    return np.array([np.mean([outcome.reward for outcome in play(envs, agent)[0]]) for _ in range(batches)])


def test_reinforce_learns_what_random_search_does_not():
    """The first 400 networks of one seed; `scripts/compare.py` shows 600 of five seeds, which all learn."""
    learned, drawn = rewards("reinforce", 40), rewards("random", 40)
    assert abs(learned[:5].mean() - drawn.mean()) < 0.08
    assert learned[-10:].mean() > drawn.mean() + 0.08
    assert learned[-10:].mean() > learned[:5].mean() + 0.08
