"""The decision process as pure functions: states, masks, transitions, rewards. Microseconds, and no weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from math import pi, tan
from typing import Any, Literal, TypeAlias

import gymnasium as gym
import numpy as np

from eas_tf.architecture import AnySpace, Architecture, Transformation, widenings
from eas_tf.envs.encoding import Encoder
from eas_tf.errors import InvalidConfiguration
from eas_tf.evaluation import Result
from eas_tf.evaluation.price import Price
from eas_tf.training.metrics import Metric, check_metric

StepKind: TypeAlias = Literal["deepen", "widen"]

#: The paper's schedule: five deepening steps, then four widening ones. (Its code widens first.)
SCHEDULE: tuple[StepKind, ...] = ("deepen",) * 5 + ("widen",) * 4

#: The values of an observation's `kind`: which kind of step is due, or that the episode is over.
DUE = ("deepen", "widen", "over")


@dataclass(frozen=True, kw_only=True)
class Process:
    """What does not change within an episode."""

    space: AnySpace
    start: Architecture
    """The network that each episode starts from."""
    schedule: tuple[StepKind, ...] = SCHEDULE
    """The kind of each step."""
    metric: Metric = "accuracy"
    """What a child is worth, before its size is paid for."""
    price: Price = field(default_factory=Price)
    """What size costs at the end."""
    price_start: Architecture | None = None
    """The network that costs nothing; by default the start network. A search in stages keeps that of its first."""
    encoder: Encoder = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 1 <= len(self.schedule) <= 1000 or any(kind not in ("deepen", "widen") for kind in self.schedule):
            raise InvalidConfiguration(
                f'A schedule is a list of 1 to 1,000 times "deepen" or "widen". Received: {list(self.schedule)[:20]}'
            )
        check_metric(self.metric)
        self.space.check(self.start)
        object.__setattr__(self, "encoder", Encoder(self.space))


@dataclass(frozen=True, kw_only=True)
class State:
    """Where an episode is: the network, and the transformations that led to it."""

    architecture: Architecture
    transformations: tuple[Transformation, ...] = ()
    steps: int = 0
    """Steps taken, illegal ones included."""


def initial(process: Process) -> State:
    """The state in which every episode begins."""
    return State(architecture=process.start)


def due(process: Process, state: State) -> str:
    """The kind of step that is due, or "over"."""
    return process.schedule[state.steps] if state.steps < len(process.schedule) else "over"


def action_mask(process: Process, state: State) -> dict[str, np.ndarray]:
    """What is legal: "deepen", int8 `[blocks, positions, kernels]`, and "widen", int8 `[max_layers]`.

    The mask of a kind that is not due is zero. Nothing can ever be inserted at position 0 of block 0, before the
    first convolution; where nothing can be inserted anywhere, that entry is legal, and means to insert nothing.
    """
    space, kind = process.space, due(process, state)
    shape = space.max_blocks, space.block_length, len(space.kernels)
    deepen, widen = np.zeros(shape, np.int8), np.zeros(space.max_layers, np.int8)
    if kind == "deepen":
        # By way of bytes this takes a third of the time that assigning the nested tuples would.
        legal = bytearray(chain.from_iterable(chain.from_iterable(space.deepen_mask(state.architecture))))
        deepen = np.frombuffer(legal, np.int8).reshape(shape)
        deepen[0, 0, 0] = not deepen.any()
    elif kind == "widen":
        widen[: len(state.architecture.layers)] = space.widen_mask(state.architecture)
    return {"deepen": deepen, "widen": widen}


def transition(
    process: Process, state: State, action: Mapping[str, Any], mask: Mapping[str, np.ndarray]
) -> tuple[State, bool]:
    """The state after an action, and whether the action was legal. An illegal action changes nothing but the step.

    Args:
        process: The process.
        state: The state before; its episode must not be over.
        action: "deepen": block, position and kernel number; "widen": for each layer 0 or 1. Only the kind that is due
            is read.
        mask: What `action_mask` says of the state.

    Raises:
        InvalidAction: If the part that is due is outside the action space.
    """
    if due(process, state) == "deepen":
        block, position, kernel = _insertion(action["deepen"], mask["deepen"].shape)
        legal = bool(mask["deepen"][block, position, kernel])
        # The one entry before the first convolution inserts nothing.
        if legal and (block, position) != (0, 0):
            deeper = process.space.deepening(state.architecture, block, position, kernel)
            return _after(state, deeper.apply(state.architecture), deeper), True
    else:
        chosen = _layers(action["widen"], len(mask["widen"]))
        legal = bool(mask["widen"][chosen].all())
        if legal:
            child = process.space.widened(state.architecture, chosen)
            return _after(state, child, *widenings(state.architecture.layers, child.layers)), True
    return _after(state, state.architecture), legal


def _insertion(deepen: Any, limits: tuple[int, ...]) -> list[int]:
    """Block, position and kernel number; a negative number would count from the end, and is refused too."""
    place = np.asarray(deepen)
    numbers = place.tolist() if place.shape == (3,) and place.dtype.kind in "iu" else ()
    if not numbers or any(not 0 <= number < limit for number, limit in zip(numbers, limits, strict=True)):
        raise gym.error.InvalidAction(
            f"An insertion is a block, position and kernel number, below {limits}. Received: {deepen!r}"
        )
    return numbers


def _layers(widen: Any, layers: int) -> list[int]:
    """The indices of the layers that are to be widened."""
    chosen = np.asarray(widen)
    indices = np.flatnonzero(chosen).tolist()
    if chosen.shape != (layers,) or np.count_nonzero(chosen == 1) != len(indices):
        raise gym.error.InvalidAction(f"A widening is 0 or 1 for each of {layers} layers. Received: {widen!r}")
    return indices


def _after(state: State, architecture: Architecture, *transformations: Transformation) -> State:
    done = (*state.transformations, *transformations)
    return State(architecture=architecture, transformations=done, steps=state.steps + 1)


def observation(process: Process, state: State) -> dict[str, Any]:
    """Tokens of the layers, the kind of step that is due, and how many steps are left, that one included."""
    return {
        "layers": process.encoder(state.architecture),
        "kind": np.int64(DUE.index(due(process, state))),
        "steps_left": np.int64(len(process.schedule) - state.steps),
    }


def score(process: Process, state: State, result: Result) -> float:
    """What the metric says, less the price of the network's size, from 0 to 1; the accuracy itself by default."""
    worth = result.value(process.metric)
    return process.price.score(worth, state.architecture, process.price_start or process.start)


def reward(score: float, validation_images: int) -> float:
    """tan(score * pi / 2), so that the same gain counts for more near the top (EAS paper, section on training).

    The score is kept half a validation image below 1, where the tangent has no value.
    """
    return tan(min(score, 1 - 0.5 / validation_images) * pi / 2)
