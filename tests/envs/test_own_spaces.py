"""Spaces of a user's own whose decisions contradict what they say of themselves are refused in one line."""

from dataclasses import dataclass
from typing import ClassVar

import gymnasium as gym
import numpy as np
import pytest

import eas_tf  # noqa: F401 - registers the environments
from eas_tf.architecture import SPACES, Chain, Coins, Decision, State
from eas_tf.architecture.cells.space import CellSpace
from eas_tf.envs import EASEnv, EASVectorEnv
from eas_tf.errors import InvalidConfiguration


@dataclass(frozen=True, kw_only=True)
class OwnSpace(CellSpace):
    """Cells, with one decision that is given, in every state but the first."""

    given: Decision
    first: Decision | None = None
    kinds: ClassVar = {
        "operation": Chain(("edge",), (6,), passes=True),
        "coins": Coins(6),
        "chain": Chain(("one",), (2,)),
    }

    def decision(self, state):
        return self.given if state.steps else self.first or super().decision(state)

    def act(self, state, choice):
        return super().act(state, choice or None)


def make(**kwargs):
    return gym.make("EAS-Surrogate-v0", space=OwnSpace(**kwargs))


WRONG = [
    (
        Decision("operation", b"\1" * 5),
        r"mask of kind 'operation' of the space 'nasbench201' has 6 bytes. Received: 5$",
    ),
    (Decision("coins", b"\1" * 7), r"has 6 bytes. Received: 7$"),
    (Decision("other", b"\1" * 6), r"the kinds chain, coins, operation. Received: 'other'$"),
    (Decision("operation", bytes(6)), r"no legal choice, may_pass=False, passes=True$"),
    (Decision("chain", bytes(2), may_pass=True), r"no legal choice, may_pass=True, passes=False$"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG)
def test_a_decision_that_does_not_fit_its_kind_is_refused_where_it_is_taken(wrong, message):
    env = make(given=wrong)
    _, info = env.reset(seed=0)
    env.action_space.seed(0)
    with pytest.raises(InvalidConfiguration, match=message):
        env.step(env.action_space.sample(mask=info["action_mask"]))
    with pytest.raises(InvalidConfiguration, match=message):
        make(given=wrong, first=wrong)


@pytest.mark.parametrize("right", [Decision("operation", bytes(6), may_pass=True), Decision("coins", bytes(6))])
def test_where_passing_or_no_coin_is_legal_a_mask_may_be_zero(right):
    env = make(given=right, first=right)
    _, info = env.reset(seed=0)
    *_, info = env.step(env.action_space.sample(mask=info["action_mask"]))
    assert not info["illegal"]


def test_a_kind_that_is_neither_a_chain_nor_coins_is_refused():
    broken = type("Broken", (CellSpace,), {"kinds": {"operation": (6,)}})()
    with pytest.raises(InvalidConfiguration, match=r"is a Chain or Coins. Received for 'operation': \(6,\)$"):
        gym.make("EAS-Surrogate-v0", space=broken)


def test_a_space_without_a_method_is_refused_when_the_environment_is_made():
    broken = type("Broken", (CellSpace,), {"act": None})()
    with pytest.raises(InvalidConfiguration, match=r"^Methods of a space are act\. Received: [^\n]+$"):
        gym.make("EAS-Surrogate-v0", space=broken)


class Layers:
    """What has layers, and nothing else of a network."""

    layers = ()


LONG = SPACES["paper"].start_network((32, 32, 3), 10)


def changed(**attributes):
    """The space of cells, with other attributes and methods."""
    return type("Changed", (CellSpace,), attributes)()


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"steps": 0}, r"^`steps` of a space is whole numbers from 1 to 2,147,483,647\. Received from [^\n]+: 0$"),
        ({"steps": None}, r"^`steps` of a space .*: None$"),
        ({"max_layers": 2.5}, r"^`max_layers` of a space .*: 2\.5$"),
        ({"token_limits": ()}, r"^`token_limits` of a space .*: \(\)$"),
        ({"token_limits": (2**40,)}, r"^`token_limits` of a space .*: \(1099511627776,\)$"),
        ({"max_layers": 2**40}, r"^`max_layers` of a space .*: 1099511627776$"),
        ({"max_layers": 3}, r"^`max_layers` of the space 'nasbench201' is the most layers of a network, 3\. .*: 6$"),
        ({"kinds": None}, r"^`kinds` of a space is a dictionary with a Chain or Coins by name\. .*: None$"),
        ({"kinds": [Coins(6)]}, r"^`kinds` of a space is .*: \[Coins\(number=6\)\]$"),
        ({"kinds": {}}, r"^`kinds` of a space is .*: \{\}$"),
        ({"kinds": {3: Coins(6)}}, r"^`kinds` of a space is .*: \{3: Coins"),
        ({"kinds": {"operation": Chain(("one",), (2.5,))}}, r"^The sizes of a Chain, .* for 'operation': Chain"),
        ({"kinds": {"operation": Chain(("one",), ("6",))}}, r"^The sizes of a Chain, .* for 'operation': Chain"),
        ({"kinds": {"operation": Chain(("one",), 6)}}, r"^The sizes of a Chain, .* for 'operation': Chain"),
        ({"kinds": {"operation": Chain("one", (6,))}}, r"^The sizes of a Chain, a name for each, .* Chain"),
        ({"kinds": {"operation": Chain((), ())}}, r"^The sizes of a Chain, .* for 'operation': Chain"),
        ({"kinds": {"operation": Coins(0)}}, r"^The sizes of a Chain, .* the number of Coins .*: Coins\(number=0\)$"),
        ({"kinds": {"operation": Coins("6")}}, r"^The sizes of a Chain, .*: Coins\(number='6'\)$"),
        ({"decision": lambda *_: False}, r"^`decision` of a space gives a Decision, whose kind is .*: False$"),
        ({"decision": lambda *_: ("operation", b"\1" * 6)}, r"^`decision` of a space gives .*: \('operation', "),
        ({"decision": lambda *_: Decision(["operation"], b"\1" * 6)}, r"^`decision` of a space gives .*: Decision\("),
        ({"decision": lambda *_: Decision("operation", None)}, r"^`decision` of a space gives .*: Decision\("),
        ({"decision": lambda *_: Decision("operation", "111111")}, r"^`decision` of a space gives .*: Decision\("),
        ({"decision": lambda *_: Decision("operation", np.ones(6))}, r"^`decision` of a space gives .*: Decision\("),
        ({"act": lambda _, state, __: state.after(3)}, r"^`act` of a space gives the State of a network\. .*: 3$"),
        ({"act": lambda _, state, __: State(state.architecture, (), None)}, r"^`act` of a space gives .*: State\("),
        (
            {"act": lambda _, state, __: state.after(LONG)},
            r"^`max_layers` .* the most layers of a network, 6\. .*: 10$",
        ),
        ({"start_network": lambda *_: Layers()}, r"^`start_network` of a space gives a network\. "),
        ({"token": lambda *_: (99,)}, r"^`token` of a space gives whole numbers from 0 to \(.*: \(99,\)$"),
        ({"token": lambda *_: None}, r"^`token` of a space gives .* from the space 'nasbench201': None$"),
        ({"token": lambda *_: (0,)}, r"the first of them not 0.*: \(0,\)$"),
        ({"start_network": lambda *_: None}, r"^`start_network` of a space gives a network\. .*: None$"),
        ({"act": lambda *_: None}, r"^`act` of a space gives the State after one decision more\. .*: None$"),
        ({"act": lambda _, state, __: state}, r"^`act` of a space gives the State after .*: State\("),
        ({"distance": lambda *_: float("nan")}, r"^`distance` of a space gives a number, 0 or more\. .*: nan$"),
        ({"distance": lambda *_: -1.0}, r"^`distance` of a space gives .*: -1\.0$"),
        ({"distance": lambda *_: None}, r"^`distance` of a space gives .*: None$"),
    ],
)
def test_what_a_space_gives_is_refused_where_it_enters_if_it_is_not_what_it_shall_be(attributes, message):
    with pytest.raises(InvalidConfiguration, match=message):
        play(changed(**attributes))


