"""Which old channel each channel of a widened layer repeats, and with which share.

This is the random mapping G of the EAS paper's Eq. 1 (Net2Net, Chen et al. 2016), with the weight that each replica
has in the next layer (Eq. 3: one over the number of replicas).
"""

from dataclasses import dataclass
from typing import Literal, Self, TypeAlias

import numpy as np

from eas_tf.errors import IllegalTransformation

#: How replicas are made to differ, so that they can learn different things. "shares": each replica enters the next
#: layer with its own share, drawn at random, which keeps the function exactly. "noise": equal shares, and noise on the
#: replicas, as the paper's code does, which changes the function a little.
SymmetryBreaking: TypeAlias = Literal["shares", "noise"]

#: The part of each share that is fixed. Replicas with hardly any share would hardly learn.
EQUAL_PART = 0.5


@dataclass(frozen=True, eq=False)
class ChannelMap:
    """A map from new channels to old ones.

    Attributes:
        source: The old channel that each new channel repeats, int `[new]`.
        share: Its weight in what consumes it, positive, float64 `[new]`; over the replicas of one old channel the
            shares sum to 1.
    """

    source: np.ndarray
    share: np.ndarray

    @classmethod
    def draw(cls, old: int, new: int, *, rng: np.random.Generator, equal_shares: bool) -> Self:
        """Keep the `old` channels and add replicas of channels drawn uniformly with replacement (Eq. 1).

        Args:
            old: The number of channels before.
            new: The number of channels after.
            rng: Draws sources and shares.
            equal_shares: One over the number of replicas (Eq. 3) instead of unequal random shares.

        Raises:
            IllegalTransformation: If `new` is not a whole number more than `old`.
        """
        if not isinstance(new, int | np.integer) or new <= old:
            raise IllegalTransformation(
                f"Widening takes a whole number, more than the {old} channels that there are. Received: {new!r}"
            )
        source = np.concatenate([np.arange(old), rng.integers(old, size=new - old)])
        replicas = np.bincount(source)[source]
        # Exponential variables divided by their sum are uniform on the simplex: a flat Dirichlet distribution.
        drawn = np.ones(new) if equal_shares else rng.exponential(size=new)
        share = EQUAL_PART / replicas + (1 - EQUAL_PART) * drawn / np.bincount(source, weights=drawn)[source]
        return cls(source, share)

    def repeated(self, positions: int) -> Self:
        """The map of a flattened feature map: all channels of the first position, then of the second, and so on."""
        old = int(self.source.max()) + 1
        source = np.arange(positions)[:, None] * old + self.source
        return type(self)(source.ravel(), np.tile(self.share, positions))

    def select(self, array: np.ndarray) -> np.ndarray:
        """Repeat the entries of the last axis: what a layer that passes the channels on does with its weights."""
        return array[..., self.source]

    def absorb(self, kernel: np.ndarray) -> np.ndarray:
        """Repeat and share out the entries of the axis before the last: the inputs of a kernel `[..., in, out]`."""
        return (kernel[..., self.source, :] * self.share[:, None]).astype(kernel.dtype)

    @property
    def is_replica(self) -> np.ndarray:
        """Whether each new channel repeats an earlier one, bool `[new]`."""
        first = np.full(int(self.source.max()) + 1, len(self.source))
        np.minimum.at(first, self.source, np.arange(len(self.source)))
        return first[self.source] != np.arange(len(self.source))
