"""What an agent reads from the environment's spaces: sizes, and layer tokens as vocabulary indices."""

from dataclasses import dataclass
from math import prod
from typing import Self, TypeVar

import gymnasium
import numpy as np
from gymnasium.spaces import Box, MultiBinary, MultiDiscrete

from eas_tf.agents.base import Batch, Kind
from eas_tf.errors import InvalidConfiguration

#: A larger vocabulary means fields that are no categories; it is refused before its embedding is allocated.
MAX_VOCABULARY = 1_000_000

_S = TypeVar("_S", bound=gymnasium.Space)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a batch, read and checked."""

    kind: Kind
    """What is due."""
    steps_left: int
    """Steps until the episode is over, this one included."""
    tokens: np.ndarray
    """Vocabulary indices, int32 `[n, max_layers]`, 0 = padding."""
    legal: np.ndarray
    """The mask of what is due, bool: `[n, blocks, positions, kernels]` or `[n, max_layers]`. A copy."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The sizes of one environment's spaces."""

    max_layers: int
    """Layer tokens in an observation, padding included."""
    radix: tuple[int, ...]
    """Values that each field of a layer token can take."""
    blocks: int
    """Choices of a block in Net2Deeper."""
    positions: int
    """Choices of a position within a block."""
    kernels: int
    """Choices of a kernel."""

    @classmethod
    def of(cls, observation_space: gymnasium.Space, action_space: gymnasium.Space) -> Self:
        """Read them from the spaces of a single environment.

        Raises:
            InvalidConfiguration: If these are not the spaces of an EAS environment.
        """
        layers = _part(observation_space, "layers", Box)
        deepen, widen = _part(action_space, "deepen", MultiDiscrete), _part(action_space, "widen", MultiBinary)
        if len(layers.shape) != 2 or deepen.shape != (3,) or widen.shape != layers.shape[:1]:
            raise InvalidConfiguration(
                "The agent needs the spaces of a single environment: layers [max_layers, fields], deepen "
                "[blocks, positions, kernels], widen [max_layers]. For a vector environment take its single_ spaces. "
                f"Received: layers {list(layers.shape)}, deepen {deepen}, widen {widen}"
            )
        radix = tuple(int(high) + 1 for high in layers.high.max(axis=0))
        if layers.low.any() or min(radix) < 1 or prod(radix) > MAX_VOCABULARY:
            raise InvalidConfiguration(
                f"The fields of a layer are categories from 0 up, at most {MAX_VOCABULARY:,} combinations. "
                f"Received: from {int(layers.low.min())} up, {list(radix)} values"
            )
        blocks, positions, kernels = map(int, deepen.nvec)
        return cls(max_layers=layers.shape[0], radix=radix, blocks=blocks, positions=positions, kernels=kernels)

    @property
    def vocabulary(self) -> int:
        """How many different layer tokens there are, padding included."""
        return prod(self.radix)

    def read(self, observation: Batch, mask: Batch) -> Step:
        """Check one step of a batch and take from it what the agent needs.

        Raises:
            InvalidConfiguration: If shapes or values are not those of the spaces, if not all networks are at the
                same step, if Net2Deeper is due where nothing is legal, or Net2Wider is legal for padding.
        """
        layers = np.asarray(observation["layers"])
        if layers.ndim != 3 or layers.shape[1:] != (self.max_layers, len(self.radix)) or not len(layers):
            raise InvalidConfiguration(
                f"Layers come in batches, [n, {self.max_layers}, {len(self.radix)}]. Received: {list(layers.shape)}"
            )
        number, steps_left = (self._common(observation, key, len(layers)) for key in ("kind", "steps_left"))
        if number not in list(Kind):
            raise InvalidConfiguration(f"A kind of step is one of {[*map(int, Kind)]}. Received: {number}")
        kind, tokens = Kind(number), self.tokens(layers)
        return Step(kind=kind, steps_left=steps_left, tokens=tokens, legal=self._legal(kind, mask, tokens))

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

    def _common(self, observation: Batch, key: str, networks: int) -> int:
        values = np.asarray(observation[key])
        if values.shape != (networks,) or (values != values[0]).any():
            raise InvalidConfiguration(
                f"The networks of a batch share one schedule: {key!r} is one value, {networks} times. "
                f"Received: {values.tolist()}"
            )
        return int(values[0])

    def _legal(self, kind: Kind, mask: Batch, tokens: np.ndarray) -> np.ndarray:
        deepening = kind is Kind.DEEPEN
        shape = (len(tokens), *((self.blocks, self.positions, self.kernels) if deepening else (self.max_layers,)))
        legal = np.array(mask["deepen" if deepening else "widen"]).astype(bool)
        if legal.shape != shape:
            raise InvalidConfiguration(f"The mask has the shape {list(shape)}. Received: {list(legal.shape)}")
        if deepening and not legal.any(axis=(1, 2, 3)).all():
            raise InvalidConfiguration("Net2Deeper is due, but the mask of a network allows no place for a layer.")
        if not deepening and (legal & (tokens == 0)).any():
            raise InvalidConfiguration("Net2Wider is due, and the mask of a network allows it for padding.")
        return legal


def _part(space: gymnasium.Space, key: str, kind: type[_S]) -> _S:
    part = space[key] if isinstance(space, gymnasium.spaces.Dict) and key in space.spaces else None
    if not isinstance(part, kind):
        received = f"no {key!r} in a {type(space).__name__}" if part is None else f"a {type(part).__name__}"
        raise InvalidConfiguration(f"The agent needs a Dict space with a {kind.__name__} {key!r}. Received: {received}")
    return part
