"""Which channels of a model can only be replicated together.

Every channel that a layer makes is given a number, its *strand*, and the strands are followed through the model: past
what works on each channel by itself, side by side through a concatenation (which is the EAS paper's Eq. 4), again at
each position of a flattened map. A join such as addition needs the same replicas on all of its inputs, so it ties
strands together. A strand that reaches what cannot bear replicas is fixed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from eas_tf.errors import EASError, IllegalTransformation
from eas_tf.surgery.channel_map import ChannelMap


@dataclass(frozen=True, eq=False)
class Channels:
    """The channels of a tensor: its last axis.

    Attributes:
        strands: The strand of each channel, or of each run of channels that are replicated as one, int `[runs]`.
        run: How many channels a run has.
        shape: That of the tensor, without its batch axis. Surgery fills it in.
    """

    strands: np.ndarray
    run: int = 1
    shape: tuple[int | None, ...] = ()

    def __len__(self) -> int:
        return len(self.strands) * self.run


class Coupling:
    """The strands of a model: which are tied together, and which are fixed."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._why_fixed: dict[int, EASError] = {}
        #: The name of each node that ties strands, with the channels that it ties.
        self.joins: list[tuple[str, Channels]] = []
        self._groups: list[tuple[str, np.ndarray]] = []

    def new(self, count: int) -> Channels:
        """Channels of a layer that makes them."""
        first = len(self._parent)
        self._parent += range(first, first + count)
        return Channels(np.arange(first, first + count))

    def fixed(self, count: int, why: EASError) -> Channels:
        """Channels that cannot be replicated."""
        strand = self.new(1).strands
        self._why_fixed[int(strand[0])] = why
        return Channels(np.repeat(strand, count))

    def fix(self, channels: Channels, why: EASError) -> None:
        """Forbid replicas of these channels."""
        for strand in set(channels.strands.tolist()):
            self._why_fixed.setdefault(self._root(strand), why)

    def tie(self, node: str, inputs: Sequence[Channels], why_not: EASError) -> None:
        """Demand the same replicas of all inputs of a node.

        Args:
            node: The join's name.
            inputs: As many channels each.
            why_not: The reason that is given if their runs do not match.
        """
        first, *others = inputs
        for other in others:
            if other.run != first.run:
                self.fix(first, why_not)
                self.fix(other, why_not)
                continue
            for a, b in zip(first.strands.tolist(), other.strands.tolist(), strict=True):
                self._tie(a, b)
        self.joins.append((node, first))

    def _tie(self, a: int, b: int) -> None:
        a, b = self._root(a), self._root(b)
        if a == b:
            return
        self._parent[b] = a
        if b in self._why_fixed:
            self._why_fixed.setdefault(a, self._why_fixed[b])

    def _root(self, strand: int) -> int:
        while self._parent[strand] != strand:
            self._parent[strand] = strand = self._parent[self._parent[strand]]
        return strand

    def group(self, node: str, channels: Channels, groups: int) -> None:
        """Demand that each group of channels, which lie side by side, grows by as many as the others.

        Groups of a single channel, and runs, are thereby replicated as often as each other.
        """
        if groups > 1:
            self._groups.append((node, np.repeat(channels.strands, channels.run).reshape(groups, -1)))

    @cached_property
    def _roots(self) -> np.ndarray:
        """The strand that stands for each strand and all that are tied to it. Asked for when all are tied."""
        return np.array([self._root(strand) for strand in range(len(self._parent))], int)

    def roots(self, channels: Channels) -> np.ndarray:
        """The strand that stands for all that are tied to each of the channels' strands, int `[runs]`."""
        return self._roots[channels.strands]

    def why_fixed(self, channels: Channels) -> EASError | None:
        """Why the channels cannot be replicated, or None if they can."""
        roots = set(self.roots(channels).tolist())
        for root in sorted(roots & self._why_fixed.keys()):
            return self._why_fixed[root]
        if len(set(np.unique(self.roots(channels), return_counts=True)[1].tolist())) > 1:
            return IllegalTransformation("some of its channels are tied to each other, and others are not")
        for node, groups in self._groups:
            touched = np.isin(self._roots[groups], list(roots)).sum(1)
            if touched.min() != touched.max():
                return IllegalTransformation(f"the groups of {node!r} would get unequal numbers of channels")
        return None

    def replicas(self, channels: Channels, width: int, *, rng: np.random.Generator, equal_shares: bool) -> "Replicas":
        """Draw replicas that take some channels to a new number, and with them all that are tied to them.

        Args:
            channels: What is widened; not fixed.
            width: Their new number.
            rng: Draws sources and shares.
            equal_shares: One over the number of replicas (Eq. 3) instead of unequal random shares.

        Raises:
            IllegalTransformation: If the new number is not a whole one above the old, or the ties forbid it.
        """
        ChannelMap.check(len(channels), width)
        roots = np.unique(self.roots(channels))
        strata, step = self._strata(roots), self.step(channels)
        if (width - len(channels)) % step:
            raise IllegalTransformation(
                f"The {len(channels)} channels are tied such that they grow by multiples of {step}. Received: {width}"
            )
        counts, shares = np.ones(len(self._parent), int), dict[int, np.ndarray]()
        for stratum in range(int(strata.max()) + 1):
            members = roots[strata == stratum]
            more = (width - len(channels)) // step
            drawn = ChannelMap.draw(len(members), len(members) + more, rng=rng, equal_shares=equal_shares)
            counts[members] = np.bincount(drawn.source)
            ends = np.cumsum(counts[members])
            shares |= dict(zip(members.tolist(), np.split(drawn.share, ends[:-1]), strict=True))
        for node, groups in self._groups:
            grown = counts[self._roots[groups]].sum(1)
            if grown.min() != grown.max():
                raise IllegalTransformation(f"The groups of {node!r} would get unequal numbers of channels.")
        return Replicas(self, counts, shares)

    def step(self, channels: Channels) -> int:
        """The number of channels can grow by multiples of this."""
        roots, times = np.unique(self.roots(channels), return_counts=True)
        return int(times.max()) * channels.run * (int(self._strata(roots).max()) + 1)

    def _strata(self, roots: np.ndarray) -> np.ndarray:
        """The group of each strand, by the finest grouping that it has a part in; 0 for all without one.

        If the groups of another grouping are not made of whole ones, each strand is a group of its own.
        """
        touching = [groups for _, groups in self._groups if np.isin(self._roots[groups], roots).any()]
        if not touching:
            return np.zeros(len(roots), int)
        finest, *others = (
            [np.argmax((self._roots[groups] == root).any(1)) for root in roots]
            for groups in sorted(touching, key=len, reverse=True)
        )
        if any(len(set(zip(finest, other, strict=True))) > len(set(finest)) for other in others):
            return np.arange(len(roots))
        return np.array(finest, int)


@dataclass(frozen=True, eq=False)
class Replicas:
    """How often each strand is there after a widening, and with which shares."""

    coupling: Coupling
    counts: np.ndarray
    """How many channels stand for each strand, int `[strands]`; the root speaks for its strands."""
    shares: Mapping[int, np.ndarray]
    """For each root that is widened, the share of each of the channels that stand for it."""

    def map(self, channels: Channels) -> ChannelMap | None:
        """Which channel each new channel repeats; None where nothing changes. Replicas follow their source."""
        roots = self.coupling.roots(channels)
        counts = self.counts[roots]
        if (counts == 1).all():
            return None
        alone = np.ones(1)
        source = np.repeat(np.arange(len(roots)), counts)
        share = np.concatenate([self.shares.get(root, alone) for root in roots.tolist()])
        if channels.run > 1:
            source = (source[:, None] * channels.run + np.arange(channels.run)).ravel()
            share = np.repeat(share, channels.run)
        return ChannelMap(source, share)
