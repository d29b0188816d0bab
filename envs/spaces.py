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


class Chains(gym.spaces.MultiDiscrete):
    """A number for each category of a chain, such as block, position and kernel.

    Attributes:
        passes: Whether zeros stand for leaving the network as it is, where the mask has them.
    """

    passes = False

    def sample(self, mask: Any = None, probability: Any = None) -> np.ndarray:
        """Draw a choice.

        Args:
            mask: What is legal, int8 `[*nvec]`: each legal choice is drawn with the same probability, and zeros if none
                is legal. A tuple is read as `MultiDiscrete` reads it.
            probability: As for `MultiDiscrete`.
        """
        if isinstance(mask, np.ndarray) and probability is None:
            return _chains(_checked(mask, tuple(self.nvec)), self.np_random)
        return super().sample(mask, probability)


class CoinTosses(gym.spaces.MultiBinary):
    """For each layer whether its coin says yes."""

    def sample(self, mask: Any = None, probability: Any = None) -> np.ndarray:
        """Toss the coins.

        Args:
            mask: What is legal, int8 `[layers]`: 0 for a coin that says no, 1 for one that says yes with probability
                1/2, and so does 2, with which `MultiBinary` says the same.
            probability: As for `MultiBinary`.
        """
        if mask is not None and probability is None:
            return _coin_tosses(_checked(mask, self.shape), self.np_random)
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


class ChainBatch(gym.spaces.Box):
    """A choice of a chain for each episode, `[num_envs, categories]`."""

    def sample(self, mask: Any = None, probability: Any = None) -> np.ndarray:
        """Draw as `Chains` does, with a mask `[num_envs, *nvec]`."""
        if mask is not None and probability is None:
            shape = len(self.high), *(int(high) + 1 for high in self.high[0])
            return _chains(_checked(mask, shape), self.np_random, batch=1)
        return super().sample(mask, probability)


class CoinTossBatch(gym.spaces.Box):
    """Coins for each episode, `[num_envs, layers]`."""

    def sample(self, mask: Any = None, probability: Any = None) -> np.ndarray:
        """Draw as `CoinTosses` does, with a mask `[num_envs, layers]`."""
        if mask is not None and probability is None:
            return _coin_tosses(_checked(mask, self.shape), self.np_random)
        return super().sample(mask, probability)


class Actions(gym.spaces.Dict):
    """The actions of one episode or of a batch: a part for each kind of decision."""

    def sample(self, mask: Any = None, probability: Any = None) -> dict[str, Any]:
        """Draw an action.

        Args:
            mask: `info["action_mask"]`, of one episode or of a batch.
            probability: As for `Dict`.
        """
        if isinstance(mask, Mapping):
            # In the info of a vector environment, such keys say which environments sent a mask.
            mask = {key: part for key, part in mask.items() if not key.startswith("_")}
        return super().sample(mask, probability)


@batch_space.register(Chains)
def _batch_chains(space: Chains, n: int = 1) -> ChainBatch:
    return _as(ChainBatch, batch_space.dispatch(gym.spaces.MultiDiscrete)(space, n))


@batch_space.register(CoinTosses)
def _batch_coin_tosses(space: CoinTosses, n: int = 1) -> CoinTossBatch:
    return _as(CoinTossBatch, batch_space.dispatch(gym.spaces.MultiBinary)(space, n))


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


def _chains(mask: np.ndarray, rng: np.random.Generator, batch: int = 0) -> np.ndarray:
    """A legal choice of a mask `[*nvec]`, int64 `[categories]`, or of each of a batch of them."""
    sizes = mask.shape[batch:]
    legal = mask.reshape(*mask.shape[:batch], -1) != 0
    # The largest of equally distributed numbers above 0; of zeros alone, the first.
    chosen = ((1 - rng.random(legal.shape)) * legal).argmax(axis=-1)
    return np.stack(np.unravel_index(chosen, sizes), axis=-1)


def _coin_tosses(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 2, mask.shape, np.int8) * (mask != 0)
