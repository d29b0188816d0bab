import subprocess
import sys

import numpy as np
import pytest

from eas_tf.agents import AGENTS, make_agent, register_agent
from eas_tf.agents.base import Agent
from eas_tf.errors import InvalidConfiguration


def test_the_package_random_search_and_the_settings_load_no_tensorflow():
    code = (
        "import sys, numpy\n"
        "from eas_tf.agents import make_agent\n"
        "from eas_tf.agents.reinforce import ReinforceAgent, ReinforceConfig\n"
        "ReinforceConfig()\n"
        "from gymnasium.spaces import Dict, MultiBinary\n"
        "make_agent('random', None, Dict(widen=MultiBinary(6)), rng=numpy.random.default_rng(0))\n"
        "sys.exit(' '.join(name for name in ('tensorflow', 'keras') if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", AGENTS)
def test_every_agent_can_be_made_by_name(name, case):
    agent = make_agent(name, *case.spaces(), rng=np.random.default_rng(0))
    assert agent.__class__.__name__.lower().startswith(name)


def test_an_unknown_agent_is_refused_with_the_names_there_are(case):
    with pytest.raises(InvalidConfiguration, match="reinforce, random"):
        make_agent("ppo", *case.spaces(), rng=np.random.default_rng(0))
    with pytest.raises(InvalidConfiguration, match="Did you mean 'random'"):
        make_agent("randon", *case.spaces(), rng=np.random.default_rng(0))


def test_an_agent_from_outside_is_made_by_its_name(monkeypatch):
    monkeypatch.setattr("eas_tf.agents.AGENTS", dict(AGENTS))
    register_agent("mine", lambda *spaces, rng, config: Own(spaces, rng, config))
    assert make_agent("mine", 1, 2, rng=3, config=4).made_of == ((1, 2), 3, 4)
    with pytest.raises(InvalidConfiguration, match="'random' already"):
        register_agent("random", lambda: None)
    with pytest.raises(InvalidConfiguration, match=r"a name and a function. Received: 'x', 3"):
        register_agent("x", 3)
    with pytest.raises(InvalidConfiguration, match=r"a name and a function. Received: ''"):
        register_agent("", Own)


def test_a_function_that_is_defined_again_replaces_the_old_one(monkeypatch):
    monkeypatch.setattr("eas_tf.agents.AGENTS", dict(AGENTS))

    def cell_run_again(which):
        def make(*_, **__):
            return Own(which)

        return make

    for which in range(2):
        register_agent("mine", cell_run_again(which))
        assert make_agent("mine", 1, 2, rng=3).made_of == (which,)
    with pytest.raises(InvalidConfiguration, match="'random' already"):
        register_agent("random", Own)


class Own(Agent):
    """Remembers what it was made of, and does nothing."""

    def __init__(self, *made_of):
        self.made_of = made_of

    def act(self, observation, mask):
        """Not asked."""

    def learn(self, outcomes):  # noqa: ARG002 - nothing is learned
        return {}

    def state(self):
        return {}

    def restore(self, state):
        """Nothing."""


class Lacking(Agent):
    """An agent in name."""

    def act(self, observation, mask):
        """Not asked."""


class Choosing(Own):
    """Chooses parents among none."""

    def parents(self, history, episodes):  # noqa: ARG002
        return [0] * episodes


class Choosy(Choosing):
    population = "all"


WRONG = [
    (None, r"^An agent has the methods act, learn, state, restore, parents: see .* Received: None$"),
    ((1, 2), r"^An agent has the methods act, "),
    (Own, r"^An agent is an object, not its class: Own\(\.\.\.\)\.$"),
    (Lacking(), r"^An agent has the methods learn, state, restore: see "),
    (Choosing(), r"^`population` of an agent .* at least 1 for this one\. Received from Choosing: 0$"),
    (Choosy(), r"^`population` of an agent .* at least 1 for this one\. Received from Choosy: all$"),
]


@pytest.mark.parametrize(("made", "message"), WRONG)
def test_what_a_maker_returns_is_an_agent(made, message, monkeypatch):
    monkeypatch.setattr("eas_tf.agents.AGENTS", dict(AGENTS))
    register_agent("mine", lambda *_, **__: made)
    with pytest.raises(InvalidConfiguration, match=message):
        make_agent("mine", 1, 2, rng=3)


def test_a_class_without_the_methods_of_an_agent_is_refused_when_it_is_registered(monkeypatch):
    monkeypatch.setattr("eas_tf.agents.AGENTS", dict(AGENTS))
    with pytest.raises(InvalidConfiguration, match=r"^An agent has the methods learn, state, restore: see "):
        register_agent("mine", Lacking)
    assert "mine" not in AGENTS
