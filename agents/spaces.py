"""What an agent reads from the environment's spaces: sizes, and layer tokens as vocabulary indices."""

from dataclasses import dataclass
from math import prod
from typing import Self

import gymnasium
import numpy as np
from gymnasium.spaces import Box, MultiBinary, MultiDiscrete

from eas_tf.agents.base import Batch
from eas_tf.errors import InvalidConfiguration

#: A larger vocabulary means fields that are no categories; it is refused before its embedding is allocated.
MAX_VOCABULARY = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Step:
    """Decisions of one kind that are due in one step of a batch, read and checked."""

    kind: str
    """The kind's name."""
    networks: np.ndarray
    """Which networks of the batch are asked, ascending, int `[m]`."""
    tokens: np.ndarray
    """Vocabulary indices, int32 `[m, max_layers]`, 0 = padding."""
    legal: np.ndarray
    """What each of them may choose, bool: `[m, *sizes]` for a chain, `[m, max_layers]` for coins. A copy."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The sizes of one environment's spaces."""

    max_layers: int
    """Layer tokens in an observation, padding included."""
    radix: tuple[int, ...]
    """Values that each field of a layer token can take."""
    kinds: dict[str, tuple[int, ...]]
    """The kinds of decisions, in alphabetical order: how many each category of a chain has to choose from, and nothing
    for coins, of which there is one for each layer."""

    @classmethod
    def of(cls, observation_space: gymnasium.Space, action_space: gymnasium.Space) -> Self:
        """Read them from the spaces of a single environment.

        Raises:
            InvalidConfiguration: If these are not the spaces of an EAS environment.
        """
        layers = _parts(observation_space).get("layers")
        if not isinstance(layers, Box) or len(layers.shape) != 2:
            raise InvalidConfiguration(
                "The agent needs the spaces of a single environment: a Dict space with layers [max_layers, fields]. "
                f"For a vector environment take its single_ spaces. Received: {observation_space}"
            )
        radix = tuple(int(high) + 1 for high in layers.high.max(axis=0))
        if layers.low.any() or min(radix) < 1 or prod(radix) > MAX_VOCABULARY:
            raise InvalidConfiguration(
                f"The fields of a layer are categories from 0 up, at most {MAX_VOCABULARY:,} combinations. "
                f"Received: from {int(layers.low.min())} up, {list(radix)} values"
            )
        kinds = kinds_of(action_space)
        parts = _parts(action_space)
        if any(not sizes and parts[kind].shape != layers.shape[:1] for kind, sizes in kinds.items()):
            raise InvalidConfiguration(
                f"The agent needs a coin for each of {layers.shape[0]} layers. Received: {action_space}"
            )
        return cls(max_layers=layers.shape[0], radix=radix, kinds=kinds)

    @property
    def vocabulary(self) -> int:
        """How many different layer tokens there are, padding included."""
        return prod(self.radix)

    def read(self, observation: Batch, mask: Batch) -> tuple[list[Step], int]:
        """Check one step of a batch and take from it what the agent needs.

        Returns:
            What is due, by kind; and the most steps that are left of an episode that is not over.

        Raises:
            InvalidConfiguration: If shapes or values are not those of the spaces, if a chain is due where nothing is
                legal, or a coin is legal for padding.
        """
        layers = np.asarray(observation["layers"])
        if layers.ndim != 3 or layers.shape[1:] != (self.max_layers, len(self.radix)) or not len(layers):
            raise InvalidConfiguration(
                f"Layers come in batches, [n, {self.max_layers}, {len(self.radix)}]. Received: {list(layers.shape)}"
            )
        number, left = (self._numbers(observation, key, len(layers)) for key in ("kind", "steps_left"))
        if not ((number >= 0) & (number <= len(self.kinds))).all():
            raise InvalidConfiguration(
                f"A kind of decision is a number from 0 to {len(self.kinds)}. Received: {number.tolist()}"
            )
        tokens, steps = self.tokens(layers), []
        for place, kind in enumerate(self.kinds):
            asked = np.flatnonzero(number == place)
            if len(asked):
                legal = self._legal(kind, mask, tokens, asked)
                steps.append(Step(kind=kind, networks=asked, tokens=tokens[asked], legal=legal))
        return steps, int(left[number < len(self.kinds)].max(initial=0))

    def tokens(self, layers: np.ndarray) -> np.ndarray:
        """Mixed-radix vocabulary indices, int32 `[n, max_layers]`, of layer rows `[n, max_layers, fields]`.

        Raises:
            InvalidConfiguration: If a field is outside its range.
        """
        if (layers < 0).any() or (layers >= self.radix).any():
            raise InvalidConfiguration(
                f"The fields of a layer lie from 0 to below {list(self.radix)}. "
                f"Received: {layers.min(axis=(0, 1)).tolist()} to {layers.max(axis=(0, 1)).tolist()}"
            )
        places = [prod(self.radix[field + 1 :]) for field in range(len(self.radix))]
        return (layers @ np.array(places)).astype(np.int32)

    def nothing(self, networks: int) -> dict[str, np.ndarray]:
        """An action of zeros for each network: what is decided is put into it."""
        return {
            kind: np.zeros((networks, len(sizes)), np.int64)
            if sizes
            else np.zeros((networks, self.max_layers), np.int8)
            for kind, sizes in self.kinds.items()
        }

    def _numbers(self, observation: Batch, key: str, networks: int) -> np.ndarray:
        values = np.asarray(observation[key])
        if values.shape != (networks,):
            raise InvalidConfiguration(f"{key!r} is one number for each network. Received: {values.tolist()}")
        return values

    def _legal(self, kind: str, mask: Batch, tokens: np.ndarray, asked: np.ndarray) -> np.ndarray:
        sizes = self.kinds[kind]
        shape, legal = (len(tokens), *(sizes or (self.max_layers,))), np.asarray(mask[kind])
        if legal.shape != shape:
            raise InvalidConfiguration(f"The mask has the shape {list(shape)}. Received: {list(legal.shape)}")
        legal = legal[asked].astype(bool)
        if sizes and not legal.reshape(len(asked), -1).any(axis=1).all():
            raise InvalidConfiguration(f"{kind!r} is due, but the mask of a network allows nothing.")
        if not sizes and (legal & (tokens[asked] == 0)).any():
            raise InvalidConfiguration(f"{kind!r} is due, and the mask of a network allows it for padding.")
        return legal


def kinds_of(action_space: gymnasium.Space) -> dict[str, tuple[int, ...]]:
    """The kinds of decisions of a single environment's action space, as `Sizes.kinds` has them.

    Raises:
        InvalidConfiguration: If these are not the actions of an EAS environment.
    """
    parts = _parts(action_space)
    kinds: dict[str, tuple[int, ...]] = {}
    for kind, part in parts.items():
        if isinstance(part, MultiDiscrete) and part.nvec.ndim == 1:
            kinds[kind] = tuple(map(int, part.nvec))
        elif isinstance(part, MultiBinary):
            kinds[kind] = ()
    if not kinds or len(kinds) < len(parts):
        raise InvalidConfiguration(
            "The agent needs the actions of a single environment: a Dict space of MultiDiscrete and MultiBinary parts. "
            f"For a vector environment take its single_ spaces. Received: {action_space}"
        )
    return kinds


def _parts(space: gymnasium.Space) -> dict[str, gymnasium.Space]:
    """What a Dict space is made of; nothing for another space."""
    return dict(space.spaces) if isinstance(space, gymnasium.spaces.Dict) else {}
