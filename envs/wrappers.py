"""The environment for libraries that know flat discrete actions only."""

from typing import Any

import gymnasium as gym
import numpy as np

from eas_tf.envs.spaces import Choices


class FlatActions(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """One `Discrete` action and one flat mask, int8 `[n]`, in `info["action_mask"]`.

    The actions are, in this order: every insertion (block, position and kernel, in C order), then every layer to be
    widened, then nothing. So a widening step widens at most one layer. "Nothing" is legal in every widening step, and
    in an inserting step where no insertion is. `action_space.sample(mask=info["action_mask"])` draws a legal action, in
    vector environments too.
    """

    def __init__(self, env: gym.Env[dict[str, Any], dict[str, Any]]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        spaces: Any = env.action_space
        self._insertions = tuple(spaces["deepen"].nvec)
        self._layers = spaces["widen"].n
        self._nothing = int(np.prod(self._insertions)) + self._layers
        self.action_space = Choices(self._nothing + 1)
        self._mask = np.zeros(self._nothing + 1, np.int8)

    def action_masks(self) -> np.ndarray:
        """The flat mask as sb3-contrib's MaskablePPO asks for it: bool `[n]`."""
        return self._mask.astype(bool)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """As the environment's own, with the flat mask."""
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, self._flattened(observation, info)

    def step(self, action: int) -> Any:
        """As the environment's own, with the flat action.

        Raises:
            InvalidAction: If there is no action of that number.
        """
        if not self.action_space.contains(action):
            raise gym.error.InvalidAction(f"An action is a number from 0 to {self._nothing}. Received: {action!r}")
        insertion, widen = np.zeros(3, np.int64), np.zeros(self._layers, np.int8)
        first_layer = self._nothing - self._layers
        illegal = not self._mask[action]
        if action < first_layer:
            insertion = np.array(np.unravel_index(action, self._insertions))
        elif action < self._nothing:
            widen[action - first_layer] = 1
        observation, reward, terminated, truncated, info = self.env.step({"deepen": insertion, "widen": widen})
        info = self._flattened(observation, info) | {"illegal": bool(illegal)}
        return observation, reward, terminated, truncated, info

    def _flattened(self, observation: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
        """The info with a flat mask, which is remembered."""
        deepen, widen = info["action_mask"]["deepen"].ravel(), info["action_mask"]["widen"]
        nothing = observation["kind"] == 1 or (observation["kind"] == 0 and bool(deepen[0]))
        # Entry 0, an insertion before the first convolution, says that none is possible: here it is "nothing".
        self._mask = np.concatenate([[0], deepen[1:], widen, [nothing]]).astype(np.int8)
        return {**info, "action_mask": self._mask.copy()}
