"""The one place where an agent and an environment meet."""

from typing import Any

import gymnasium as gym
import numpy as np

from eas_tf.agents.base import Agent
from eas_tf.architecture import Architecture
from eas_tf.envs import EASVectorEnv
from eas_tf.evaluation import Evaluator
from eas_tf.search.plan import Plan


def make_envs(plan: Plan, start: Architecture, networks: int, evaluator: Evaluator) -> EASVectorEnv:
    """The environments of a search, one for each network of a batch, which all grow from `start`."""
    config, images = plan.config, plan.images
    return EASVectorEnv(
        networks,
        space=plan.space,
        input_shape=images.input_shape,
        classes=images.classes,
        start=str(start),
        metric=config.metric,
        price_parameters=config.price_parameters,
        price_multiply_adds=config.price_multiply_adds,
        price_start=str(plan.start),
        evaluator=evaluator,
    )


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
