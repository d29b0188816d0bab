"""Action spaces whose `sample` takes `info["action_mask"]` as it is.

Gymnasium's own spaces cannot: the mask of a `MultiDiscrete` is one array for each number, so it cannot say which
numbers go together; 1 in the mask of a `MultiBinary` forces a 1; and a batch of either is a `Box`, which takes no mask.
In all else these spaces are Gymnasium's, and equal to them.
"""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space

from eas_tf.errors import InvalidConfiguration


class Insertions(gym.spaces.MultiDiscrete):
    """Block, position and kernel number of an insertion."""

    def sample(self, mask: Any = None, probability: Any = None) -> np.ndarray:
        """Draw an insertion.

        Args:
            mask: What is legal, int8 `[blocks, positions, kernels]`: each legal insertion is drawn with the same
                probability, and `[0, 0, 0]` if none is legal. A tuple is read as `MultiDiscrete` reads it.
            probability: As for `MultiDiscrete`.
        """
        if isinstance(mask, np.ndarray) and probability is None:
            return _insertions(_checked(mask, tuple(self.nvec)), self.np_random)
        return super().sample(mask, probability)


class Widenings(gym.spaces.MultiBinary):
    """For each layer whether it is widened."""

    def sample(self, mask: Any = None, probability: Any = None) -> np.ndarray:
        """Draw which layers are widened.

        Args:
            mask: What is legal, int8 `[max_layers]`: 0 for a layer that is not widened, 1 for one that is with
                probability 1/2, and so is 2, with which `MultiBinary` says the same.
            probability: As for `MultiBinary`.
        """
        if mask is not None and probability is None:
            return _widenings(_checked(mask, self.shape), self.np_random)
        return super().sample(mask, probability)


class Choices(gym.spaces.Discrete):
    """One number for each thing that can be done."""


class ChoiceBatch(gym.spaces.MultiDiscrete):
    """A choice for each episode, `[num_envs]`."""

    def sample(self, mask: Any = None, probability: Any = None) -> np.ndarray:
        """Draw a choice for each episode.

        Args:
            mask: What is legal, int8 `[num_envs, n]`, or as `MultiDiscrete` has it a tuple of int8 `[n]`.
            probability: As for `MultiDiscrete`.
        """
        return super().sample(tuple(mask) if isinstance(mask, np.ndarray) else mask, probability)


class InsertionBatch(gym.spaces.Box):
    """An insertion for each episode, `[num_envs, 3]`."""

    def sample(self, mask: Any = None, probability: Any = None) -> np.ndarray:
        """Draw as `Insertions` does, with a mask `[num_envs, blocks, positions, kernels]`."""
        if mask is not None and probability is None:
            shape = len(self.high), *(int(high) + 1 for high in self.high[0])
            return _insertions(_checked(mask, shape), self.np_random)
        return super().sample(mask, probability)


class WideningBatch(gym.spaces.Box):
    """For each layer of each episode whether it is widened, `[num_envs, max_layers]`."""

    def sample(self, mask: Any = None, probability: Any = None) -> np.ndarray:
        """Draw as `Widenings` does, with a mask `[num_envs, max_layers]`."""
        if mask is not None and probability is None:
            return _widenings(_checked(mask, self.shape), self.np_random)
        return super().sample(mask, probability)


class Actions(gym.spaces.Dict):
    """The actions of one episode or of a batch: `deepen` and `widen`."""

    def sample(self, mask: Any = None, probability: Any = None) -> dict[str, Any]:
        """Draw an action.

        Args:
            mask: `info["action_mask"]`, of one episode or of a batch.
            probability: As for `Dict`.
        """
        if isinstance(mask, Mapping):
            # In the info of a vector environment, "_deepen" and "_widen" say which environments sent a mask.
            mask = {key: part for key, part in mask.items() if not key.startswith("_")}
        return super().sample(mask, probability)


@batch_space.register(Insertions)
def _batch_insertions(space: Insertions, n: int = 1) -> InsertionBatch:
    return _as(InsertionBatch, batch_space.dispatch(gym.spaces.MultiDiscrete)(space, n))


@batch_space.register(Widenings)
def _batch_widenings(space: Widenings, n: int = 1) -> WideningBatch:
    return _as(WideningBatch, batch_space.dispatch(gym.spaces.MultiBinary)(space, n))


@batch_space.register(Choices)
def _batch_choices(space: Choices, n: int = 1) -> ChoiceBatch:
    return _as(ChoiceBatch, batch_space.dispatch(gym.spaces.Discrete)(space, n))


@batch_space.register(Actions)
def _batch_actions(space: Actions, n: int = 1) -> Actions:
    return _as(Actions, batch_space.dispatch(gym.spaces.Dict)(space, n))


def _as(kind: Any, space: gym.Space[Any]) -> Any:
    """The same space, seed included, as one of `kind`, a child of its class that adds no attributes."""
    space.__class__ = kind
    return space


def _checked(mask: Any, shape: tuple[int, ...]) -> np.ndarray:
    received = np.asarray(mask)
    if received.shape != shape or not np.isin(received, (0, 1, 2)).all():
        raise InvalidConfiguration(
            f'A mask is 0 or 1 in the shape {tuple(map(int, shape))}; take info["action_mask"] of the last reset or '
            f"step. Received: the shape {received.shape}, values {np.unique(received).tolist()[:5]}"
        )
    return received


def _insertions(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A legal insertion of each mask `[..., blocks, positions, kernels]`, int64 `[..., 3]`."""
    *batch, blocks, positions, kernels = mask.shape
    legal = mask.reshape(*batch, -1) != 0
    # The largest of equally distributed numbers above 0; of zeros alone, the first.
    chosen = ((1 - rng.random(legal.shape)) * legal).argmax(axis=-1)
    return np.stack(np.unravel_index(chosen, (blocks, positions, kernels)), axis=-1)


def _widenings(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 2, mask.shape, np.int8) * (mask != 0)
