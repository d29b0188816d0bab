"""Which old channel each channel of a widened layer repeats, and with which share.

This is the random mapping G of the EAS paper's Eq. 1 (Net2Net, Chen et al. 2016), with the weight that each replica
has in the next layer (Eq. 3: one over the number of replicas).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self, TypeAlias, get_args

import numpy as np

from eas_tf.errors import IllegalTransformation, InvalidConfiguration

#: How replicas are made to differ, so that they can learn different things. "shares": each replica enters the next
#: layer with its own share, drawn at random, which keeps the function exactly. "noise": equal shares, and noise on the
#: replicas, as the paper's code does, which changes the function a little.
SymmetryBreaking: TypeAlias = Literal["shares", "noise"]

#: No layer may get more channels: a slip of the hand should not ask for all memory.
MOST = 1 << 20

#: The part of each share that is fixed. Replicas with hardly any share would hardly learn.
EQUAL_PART = 0.5


def check_symmetry_breaking(way: str) -> None:
    """Refuse an unknown way.

    Raises:
        InvalidConfiguration: Naming the ways.
    """
    if way not in get_args(SymmetryBreaking):
        raise InvalidConfiguration(f'Symmetry is broken by "shares" or "noise". Received: {way!r}')


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

        Replicas follow their source, so that channels which lie side by side in groups stay in their groups.

        Args:
            old: The number of channels before.
            new: The number of channels after.
            rng: Draws sources and shares.
            equal_shares: One over the number of replicas (Eq. 3) instead of unequal random shares.

        Raises:
            IllegalTransformation: If `new` is not a whole number more than `old`.
        """
        cls.check(old, new)
        source = np.sort(np.concatenate([np.arange(old), rng.integers(old, size=new - old)]))
        return cls.of(source, rng=rng, equal_shares=equal_shares)

    @classmethod
    def of(cls, source: np.ndarray, *, rng: np.random.Generator, equal_shares: bool) -> Self:
        """Share out each old channel to its replicas.

        Args:
            source: The old channel that each new channel repeats, each at least once, int `[new]`.
            rng: Draws shares.
            equal_shares: One over the number of replicas (Eq. 3) instead of unequal random shares.
        """
        new = len(source)
        replicas = np.bincount(source)[source]
        # Exponential variables divided by their sum are uniform on the simplex: a flat Dirichlet distribution.
        drawn = np.ones(new) if equal_shares else rng.exponential(size=new)
        share = EQUAL_PART / replicas + (1 - EQUAL_PART) * drawn / np.bincount(source, weights=drawn)[source]
        return cls(source, share)

    @classmethod
    def beside(cls, parts: Sequence["ChannelMap | int"]) -> Self:
        """The map of several tensors' channels side by side (Eq. 4); a number stands for so many unchanged ones."""
        sources, shares, start = [], [], 0
        for part in parts:
            whole = cls(np.arange(part), np.ones(part)) if isinstance(part, int) else part
            sources.append(start + whole.source)
            shares.append(whole.share)
            start += int(whole.source.max()) + 1
        return cls(np.concatenate(sources), np.concatenate(shares))

    @staticmethod
    def check(old: int, new: int) -> None:
        """Refuse a new number of channels that is not a whole number above the old one.

        Raises:
            IllegalTransformation: Naming both.
        """
        if not isinstance(new, int | np.integer) or not old < new <= MOST:
            raise IllegalTransformation(
                f"Widening takes a whole number, more than the {old} channels that there are. Received: {new!r}"
                + f"; at most {MOST:,} are allowed" * (isinstance(new, int) and new > MOST)
            )

    def select(self, array: np.ndarray, axis: int = -1) -> np.ndarray:
        """Repeat the entries of one axis: what a layer that passes the channels on does with its weights."""
        # Every source is a channel. Told so, NumPy takes half the time.
        return np.take(array, self.source, axis, mode="clip")

    def absorb(self, kernel: np.ndarray, axis: int = -2) -> np.ndarray:
        """Repeat and share out the entries of one axis: the inputs of a kernel, `[..., in, out]` by default."""
        shape = [1] * kernel.ndim
        shape[axis] = -1
        share = self.share.reshape(shape)
        repeated = self.select(kernel, axis)
        if kernel.dtype not in (np.float32, np.float64):
            return (repeated * share.astype(np.float32)).astype(kernel.dtype)
        repeated *= share.astype(kernel.dtype)
        return repeated

    @property
    def is_replica(self) -> np.ndarray:
        """Whether each new channel repeats an earlier one, bool `[new]`."""
        first = np.full(int(self.source.max()) + 1, len(self.source))
        np.minimum.at(first, self.source, np.arange(len(self.source)))
        return first[self.source] != np.arange(len(self.source))
