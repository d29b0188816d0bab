"""The decision process as pure functions: states, masks, transitions, rewards. Microseconds, and no weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import pi, prod, tan
from typing import Any

import gymnasium as gym
import numpy as np

from eas_tf.architecture import (
    AnySpace,
    Architecture,
    Chain,
    Choice,
    ChoiceShape,
    Decision,
    State,
    check_answer,
    is_network,
)
from eas_tf.envs.encoding import Encoder
from eas_tf.errors import InvalidConfiguration
from eas_tf.evaluation import Result
from eas_tf.evaluation.price import Price
from eas_tf.metrics import Metric, check_metric
from eas_tf.text import printable


@dataclass(frozen=True, kw_only=True)
class Process:
    """What does not change within an episode."""

    space: AnySpace
    start: Architecture
    """The network that each episode starts from."""
    metric: Metric = "accuracy"
    """What a child is worth, before its size is paid for."""
    price: Price = field(default_factory=Price)
    """What size costs at the end."""
    price_start: Architecture | None = None
    """The network that costs nothing; by default the start network. A search in stages keeps that of its first."""
    kinds: dict[str, ChoiceShape] = field(init=False, repr=False, compare=False)
    """The space's kinds of decisions."""
    due: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """The values of an observation's `kind`: which kind of decision is due, or that the episode is over."""
    lengths: dict[str, int] = field(init=False, repr=False, compare=False)
    """How long the mask of each kind of decision is."""
    encoder: Encoder = field(init=False, repr=False, compare=False)
    steps: int = field(init=False, repr=False, compare=False)
    """The most decisions of an episode: the space's, which computes them."""
    max_layers: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_metric(self.metric)
        self.space.check(self.start)
        kinds = dict(sorted(self.space.kinds.items()))  # as Gymnasium sorts the parts of an action
        lengths = {
            kind: prod(shape.sizes) if isinstance(shape, Chain) else shape.number for kind, shape in kinds.items()
        }
        encoder, due = Encoder(self.space), (*kinds, "over")
        for name, value in (
            ("kinds", kinds),
            ("due", due),
            ("lengths", lengths),
            ("encoder", encoder),
            ("steps", self.space.steps),
            ("max_layers", self.space.max_layers),
        ):
            object.__setattr__(self, name, value)


def initial(process: Process, parent: Architecture | None = None) -> State[Any]:
    """The state in which an episode begins: the start network, or another one.

    Raises:
        InvalidConfiguration: If it has more layers than the space says.
    """
    network = process.start if parent is None else parent
    if len(network.layers) > process.max_layers:
        raise _too_long(process, network)
    return State(network)


def _too_long(process: Process, network: Architecture) -> InvalidConfiguration:
    return InvalidConfiguration(
        f"`max_layers` of the space {process.space.name!r} is the most layers of a network, {process.max_layers}. "
        f"Received: {len(network.layers)}"
    )


def next_decision(process: Process, state: State[Any]) -> Decision | None:
    """What the space says is due; None if the episode is over.

    Raises:
        InvalidConfiguration: If there are more decisions than the space says, this one is of a kind that the space has
            not, its mask has another length than the kind's, or nothing is legal.
    """
    decision = process.space.decision(state)
    if decision is None:
        return None
    if not (isinstance(decision, Decision) and isinstance(decision.kind, str) and isinstance(decision.mask, bytes)):
        expected = "a Decision, whose kind is a text and whose mask is bytes, or None"
        check_answer(process.space, "decision", expected, decision, is_right=False)
    if state.steps >= process.steps:
        raise InvalidConfiguration(
            f"`steps` of the space {process.space.name!r} is the most decisions of an episode, {process.steps}. "
            "Received: one more"
        )
    if decision.kind not in process.kinds:
        raise InvalidConfiguration(
            f"The space {process.space.name!r} has decisions of the kinds {', '.join(process.kinds)}. Received: "
            f"{decision.kind!r}"
        )
    shape, length = process.kinds[decision.kind], process.lengths[decision.kind]
    if len(decision.mask) != length:
        raise InvalidConfiguration(
            f"A mask of kind {decision.kind!r} of the space {process.space.name!r} has {length} bytes. Received: "
            f"{len(decision.mask)}"
        )
    if isinstance(shape, Chain) and not any(decision.mask) and not (shape.passes and decision.may_pass):
        raise InvalidConfiguration(
            f"A decision of kind {decision.kind!r} of the space {process.space.name!r} allows a choice, or to pass "
            f"where its Chain passes. Received: no legal choice, may_pass={decision.may_pass}, passes={shape.passes}"
        )
    return decision


