"""Agents: who decides how a network grows. REINFORCE with the EAS paper's controller, random search, evolution.

Agents see token arrays, masks and rewards, and know nothing of what a token means. Importing this package loads no
TensorFlow; making the agent that needs it does.
"""

import warnings
from collections.abc import Callable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from eas_tf.agents.answers import check_made, check_methods
from eas_tf.backend import use_tensorflow
from eas_tf.errors import InvalidConfiguration
from eas_tf.naming import register_maker

if TYPE_CHECKING:
    import gymnasium
    import numpy as np

    from eas_tf.agents.base import Agent


def _reinforce(observation_space: Any, action_space: Any, *, rng: Any, config: Any = None) -> "Agent":
    use_tensorflow(warnings.warn)
    from eas_tf.agents.reinforce import ReinforceAgent

    return ReinforceAgent(observation_space, action_space, rng=rng, config=config)


def _random(observation_space: Any, action_space: Any, *, rng: Any, config: None = None) -> "Agent":  # noqa: ARG001
    from eas_tf.agents.random_search import RandomSearchAgent

    return RandomSearchAgent(action_space, rng=rng)


def _evolution(observation_space: Any, action_space: Any, *, rng: Any, config: Any = None) -> "Agent":  # noqa: ARG001
    from eas_tf.agents.evolution import EvolutionAgent

    return EvolutionAgent(action_space, rng=rng, config=config)


#: What makes an agent of that name: called as `make_agent`, without the name.
AGENTS: dict[str, Callable[..., "Agent"]] = {"reinforce": _reinforce, "random": _random, "evolution": _evolution}

#: Those that leave insertions out: in a search their episodes allow it.
PASSING = {"evolution"}


def register_agent(name: str, make: Callable[..., "Agent"], *, passes: bool = False) -> None:
    """Make an agent known by its name, to `make_agent` and to searches.

    Args:
        name: Its name.
        make: Called as `make_agent`, without the name.
        passes: Whether it leaves decisions out where that is legal, so that a search shall make it legal.

    Raises:
        InvalidConfiguration: If another agent has that name, `make` cannot be called, or it is a class without the
            methods of an agent.
    """
    if isinstance(make, type):
        check_methods(make)
    register_maker(AGENTS, name, make, "an agent")
    if passes:
        PASSING.add(name)


def make_agent(
    name: str,
    observation_space: "gymnasium.Space",
    action_space: "gymnasium.Space",
    *,
    rng: "np.random.Generator",
    config: Any = None,
) -> "Agent":
    """An agent for one environment's spaces.

    Args:
        name: "reinforce", "random", "evolution", or what was registered.
        observation_space: Of a single environment, not the batched one of a vector environment.
        action_space: Likewise.
        rng: Where all of the agent's randomness comes from: its initial weights and its decisions.
        config: Its settings; for "reinforce" a `ReinforceConfig`, the paper's by default; for "evolution" an
            `EvolutionConfig`. "random" has none.

    Raises:
        InvalidConfiguration: If there is no agent of that name, what its maker returns is none, or the spaces are not
            EAS's, or if "reinforce" is asked for and Keras was imported on another backend than TensorFlow.
    """
    check_agent(name)
    agent = AGENTS[name](observation_space, action_space, rng=rng, config=config)
    check_made(agent)
    return agent


def check_agent(name: str) -> None:
    """Refuse a name that no agent has.

    Raises:
        InvalidConfiguration: With the names that there are.
    """
    if name not in AGENTS:
        near = "".join(f" Did you mean {each!r}?" for each in get_close_matches(str(name), AGENTS, 1))
        raise InvalidConfiguration(f"`agent` is one of {', '.join(AGENTS)}. Received: {name!r}.{near}")
