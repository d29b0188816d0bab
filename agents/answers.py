"""What an agent must have, and what it gives: checked where it enters, because an agent may be a user's own."""

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from eas_tf.agents.base import Agent, Batch, Outcome
from eas_tf.errors import InvalidConfiguration
from eas_tf.text import printable


def check_methods(agent: Any) -> None:
    """Refuse an object, or a class, without the methods of an agent.

    Raises:
        InvalidConfiguration: Naming those that it lacks.
    """
    lacking = [name for name in ("act", "learn", "state", "restore") if _function(agent, name) in (None, _OWN[name])]
    lacking += ["parents"] * (_function(agent, "parents") is None)
    if lacking:
        raise InvalidConfiguration(
            f"An agent has the methods {', '.join(lacking)}: see eas_tf.agents.base.Agent. Received: "
            f"{printable(agent, 60)}"
        )


def check_made(agent: Any) -> None:
    """Refuse an object that is no agent, or that chooses parents and says not among how many.

    Raises:
        InvalidConfiguration: Naming what is wrong.
    """
    if isinstance(agent, type):
        raise InvalidConfiguration(f"An agent is an object, not its class: {agent.__name__}(...).")
    check_methods(agent)
    population: Any = getattr(agent, "population", None)
    least = int(_function(agent, "parents") is not _OWN["parents"])
    if not isinstance(population, Integral) or population < least:
        raise InvalidConfiguration(
            "`population` of an agent is how many of the latest networks `parents` chooses among: a whole number, at "
            f"least {least} for this one. Received from {type(agent).__name__}: {printable(population, 60)}"
        )


def actions_of(agent: Agent, observation: Batch, mask: Batch, shapes: Mapping[str, tuple[int, ...]]) -> Any:
    """What an agent decides; see `Agent.act`.

    Args:
        agent: Decides.
        observation: Of a batch.
        mask: Likewise.
        shapes: Of an action, for each kind of decision.

    Raises:
        InvalidConfiguration: If an action has no array of this shape for one of the kinds.
    """
    action: Any = agent.act(observation, mask)
    received = {kind: _shape(action.get(kind)) for kind in shapes} if isinstance(action, Mapping) else action
    if received != shapes:
        raise InvalidConfiguration(
            f"`act` of an agent gives arrays of the shapes {shapes}. Received from {type(agent).__name__}: "
            f"{printable(received)}"
        )
    return action


def account_of(agent: Agent, outcomes: Sequence[Outcome]) -> dict[str, float]:
    """What an agent tells of its learning; see `Agent.learn`.

    Raises:
        InvalidConfiguration: If these are no numbers by name. Arrays and tensors of one number are taken for that.
    """
    account: Any = agent.learn(outcomes)
    arrays = _arrays(account)
    if arrays is None or any(array.size != 1 or array.dtype.kind not in "biuf" for array in arrays.values()):
        raise InvalidConfiguration(
            "`learn` of an agent gives numbers by name, {} for none. Received from "
            f"{type(agent).__name__}: {printable(account)}"
        )
    return {name: float(array.item()) for name, array in arrays.items()}


def state_of(agent: Agent) -> dict[str, np.ndarray]:
    """What an agent has learned, as it can be kept without pickle; see `Agent.state`.

    Raises:
        InvalidConfiguration: If these are no arrays by name, or arrays of objects.
    """
    state: Any = agent.state()
    arrays = _arrays(state)
    if arrays is None or any(array.dtype.hasobject for array in arrays.values()):
        kept = state if arrays is None else {name: array.dtype.name for name, array in arrays.items()}
        raise InvalidConfiguration(
            "`state` of an agent gives arrays of numbers or texts by name, {} for none: objects cannot be kept. "
            f"Received from {type(agent).__name__}: {printable(kept)}"
        )
    return arrays


#: What a child of `Agent` has that has no method of its own.
_OWN = vars(Agent)


def _function(agent: Any, name: str) -> Any:
    """The function behind a method; None if it has none that can be called."""
    method = getattr(agent, name, None)
    return getattr(method, "__func__", method) if callable(method) else None


def _shape(value: Any) -> tuple[int, ...] | None:
    try:
        return np.shape(value)
    except ValueError:  # rows of different lengths
        return None


def _arrays(values: Any) -> dict[str, np.ndarray] | None:
    """The values as arrays; None if they are not by name, or make no array."""
    if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
        return None
    try:
        return {name: np.asarray(value) for name, value in values.items()}
    except ValueError:  # rows of different lengths
        return None
