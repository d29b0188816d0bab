"""Spaces of networks that grow layer by layer: insertions and widenings, in the order of a schedule."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from eas_tf.architecture.decisions import Chain, Choice, ChoiceShape, Coins, Decision, State
from eas_tf.architecture.layers import AnyLayer
from eas_tf.architecture.net2net import LayeredT, Net2Deeper, Net2Wider
from eas_tf.architecture.work import work
from eas_tf.errors import IllegalTransformation, InvalidArchitecture, InvalidConfiguration
from eas_tf.fields import check_fields

#: Decisions in an episode.
MOST_STEPS = 1_000


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How many decisions of each kind an episode of a layerwise space has: insertions, then widenings."""

    deepen_steps: int = 5
    """Insertions in an episode (paper: 5)."""
    widen_steps: int = 4
    """Widening steps in an episode, after the insertions (paper: 4)."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("deepen_steps", "widen_steps"):
            if getattr(self, name) < 0:
                raise InvalidConfiguration(f"`{name}` must be at least 0. Received: {getattr(self, name)}")
        if not self.deepen_steps + self.widen_steps:
            raise InvalidConfiguration("An episode needs a step: set `deepen_steps` or `widen_steps` to at least 1.")
        # Before there is a list of them.
        if self.deepen_steps + self.widen_steps > MOST_STEPS:
            raise InvalidConfiguration(
                f"`deepen_steps` and `widen_steps` may be {MOST_STEPS:,} together. Received: {self.deepen_steps} and "
                f"{self.widen_steps}"
            )

    @property
    def schedule(self) -> tuple[str, ...]:
        """The kind of each step of an episode."""
        return ("deepen",) * self.deepen_steps + ("widen",) * self.widen_steps


#: The paper's schedule: five insertions, then four widenings. (Its code widens first.)
SCHEDULE = Schedule().schedule


class Layerwise(ABC, Generic[LayeredT]):
    """What the spaces of plain networks and of DenseNets have in common.

    - "deepen" is a block, the number of its layers that come before the new one, and the number of a kernel. Nothing
      can ever be inserted at 0, 0, 0. To pass is legal where nothing can be inserted anywhere, or if `may_pass`.
    - "widen" is a coin for each layer: it takes the width to its next rung.
    """

    name: str
    kernels: tuple[int, ...]
    max_blocks: int
    block_length: int
    max_layers: int
    max_parameters: int | None
    max_work: int | None
    schedule: tuple[str, ...]
    may_pass: bool

    def __post_init__(self) -> None:
        for limit in ("max_blocks", "block_length", "max_layers", "max_parameters", "max_work"):
            value = getattr(self, limit)
            if value is not None and value < 1:
                raise InvalidConfiguration(f"`{limit}` must be at least 1. Received: {value}")
        object.__setattr__(self, "schedule", tuple(self.schedule))
        if not 1 <= len(self.schedule) <= MOST_STEPS or any(kind not in ("deepen", "widen") for kind in self.schedule):
            raise InvalidConfiguration(
                f'`schedule` is a list of 1 to {MOST_STEPS:,} times "deepen" or "widen". '
                f"Received: {list(self.schedule)[:20]}"
            )

    @property
    def kinds(self) -> dict[str, ChoiceShape]:
        """See `Space.kinds`."""
        sizes = self.max_blocks, self.block_length, len(self.kernels)
        return {"deepen": Chain(("block", "position", "kernel"), sizes, passes=True), "widen": Coins(self.max_layers)}

    @property
    def steps(self) -> int:
        """See `Space.steps`."""
        return len(self.schedule)

    def decision(self, state: State[LayeredT]) -> Decision | None:
        """See `Space.decision`."""
        if state.steps == len(self.schedule):
            return None
        if self.schedule[state.steps] == "deepen":
            mask = self.deepen_mask(state.architecture)
            return Decision("deepen", mask, may_pass=self.may_pass or 1 not in mask)
        return Decision("widen", self.widen_mask(state.architecture), may_pass=True)

    def act(self, state: State[LayeredT], choice: Choice) -> State[LayeredT]:
        """See `Space.act`."""
        parent = state.architecture
        if choice is None:
            return state.after(parent)
        if self.schedule[state.steps] == "deepen":
            sizes = self.max_blocks, self.block_length, len(self.kernels)
            if len(choice) != 3 or any([not 0 <= number < size for number, size in zip(choice, sizes, strict=True)]):
                raise IllegalTransformation(
                    f"An insertion is a block, position and kernel number, from 0 to below {sizes}. Received: {choice}"
                )
            deeper = self.insertion(parent, *choice)
            return state.after(deeper.apply(parent), deeper)
        child = self.climbed(parent, choice)
        # Most layers are the parent's own, and need no comparison.
        pairs = enumerate(zip(parent.layers, child.layers, strict=True))
        changed = [(i, after) for i, (before, after) in pairs if before is not after and before != after]
        return state.after(child, *[Net2Wider(i, after.width or 0) for i, after in changed])

    def check(self, architecture: LayeredT) -> None:
        """See `Space.check`."""
        reason = self.outside(architecture)
        if reason:
            raise InvalidArchitecture(
                f"The network is outside the space {self.name!r}: {reason}. Received: {architecture}"
            )

    @abstractmethod
    def outside(self, architecture: Any) -> str | None:
        """The first limit that a network exceeds, if any; also that it is of another kind."""

    @abstractmethod
    def deepen_mask(self, architecture: LayeredT) -> bytes:
        """For each block, position and kernel number in C order whether a layer may be inserted there."""

    @abstractmethod
    def insertion(self, architecture: LayeredT, block: int, position: int, kernel: int) -> Net2Deeper:
        """The move behind one entry of `deepen_mask`."""

    @abstractmethod
    def next_width(self, layer: Any) -> int | None:
        """The next rung above the layer's width; None on the last rung, and for a layer without a width."""

    @abstractmethod
    def climbed(self, architecture: LayeredT, indices: Iterable[int]) -> LayeredT:
        """The network with these layers on their next rungs, and what follows from it, whatever the limits say."""

    def widen_mask(self, architecture: LayeredT) -> bytes:
        """For each of `max_layers` layers whether it may be widened, such that every choice among them is legal.

        Near a limit that is the set which takes the layers with the cheapest next rung first.
        """
        possible = [i for i, layer in enumerate(architecture.layers) if self.next_width(layer) is not None]
        if self.is_limited:
            possible = _affordable(possible, lambda some: self._fullness_of(self.climbed(architecture, some)))
        mask = bytearray(self.max_layers)
        for index in possible:
            mask[index] = 1
        return bytes(mask)

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit that networks grow into."""
        return self.max_parameters is not None or self.max_work is not None

    def fullness(self, parameters: int, work: int) -> float:
        """What a network takes of the limit that it comes nearest to; more than 1 if it exceeds one."""
        return max(
            0.0 if self.max_parameters is None else parameters / self.max_parameters,
            0.0 if self.max_work is None else work / self.max_work,
        )

    def _fullness_of(self, architecture: LayeredT) -> float:
        return self.fullness(architecture.parameter_count, 0 if self.max_work is None else work(architecture))

    def affords(self, architecture: LayeredT) -> bool:
        """Whether a network is within the limits that it may grow into."""
        return self._fullness_of(architecture) <= 1

    def too_large(self, architecture: LayeredT) -> str | None:
        """Which of the limits the network exceeds, if any."""
        if len(architecture.blocks) > self.max_blocks:
            return f"it has {len(architecture.blocks)} blocks, at most {self.max_blocks} are allowed"
        if max(map(len, architecture.blocks)) > self.block_length:
            return f"a block has more than {self.block_length} layers"
        if len(architecture.layers) > self.max_layers:
            return f"it has {len(architecture.layers)} layers, at most {self.max_layers} are allowed"
        for what, most, has in (
            ("parameters", self.max_parameters, architecture.parameter_count),
            ("units of work", self.max_work, work(architecture)),
        ):
            if most is not None and has > most:
                return f"it has {has:,} {what}, at most {most:,} are allowed"
        return None


def climbed(layers: Sequence[AnyLayer], indices: Iterable[int], next_width: Callable[[Any], int | None]) -> list[Any]:
    """The layers, those with these indices on their next rungs.

    Raises:
        IllegalTransformation: If one of them is not there, or has no next rung.
    """
    wider = [*layers]
    for index in indices:
        width = next_width(layers[index]) if 0 <= index < len(layers) else None
        if width is None:
            possible = [i for i, layer in enumerate(layers) if next_width(layer) is not None]
            raise IllegalTransformation(f"Only the layers {possible} have a next rung. Received: {index}")
        wider[index] = layers[index].with_width(width)
    return wider


def _affordable(possible: Sequence[int], fullness: Callable[[Sequence[int]], float]) -> list[int]:
    """The layers that may be widened under a limit, such that any of them may be together: the cheapest first.

    Args:
        possible: Indices of the layers that have a next rung.
        fullness: What the network with these layers widened takes of the limit. More layers take more.
    """
    if fullness(possible) <= 1:
        return [*possible]
    costs = {index: fullness([index]) for index in possible}
    chosen: list[int] = []
    for index in sorted(possible, key=lambda index: (costs[index], index)):
        if fullness([*chosen, index]) <= 1:
            chosen.append(index)
    return chosen
