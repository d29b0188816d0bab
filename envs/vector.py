"""Many episodes side by side, whose children are evaluated together: a batch of networks is one call."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate

from eas_tf.envs.environment import EASEnv
from eas_tf.envs.episode import Episode
from eas_tf.errors import InvalidConfiguration


class EASVectorEnv(gym.vector.VectorEnv[dict[str, Any], dict[str, Any], np.ndarray]):
    """`EASEnv`, `num_envs` times; see there for all keyword arguments but `num_envs`.

    All episodes have the same length, so they end together; the step after resets them all and ignores its action
    (Gymnasium's autoreset mode NEXT_STEP).
    """

    metadata = EASEnv.metadata | {"autoreset_mode": gym.vector.AutoresetMode.NEXT_STEP}

    def __init__(self, num_envs: int = 10, **kwargs: Any) -> None:
        if num_envs < 1:
            raise InvalidConfiguration(f"num_envs must be at least 1. Received: {num_envs}")
        single = EASEnv(**kwargs)
        self.num_envs, self.render_mode = num_envs, single.render_mode
        self._episodes = [Episode(single.process) for _ in range(num_envs)]
        self._evaluator = single.evaluator
        self._rngs = [np.random.default_rng() for _ in range(num_envs)]
        self.single_observation_space, self.single_action_space = single.observation_space, single.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Go back to the start network in every episode.

        Args:
            seed: A seed for each episode, or one from which they count up, as in Gymnasium's own vector environments.
            options: There are none.
        """
        del options
        if seed is None or isinstance(seed, int | np.integer):
            seed = [None if seed is None else int(seed) + i for i in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise InvalidConfiguration(f"reset takes one seed, or {self.num_envs} seeds. Received: {len(seed)}")
        for i, one in enumerate(seed):
            if one is not None:
                self._rngs[i] = gym.utils.seeding.np_random(int(one))[0]
        for episode in self._episodes:
            episode.reset()
        return self._observations(), self._infos([episode.info() for episode in self._episodes])

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Transform every network; after the last step of the schedule, evaluate them all in one call."""
        rewards, never = np.zeros(self.num_envs), np.zeros(self.num_envs, bool)
        if self._episodes[0].over:
            observations, start = self.reset()
            return observations, rewards, never, never.copy(), start
        for episode, action in zip(self._episodes, iterate(self.action_space, actions), strict=True):
            episode.act(action)
        infos = [episode.info() for episode in self._episodes]
        over = self._episodes[0].over
        if over:
            evaluator = self._evaluator()
            requests = [e.request(evaluator, rng) for e, rng in zip(self._episodes, self._rngs, strict=True)]
            for i, result in enumerate(evaluator.evaluate(requests)):
                rewards[i], outcome = self._episodes[i].outcome(evaluator, result)
                infos[i] |= outcome
        return self._observations(), rewards, np.full(self.num_envs, over), never, self._infos(infos)

    def render(self) -> tuple[Any, ...] | None:
        """A layer string or a picture of each episode's network, as `EASEnv.render` gives it; None without a mode."""
        if self.render_mode is None:
            return None
        return tuple(episode.render(self.render_mode) for episode in self._episodes)

    def close_extras(self, **kwargs: Any) -> None:  # noqa: ARG002 - Gymnasium's signature
        """End the processes that train children, if there are any."""
        self._evaluator.close()

    def _observations(self) -> Any:
        empty: Any = create_empty_array(self.single_observation_space, self.num_envs)
        return concatenate(self.single_observation_space, [e.observation() for e in self._episodes], empty)

    def _infos(self, infos: Sequence[dict[str, Any]]) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for i, info in enumerate(infos):
            merged = self._add_info(merged, info, i)
        return merged
