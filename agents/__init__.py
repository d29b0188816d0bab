"""Agents: who decides how a network grows. REINFORCE with the EAS paper's controller, and random search.

Agents see token arrays, masks and rewards, and know nothing of what a token means. Importing this package loads no
TensorFlow; making the agent that needs it does.
"""

import warnings
from typing import TYPE_CHECKING

from eas_tf.backend import use_tensorflow
from eas_tf.errors import InvalidConfiguration

if TYPE_CHECKING:
    import gymnasium
    import numpy as np

    from eas_tf.agents.base import Agent
    from eas_tf.agents.reinforce import ReinforceConfig

#: What `make_agent` knows.
AGENTS = ("reinforce", "random")


def make_agent(
    name: str,
    observation_space: "gymnasium.Space",
    action_space: "gymnasium.Space",
    *,
    rng: "np.random.Generator",
    config: "ReinforceConfig | None" = None,
) -> "Agent":
    """An agent for one environment's spaces.

    Args:
        name: "reinforce" or "random".
        observation_space: Of a single environment, not the batched one of a vector environment.
        action_space: Likewise.
        rng: Where all of the agent's randomness comes from: its initial weights and its decisions.
        config: Settings of "reinforce"; the paper's by default. "random" has none.

    Raises:
        InvalidConfiguration: If there is no agent of that name, or the spaces are not EAS's, or if "reinforce" is
            asked for and Keras was imported on another backend than TensorFlow.
    """
    if name == "reinforce":
        use_tensorflow(warnings.warn)
        from eas_tf.agents.reinforce import ReinforceAgent

        return ReinforceAgent(observation_space, action_space, rng=rng, config=config)
    if name == "random":
        from eas_tf.agents.random_search import RandomSearchAgent

        return RandomSearchAgent(rng=rng)
    raise InvalidConfiguration(f"The agents are {', '.join(AGENTS)}. Received: {name!r}")
