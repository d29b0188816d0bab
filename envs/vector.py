"""Many episodes side by side, whose children are evaluated together: a batch of networks is one call."""

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array

from eas_tf.envs.environment import EASEnv
from eas_tf.envs.episode import Episode, parents_of
from eas_tf.errors import InvalidConfiguration
from eas_tf.evaluation import results_of
from eas_tf.text import printable


class EASVectorEnv(gym.vector.VectorEnv[dict[str, Any], dict[str, Any], np.ndarray]):
    """`EASEnv`, `num_envs` times; see there for all keyword arguments but `num_envs`.

    The step after an episode's last one resets it and ignores its action (Gymnasium's autoreset mode NEXT_STEP), while
    others that are longer go on. Children of episodes that end in the same step are evaluated together.
    """

    metadata = EASEnv.metadata | {"autoreset_mode": gym.vector.AutoresetMode.NEXT_STEP}

    def __init__(self, num_envs: int = 10, **kwargs: Any) -> None:
        if not _is_whole(num_envs) or num_envs < 1:
            raise InvalidConfiguration(
                f"`num_envs` must be a whole number, at least 1. Received: {printable(repr(num_envs))}"
            )
        single = EASEnv(**kwargs)
        self.num_envs, self.render_mode = num_envs, single.render_mode
        self._episodes = [Episode.begun(single.process) for _ in range(num_envs)]
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
            InvalidConfiguration: If there is no such option, a parent has no weights to grow from, nothing is to be
                decided about it, there are too many or too few of them or of the seeds, or a seed is none.
        """
        parents = parents_of(options, self.process, self.num_envs, self._evaluator.check_parent)
        seeds = _seeds_of(seed, self.num_envs)
        self._episodes = [Episode.begun(self.process, parent) for parent in parents]
        for i, one in enumerate(seeds):
            if one is not None:
                self._rngs[i] = gym.utils.seeding.np_random(one)[0]
        return self._observations(), self._infos([episode.info() for episode in self._episodes])

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Transform every network, but those whose episode is over, which go back to the start network.

        Raises:
            InvalidAction: If the part that is due is missing for one of them, or outside the action space. Then none of
                them has changed.
        """
        self._episodes = [
            Episode.begun(self.process) if episode.over else episode.after(action)
            for episode, action in zip(self._episodes, self._apart(actions), strict=True)
        ]
        rewards, over = np.zeros(self.num_envs), np.array([episode.over for episode in self._episodes])
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

    def _apart(self, actions: Any) -> list[dict[str, Any]]:
        """The action of each episode, with the parts that there are."""
        if not isinstance(actions, Mapping):
            kinds = ", ".join(map(repr, self.process.kinds))
            raise gym.error.InvalidAction(
                f"Actions are a dictionary with the parts {kinds}. Received: {printable(actions, 60)}"
            )
        parts = {kind: _rows(actions[kind]) for kind in self.process.kinds if kind in actions}
        for kind, rows in parts.items():
            if len(rows) != self.num_envs:
                raise gym.error.InvalidAction(
                    f"The part {kind!r} of actions has a row for each of {self.num_envs} episodes. Received: "
                    f"{printable(repr(actions[kind]))}"
                )
        return [{kind: rows[i] for kind, rows in parts.items()} for i in range(self.num_envs)]

    def _observations(self) -> Any:
        empty: Any = create_empty_array(self.single_observation_space, self.num_envs)
        return concatenate(self.single_observation_space, [e.observation() for e in self._episodes], empty)

    def _infos(self, infos: Sequence[dict[str, Any]]) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for i, info in enumerate(infos):
            merged = self._add_info(merged, info, i)
        return merged


def _rows(values: Any) -> list[Any]:
    """The values one by one; none if there is nothing to iterate over."""
    try:
        return list(values)
    except TypeError:
        return []


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _seeds_of(seed: Any, episodes: int) -> list[int | None]:
    """The seed of each episode; None goes on with its generator.

    Raises:
        InvalidConfiguration: If there are too many or too few, or one of them is no whole number of at least 0.
    """
    if _is_whole(seed):
        seeds: list[Any] = [int(seed) + i for i in range(episodes)]
    else:
        seeds = [None] * episodes if seed is None else _rows(seed)
    if len(seeds) != episodes or not all(one is None or (_is_whole(one) and one >= 0) for one in seeds):
        raise InvalidConfiguration(
            f"reset takes one seed, or {episodes} seeds: whole numbers of at least 0, or None. Received: "
            f"{printable(repr(seed))}"
        )
    return [None if one is None else int(one) for one in seeds]
