"""The environment for libraries that know flat discrete actions only."""

from typing import Any

import gymnasium as gym
import numpy as np

from eas_tf.architecture import Chain, Coins
from eas_tf.envs.spaces import Choices
from eas_tf.envs.transition import Process
from eas_tf.errors import InvalidConfiguration
from eas_tf.text import printable


class FlatActions(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """One `Discrete` action and one flat mask, int8 `[n]`, in `info["action_mask"]`.

    The actions are, in this order: for each kind of decision every combination of a chain in C order, or every layer
    whose coin alone says yes; then nothing. In the spaces of plain networks and of DenseNets these are every insertion
    (block, position and kernel), then every layer to be widened, so a widening step widens at most one layer.
    "Nothing" is legal wherever the network may be left as it is: in every widening step, and in an inserting step where
    no insertion is legal. `action_space.sample(mask=info["action_mask"])` draws a legal action, in vector environments
    too.
    """

    def __init__(self, env: gym.Env[dict[str, Any], dict[str, Any]]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        process = env.get_wrapper_attr("process") if env.has_wrapper_attr("process") else None
        if not isinstance(process, Process):
            raise InvalidConfiguration(f"FlatActions is for environments of eas_tf. Received: {printable(env, 60)}")
        self._kinds, self._sizes = process.kinds, process.lengths
        self._nothing = sum(self._sizes.values())
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
            InvalidAction: If there is no action of that number; or if it is illegal, and whatever can be said to the
                environment itself is legal.
        """
        if not self.action_space.contains(action):
            raise gym.error.InvalidAction(f"An action is a number from 0 to {self._nothing}. Received: {action!r}")
        illegal, parts, place, first = not self._mask[action], {}, int(action), 0
        for kind, shape in self._kinds.items():
            size = self._sizes[kind]
            if isinstance(shape, Chain):
                chosen = place if 0 <= place < size else 0
                due = self._mask[first : first + size]
                if illegal and not shape.passes and due.any():
                    # Here zeros do not stand for nothing: something that is refused as well does.
                    if due.all():
                        raise gym.error.InvalidAction(f"Number {action} is not legal now. Received: {action!r}")
                    chosen = int(due.argmin())
                parts[kind] = np.array(np.unravel_index(chosen, shape.sizes))
            else:
                parts[kind] = (np.arange(size) == place).astype(np.int8)
            place, first = place - size, first + size
        observation, reward, terminated, truncated, info = self.env.step(parts)
        info = self._flattened(observation, info) | {"illegal": bool(illegal)}
        return observation, reward, terminated, truncated, info

    def _flattened(self, observation: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
        """The info with a flat mask, which is remembered."""
        parts, nothing = [], False
        for number, (kind, shape) in enumerate(self._kinds.items()):
            part, due = info["action_mask"][kind].ravel(), observation["kind"] == number
            if isinstance(shape, Chain) and shape.passes:
                nothing |= due and bool(part[0])
                part = np.concatenate([[0], part[1:]])
            elif isinstance(shape, Coins):
                nothing |= due
            parts.append(part)
        self._mask = np.concatenate([*parts, [nothing]]).astype(np.int8)
        return {**info, "action_mask": self._mask.copy()}
