"""The one place where an agent and an environment meet."""

from typing import Any

import gymnasium as gym
import numpy as np

from eas_tf.agents.base import Agent


def play(envs: gym.vector.VectorEnv[Any, Any, np.ndarray], agent: Agent) -> tuple[np.ndarray, dict[str, float]]:
    """Run one episode in every environment, and let the agent learn from them.

    Args:
        envs: Environments whose episodes end together. Seed them before.
        agent: Acts on all of them at once.

    Returns:
        The rewards `[envs]`, and the agent's own account of what it learned.
    """
    observation, infos = envs.reset()
    over = np.zeros(envs.num_envs, bool)
    while not over.all():
        action = agent.act(observation, infos["action_mask"])
        observation, rewards, over, _, infos = envs.step(action)
    return rewards, agent.learn(rewards)