def ending(when):
    """The space of cells whose episodes are over when this says so of the state."""
    own = CellSpace.decision
    return changed(decision=lambda self, state: None if when(state) else own(self, state))


MAKERS = [
    lambda space: EASEnv(space=space, evaluator="surrogate"),
    lambda space: EASVectorEnv(2, space=space, evaluator="surrogate"),
]


@pytest.mark.parametrize("make", MAKERS)
def test_an_episode_that_is_over_as_it_begins_is_refused(make):
    """A search recorded another network under the refused parent, and batches of them never ended."""
    message = r"^An episode of the space 'nasbench201' begins with a decision\. Received: None for [^\n]+$"
    with pytest.raises(InvalidConfiguration, match=message):
        make(ending(lambda _: True))
    env = make(ending(lambda state: all(layer.operation != "undecided" for layer in state.architecture.layers)))
    _, before = env.reset(seed=0)
    with pytest.raises(InvalidConfiguration, match=message):
        env.reset(options={"parent": env.process.space.optimum(env.process.start)})
    *_, after = env.step({"operation": np.ones((*np.shape(before["parameters"]), 1), int)})
    assert not np.any(after["illegal"])


@pytest.mark.parametrize("make", MAKERS)
def test_more_decisions_than_the_space_says_are_refused(make):
    env = make(changed(steps=2))
    _, info = env.reset(seed=0)
    action = {"operation": np.ones((*np.shape(info["parameters"]), 1), int)}
    env.step(action)
    with pytest.raises(InvalidConfiguration, match=r"is the most decisions of an episode, 2\. Received: one more$"):
        env.step(action)


def test_numbers_of_a_space_may_be_numpys():
    token = CellSpace.token
    play(changed(token=lambda *given: np.array(token(*given)), distance=lambda *_: np.float32(1), steps=np.int64(6)))


def play(space):
    env = gym.make("EAS-Surrogate-v0", space=space)
    env.action_space.seed(0)
    _, info = env.reset(seed=0)
    over = False
    while not over:
        *_, over, _, info = env.step(env.action_space.sample(mask=info["action_mask"]))
