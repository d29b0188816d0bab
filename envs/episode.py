"""One running episode, which the single environment has one of and the vector environment many."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from eas_tf.architecture import (
    AnySpace,
    Architecture,
    Chain,
    Decision,
    State,
    parse_architecture,
    space_named,
    start_network,
)
from eas_tf.envs.encoding import token_limits
from eas_tf.envs.spaces import Actions, Chains, CoinTosses
from eas_tf.envs.transition import Process, action_mask, initial, next_decision, observation, reward, score, transition
from eas_tf.errors import InvalidConfiguration
from eas_tf.evaluation import Evaluator, Request, Result
from eas_tf.evaluation.price import Price
from eas_tf.fields import check_fields
from eas_tf.metrics import Metric
from eas_tf.text import printable


@dataclass(frozen=True, kw_only=True)
class _Arguments:
    """Those of an environment that describe networks, as `check_fields` makes them."""

    input_shape: tuple[int, ...]
    classes: int
    start: str | None
    schedule: tuple[str, ...] | None
    max_parameters: int | None
    price_start: str | None

    def __post_init__(self) -> None:
        check_fields(self)
        if len(self.input_shape) != 3:
            raise InvalidConfiguration(f"`input_shape` is height, width and channels. Received: {self.input_shape}")


def make_process(
    *,
    space: str | AnySpace,
    metric: Metric,
    price: Price,
    **arguments: Any,
) -> Process:
    """The decision process that the keyword arguments of an environment describe; see `EASEnv`.

    Raises:
        InvalidArchitecture: If a network cannot be read, does not fit the images, or starts outside the space.
        InvalidConfiguration: If a name or a number makes no sense.
    """
    told = _Arguments(**arguments)
    limited = space_named(space, max_parameters=told.max_parameters, schedule=told.schedule)
    if told.start is None:
        network = start_network(limited, told.input_shape, told.classes)
    else:
        network = parse_architecture(told.start, told.input_shape)
    free = network if told.price_start is None else parse_architecture(told.price_start, told.input_shape)
    for what, end in (("start network", network.classes), ("network of `price_start`", free.classes)):
        if end != told.classes:
            raise InvalidConfiguration(f"The {what} ends in {end} classes. Expected: SM({told.classes})")
    return Process(space=limited, start=network, metric=metric, price=price, price_start=free)


def observation_space(process: Process) -> gym.spaces.Dict:
    """The space of `transition.observation`."""
    limits = np.tile(token_limits(process.space), (process.space.max_layers, 1))
    return gym.spaces.Dict(
        layers=gym.spaces.Box(np.zeros_like(limits), limits, dtype=np.int32),
        kind=gym.spaces.Discrete(len(process.due)),
        steps_left=gym.spaces.Discrete(process.space.steps + 1),
    )


def action_space(process: Process) -> Actions:
    """The space of the actions that `transition.transition` takes: a part for each kind of decision."""
    return Actions(
        {
            kind: _chains(shape) if isinstance(shape, Chain) else CoinTosses(shape.number)
            for kind, shape in process.kinds.items()
        }
    )


def _chains(shape: Chain) -> Chains:
    chains = Chains([*shape.sizes])
    chains.passes = shape.passes
    return chains


def parents_of(
    options: Mapping[str, Any] | None, process: Process, episodes: int, check: Callable[[Architecture], None]
) -> list[Architecture | None]:
    """The network that each episode begins with, as the options of `reset` say; None for the start network.

    Args:
        options: `parent`, a layer string or a network, or one for each episode.
        process: Whose space it must be in.
        episodes: How many there are.
        check: Refuses a parent without weights, where children need them.

    Raises:
        InvalidArchitecture: If a network cannot be read, or is outside the space.
        InvalidConfiguration: If there is no such option, or the parent has no weights to grow from.
    """
    options = {} if options is None else options
    if not isinstance(options, Mapping):
        raise InvalidConfiguration(f"The options of reset are a dictionary. Received: {options!r}")
    if unknown := sorted(map(str, set(options) - {"parent"})):
        raise InvalidConfiguration(f"reset has the option `parent`. Received: {', '.join(unknown)[:60]}")
    given = options.get("parent")
    each = list(given) if isinstance(given, list | tuple | np.ndarray) else [given] * episodes
    if len(each) != episodes:
        raise InvalidConfiguration(f"reset takes one parent, or one for each of {episodes}. Received: {len(each)}")
    parents = [parse_architecture(one, process.start.input_shape) if isinstance(one, str) else one for one in each]
    for parent in parents:
        if parent is None:
            continue
        process.space.check(parent)
        if (parent.classes, parent.input_shape) != (process.start.classes, process.start.input_shape):
            raise InvalidConfiguration(
                f"The parent is for {parent.classes} classes and images of {parent.input_shape}. Expected: "
                f"{process.start.classes} and {process.start.input_shape}"
            )
        if parent != process.start:
            check(parent)
    return parents


@dataclass(slots=True)
class Episode:
    """An episode as it stands. A step or another beginning is a new one, so that a batch can be checked as a whole."""

    process: Process
    parent: Architecture
    """What it began with."""
    state: State[Any]
    decision: Decision | None
    """What is due."""
    legal: bool = True
    """Whether the last action was."""

    @classmethod
    def begun(cls, process: Process, parent: Architecture | None = None) -> "Episode":
        """An episode that begins with the start network, or with another one.

        Raises:
            InvalidConfiguration: If it would be over at once: its reward would come with no step.
        """
        state = initial(process, parent)
        decision = next_decision(process, state)
        if decision is None:
            raise InvalidConfiguration(
                f"An episode of the space {process.space.name!r} begins with a decision. Received: None for "
                f"{printable(state.architecture)}"
            )
        return cls(process, state.architecture, state, decision)

    @property
    def over(self) -> bool:
        """Whether nothing is left to be decided."""
        return self.decision is None

    def after(self, action: Mapping[str, Any]) -> "Episode":
        """The episode one step later.

        Raises:
            ResetNeeded: If the episode is over.
        """
        if self.decision is None:
            raise gym.error.ResetNeeded("The episode is over: call reset() before the next step().")
        state, legal = transition(self.process, self.state, action, self.decision)
        return Episode(self.process, self.parent, state, next_decision(self.process, state), legal)

    def observation(self) -> dict[str, Any]:
        """What the agent sees."""
        return observation(self.process, self.state, self.decision)

    def info(self) -> dict[str, Any]:
        """The mask, the layer string, the number of parameters, and whether the last action was illegal."""
        return {
            "action_mask": action_mask(self.process, self.decision),
            "architecture": str(self.state.architecture),
            "parameters": self.state.architecture.parameter_count,
            "illegal": not self.legal,
        }

    def render(self, mode: str | None) -> str | np.ndarray | None:
        """The layer string for "ansi", a picture, uint8 `[height, width, 3]`, for "rgb_array", or None."""
        if mode == "ansi":
            return f"{self.state.architecture}\n"
        if mode == "rgb_array":
            from eas_tf.envs.drawing import draw  # matplotlib takes a while to import

            return draw(self.state.architecture)
        return None

    def request(self, rng: np.random.Generator) -> Request:
        """What is to be evaluated at the end."""
        return Request(
            parent=str(self.parent),
            transformations=self.state.moves,
            architecture=self.state.architecture,
            seed=int(rng.integers(2**31)),
        )

    def outcome(self, evaluator: Evaluator, result: Result) -> tuple[float, dict[str, Any]]:
        """The reward, and what `info` says of it."""
        priced = score(self.process, self.state, result)
        info = {
            "accuracy": result.accuracy,
            "score": priced,
            "failure": result.failure or "",
            "transformations": " ".join(map(str, self.state.moves)),
        }
        return reward(priced, evaluator.validation_images), info
