"""Many episodes side by side, whose children are evaluated together: a batch of networks is one call."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate

from eas_tf.envs.environment import EASEnv
from eas_tf.envs.episode import Episode, parents_of
from eas_tf.errors import InvalidConfiguration
from eas_tf.evaluation import results_of


class EASVectorEnv(gym.vector.VectorEnv[dict[str, Any], dict[str, Any], np.ndarray]):
    """`EASEnv`, `num_envs` times; see there for all keyword arguments but `num_envs`.

    The step after an episode's last one resets it and ignores its action (Gymnasium's autoreset mode NEXT_STEP), while
    others that are longer go on. Children of episodes that end in the same step are evaluated together.
    """

    metadata = EASEnv.metadata | {"autoreset_mode": gym.vector.AutoresetMode.NEXT_STEP}

    def __init__(self, num_envs: int = 10, **kwargs: Any) -> None:
        if num_envs < 1:
            raise InvalidConfiguration(f"`num_envs` must be at least 1. Received: {num_envs}")
        single = EASEnv(**kwargs)
        self.num_envs, self.render_mode = num_envs, single.render_mode
        self._episodes = [Episode(single.process) for _ in range(num_envs)]
        self.process, self._evaluator = single.process, single.evaluator
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
            options: As `EASEnv.reset` has them; `parent` may be a list, with one for each episode. Episodes that begin
                by themselves after another begin with the start network.

        Raises:
            InvalidArchitecture: If a parent cannot be read, or is outside the space.
            InvalidConfiguration: If there is no such option, a parent has no weights to grow from, or there are too
                many or too few of them or of the seeds.
        """
        parents = parents_of(options, self.process, self.num_envs, self._evaluator.check_parent)
        if seed is None or isinstance(seed, int | np.integer):
            seed = [None if seed is None else int(seed) + i for i in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise InvalidConfiguration(f"reset takes one seed, or {self.num_envs} seeds. Received: {len(seed)}")
        for i, one in enumerate(seed):
            if one is not None:
                self._rngs[i] = gym.utils.seeding.np_random(int(one))[0]
        for episode, parent in zip(self._episodes, parents, strict=True):
            episode.reset(parent)
        return self._observations(), self._infos([episode.info() for episode in self._episodes])

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Transform every network, but those whose episode is over, which go back to the start network."""
        rewards, over = np.zeros(self.num_envs), np.zeros(self.num_envs, bool)
        for i, (episode, action) in enumerate(zip(self._episodes, iterate(self.action_space, actions), strict=True)):
            if episode.over:
                episode.reset()
            else:
                episode.act(action)
                over[i] = episode.over
        infos = [episode.info() for episode in self._episodes]
        ended = np.flatnonzero(over).tolist()
        if ended:
            evaluator = self._evaluator()
            requests = [self._episodes[i].request(self._rngs[i]) for i in ended]
            for i, result in zip(ended, results_of(evaluator, requests), strict=True):
                rewards[i], outcome = self._episodes[i].outcome(evaluator, result)
                infos[i] |= outcome
        return self._observations(), rewards, over, np.zeros(self.num_envs, bool), self._infos(infos)

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