def action_mask(process: Process, decision: Decision | None) -> dict[str, np.ndarray]:
    """What is legal, for each kind of decision: int8 `[*sizes]` of a chain, `[layers]` of coins.

    The mask of a kind that is not due is zero. Where to leave the network as it is is legal, so is a chain of zeros,
    which stands for it.
    """
    masks = {}
    for kind, shape in process.kinds.items():
        sizes = shape.sizes if isinstance(shape, Chain) else (shape.number,)
        if decision is None or kind != decision.kind:
            masks[kind] = np.zeros(sizes, np.int8)
        else:
            # By way of bytes this takes a fraction of the time that assigning tuples would.
            legal = bytearray(decision.mask)
            if isinstance(shape, Chain) and shape.passes:
                legal[0] = decision.may_pass
            masks[kind] = np.frombuffer(legal, np.int8).reshape(sizes)
    return masks


def transition(
    process: Process, state: State[Any], action: Mapping[str, Any], decision: Decision
) -> tuple[State[Any], bool]:
    """The state after an action, and whether the action was legal. An illegal action changes nothing but the step.

    Args:
        process: The process.
        state: The state before.
        action: For each kind of decision a number for each category of a chain, or 0 or 1 for each layer. Only the kind
            that is due is read.
        decision: What is due.

    Raises:
        InvalidAction: If the part that is due is missing, or outside the action space.
        InvalidConfiguration: If the space gives no state of a network after it, or one of too many layers.
    """
    try:
        shape, part = process.kinds[decision.kind], action[decision.kind]
    except (KeyError, IndexError, TypeError):
        raise gym.error.InvalidAction(
            f"An action is a dictionary with the part {decision.kind!r}. Received: {printable(action, 60)}"
        ) from None
    choice, legal = _of_chain(part, shape, decision) if isinstance(shape, Chain) else _of_coins(part, decision)
    after = process.space.act(state, choice if legal else None)
    if not isinstance(after, State) or not isinstance(after.steps, int) or after.steps <= state.steps:
        check_answer(process.space, "act", "the State after one decision more", after, is_right=False)
    network = after.architecture
    if type(network) is not type(process.start):
        check_answer(process.space, "act", "the State of a network", network, is_network(network))
    if len(network.layers) > process.max_layers:
        raise _too_long(process, network)
    return after, legal


def _of_chain(part: Any, shape: Chain, decision: Decision) -> tuple[Choice, bool]:
    """The choice, and whether it is legal; a negative number would count from the end, and is refused too."""
    array = _as_array(part)
    numbers = array.tolist() if array.shape == (len(shape.sizes),) and array.dtype.kind in "iu" else ()
    if not numbers or any([not 0 <= number < size for number, size in zip(numbers, shape.sizes, strict=True)]):
        raise gym.error.InvalidAction(
            f"The part {decision.kind!r} of an action is {', '.join(shape.names)}, whole numbers from 0 to below "
            f"{shape.sizes}. Received: {printable(repr(part))}"
        )
    place = 0
    for number, size in zip(numbers, shape.sizes, strict=True):
        place = place * size + number
    if decision.mask[place]:
        return tuple(numbers), True
    return None, shape.passes and decision.may_pass and not place


def _of_coins(part: Any, decision: Decision) -> tuple[Choice, bool]:
    """The choice, and whether it is legal."""
    coins, mask = _as_array(part), decision.mask
    is_right = coins.shape == (len(mask),) and coins.dtype.kind in "biuf"
    indices = coins.nonzero()[0].tolist() if is_right else []
    if not is_right or np.count_nonzero(coins == 1) != len(indices):
        raise gym.error.InvalidAction(
            f"The part {decision.kind!r} of an action is 0 or 1 for each of {len(mask)} layers. Received: "
            f"{printable(repr(part))}"
        )
    return tuple(indices), all([mask[index] for index in indices])


def _as_array(part: Any) -> np.ndarray:
    """The array, or one of a shape that nobody asks for if it is none."""
    try:
        return np.asarray(part)
    except (ValueError, TypeError):  # rows of different lengths
        return np.empty(())


def observation(process: Process, state: State[Any], decision: Decision | None) -> dict[str, Any]:
    """Tokens of the layers, the kind of decision that is due, and how many steps are left, that one included."""
    return {
        "layers": process.encoder(state.architecture),
        "kind": np.int64(process.due.index(decision.kind if decision else "over")),
        "steps_left": np.int64(process.steps - state.steps if decision else 0),
    }


def score(process: Process, state: State[Any], result: Result) -> float:
    """What the metric says, less the price of the network's size, from 0 to 1; the accuracy itself by default."""
    worth = result.value(process.metric)
    return process.price.score(worth, state.architecture, process.price_start or process.start)


def reward(score: float, validation_images: int) -> float:
    """tan(score * pi / 2), so that the same gain counts for more near the top (EAS paper, section on training).

    The score is kept half a validation image below 1, where the tangent has no value.
    """
    return tan(min(score, 1 - 0.5 / validation_images) * pi / 2)
