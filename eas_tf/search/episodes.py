"""The one place where an agent and an environment meet."""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import gymnasium as gym
import numpy as np

from eas_tf.agents.answers import account_of, actions_of, check_made
from eas_tf.agents.base import Agent, Outcome
from eas_tf.architecture import Architecture, parse_architecture
from eas_tf.envs import EASVectorEnv
from eas_tf.errors import InvalidConfiguration
from eas_tf.evaluation import Evaluator
from eas_tf.search.plan import Plan
from eas_tf.text import printable


def make_envs(plan: Plan, networks: int, evaluator: Evaluator) -> EASVectorEnv:
    """The environments of a search, one for each network of a batch."""
    config = plan.config
    return EASVectorEnv(
        networks,
        space=plan.space,
        input_shape=plan.start.input_shape,
        classes=plan.start.classes,
        start=str(plan.start),
        metric=config.metric,
        price_parameters=config.price_parameters,
        price_multiply_adds=config.price_multiply_adds,
        price_start=str(plan.start),
        evaluator=evaluator,
    )


def play(
    envs: gym.vector.VectorEnv[Any, Any, np.ndarray], agent: Agent, parents: Sequence[Architecture] | None = None
) -> tuple[list[Outcome], dict[str, float]]:
    """Run one episode in every environment, and let the agent learn from them.

    Args:
        envs: The environments. Seed them before. Where an episode is over before others, the environment begins another
            one, of which the agent is told nothing.
        agent: Acts on all of them at once.
        parents: What each episode begins with; by default the environments' start network.

    Returns:
        What came of each, and the agent's own account of what it learned.

    Raises:
        InvalidConfiguration: If the agent gives no actions, or no account.
    """
    shapes: Any = {kind: part.shape for kind, part in cast(gym.spaces.Dict, envs.action_space).items()}
    observation, infos = envs.reset(options={"parent": list(parents)} if parents else None)
    over, begun = np.zeros(envs.num_envs, bool), infos["architecture"]
    outcomes: dict[int, Outcome] = {}
    while not over.all():
        mask = {kind: np.where(_beside(over, part), 0, part) for kind, part in infos["action_mask"].items()}
        kind = np.where(over, len(envs.single_action_space), observation["kind"])  # type: ignore[arg-type]
        action = actions_of(agent, {**observation, "kind": kind}, mask, shapes)
        try:
            observation, rewards, ended, _, infos = envs.step(action)
        except gym.error.InvalidAction as error:
            raise InvalidConfiguration(f"Refused from {type(agent).__name__}: {printable(error)}") from error
        for place in np.flatnonzero(ended & ~over).tolist():
            outcomes[place] = Outcome(
                architecture=str(infos["architecture"][place]),
                reward=float(rewards[place]),
                parent=str(begun[place]),
                failure=str(infos["failure"][place]),
            )
        over |= ended
    told = [outcomes[place] for place in range(envs.num_envs)]
    return told, account_of(agent, told)


def chosen_parents(agent: Agent, history: Sequence[Outcome], episodes: int) -> list[int] | None:
    """The parents that an agent chooses among the latest of all networks, as places in `history`; see `Agent.parents`.

    Raises:
        InvalidConfiguration: If they are too many or too few, there are no such networks, or one of them failed.
    """
    first = max(0, len(history) - agent.population)
    chosen = agent.parents(history[first:], episodes)
    if chosen is None:
        return None
    alive = [place for place, outcome in enumerate(history[first:]) if not outcome.failure]
    places = _places(chosen)
    if len(places) != episodes or not set(places) <= set(alive):
        raise InvalidConfiguration(
            f"The parents that an agent chooses are {episodes} places among {alive}, which are networks that did not "
            f"fail. Received from {type(agent).__name__}: {printable(chosen)}"
        )
    return [first + place for place in places]


def batches(envs: EASVectorEnv, agent: Agent) -> Iterator[list[Outcome]]:
    """Batch after batch without an end, for work on agents: parents are what the agent chooses among all before.

    Args:
        envs: The environments. Seed them before.
        agent: Acts on all of them at once.
    """
    check_made(agent)
    history: list[Outcome] = []
    while True:
        names = [history[place].architecture for place in chosen_parents(agent, history, envs.num_envs) or ()]
        shape = envs.process.start.input_shape
        outcomes, _ = play(envs, agent, [parse_architecture(name, shape) for name in names])
        history += outcomes
        yield outcomes


def _places(chosen: Any) -> list[int]:
    """Whole numbers in a list, or in an array; none of anything else."""
    try:
        array = np.asarray(chosen)
    except ValueError:  # rows of different lengths
        return []
    return array.tolist() if array.ndim == 1 and array.dtype.kind in "iu" else []


def _beside(over: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Which episodes are over, `[n, 1, ...]`, with as many axes as a part of their mask."""
    return over.reshape(-1, *[1] * (part.ndim - 1))
