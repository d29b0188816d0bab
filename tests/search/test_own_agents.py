"""What agents of a user's own give is refused in one line where it enters, if it is not what `Agent` promises."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
from searching import here, rows

from eas_tf.agents import AGENTS, register_agent
from eas_tf.agents.random_search import RandomSearchAgent
from eas_tf.architecture import SPACES
from eas_tf.architecture.cells.space import CellSpace
from eas_tf.envs import EASVectorEnv
from eas_tf.errors import InvalidConfiguration
from eas_tf.search.episodes import play
from eas_tf.search.resuming import read_config

SEARCH = ["--engine", "surrogate", "--networks", "20", "--agent", "own"]


class Own(RandomSearchAgent):
    """Random search, with other answers."""

    def __init__(self, action_space, *, rng, act=None, learn=None, state=None):
        super().__init__(action_space, rng=rng)
        self._act, self._learn, self._state = act, learn, state
        self.restored = None

    def act(self, observation, mask):
        action = super().act(observation, mask)
        return self._act(action) if self._act else action

    def learn(self, outcomes):
        return self._learn(outcomes) if self._learn else {}

    def state(self):
        return self._state() if self._state else super().state()

    def restore(self, state):
        self.restored = state


@pytest.fixture
def register(monkeypatch):
    """Registers such an agent as "own", and gives a list of those that are made."""
    monkeypatch.setattr("eas_tf.agents.AGENTS", AGENTS)

    def as_own(**answers):
        made = []

        def make(_, action_space, *, rng, config=None):  # noqa: ARG001 - it has none
            made.append(Own(action_space, rng=rng, **answers))
            return made[-1]

        monkeypatch.setitem(AGENTS, "own", make)
        register_agent("own", make)
        return made

    return as_own


def played(**answers):
    envs = EASVectorEnv(3, space="toy", evaluator="surrogate")
    envs.reset(seed=0)
    return play(envs, Own(envs.single_action_space, rng=np.random.default_rng(0), **answers))


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda _: None, r"gives arrays of the shapes \{'deepen': \(3, 3\), .*\}\. Received from Own: None$"),
        (lambda _: {}, r"Received from Own: \{'deepen': \(\), 'widen': \(\)\}$"),
        (lambda action: {**action, "deepen": action["deepen"][:2]}, r"Received from Own: \{'deepen': \(2, 3\), "),
        (lambda action: {**action, "widen": action["widen"][:, 1:]}, r"Received from Own: \{'deepen': \(3, 3\), "),
        (lambda action: {**action, "widen": [[1], [1, 2], []]}, r"'widen': None\}$"),
        (lambda action: {**action, "deepen": action["deepen"] + 99}, r"Refused from Own: .*whole numbers from 0 to"),
        (lambda action: {**action, "deepen": action["deepen"] + 0.5}, r"Refused from Own: .*whole numbers from 0 to"),
        (lambda action: {**action, "widen": action["widen"] + 7}, r"Refused from Own: .*0 or 1 for each of"),
    ],
)
def test_actions_are_of_the_shapes_of_the_space(act, message):
    with pytest.raises(InvalidConfiguration, match=message) as refused:
        played(act=act)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "account", [None, 0.5, {"loss": None}, {"loss": "low"}, {"loss": [1, 2]}, {1: 2.0}, [("a", 1)]]
)
def test_an_account_is_numbers_by_name(account):
    with pytest.raises(InvalidConfiguration, match=r"^`learn` of an agent gives numbers by name.* from Own: [^\n]+$"):
        played(learn=lambda _: account)


def test_numbers_of_any_library_are_taken_into_the_record(register, tmp_path):
    register(learn=lambda _: {"loss": np.float32(0.5), "steps": np.int64(3), "norm": np.array([2.0]), "rate": 0.1})
    here(*SEARCH, "--output", str(tmp_path / "run"))
    told = [json.loads(row[5]) for row in rows(tmp_path / "run", "batch").values()]
    assert told == [{"loss": 0.5, "steps": 3.0, "norm": 2.0, "rate": 0.1}] * 2


@pytest.mark.parametrize(
    "state", [None, 3, [np.zeros(2)], {"mind": object()}, {"mind": None}, {"mind": [[1], [2, 3]]}, {3: np.zeros(2)}]
)
def test_a_state_that_cannot_be_kept_is_refused_when_it_is_to_be_kept(state, register, tmp_path):
    register(state=lambda: state)
    with pytest.raises(InvalidConfiguration, match=r"^`state` of an agent gives arrays .* from Own: [^\n]+$"):
        here(*SEARCH, "--output", str(tmp_path / "run"))
    assert len(rows(tmp_path / "run")) == 11
    assert not list((tmp_path / "run").glob("agent-*"))


@pytest.mark.parametrize(
    "state", [{}, {"file": np.arange(3), "allow_pickle": np.ones(2), "args": np.array("text"), "a/b": np.zeros((0, 2))}]
)
def test_a_search_goes_on_from_the_state_that_was_kept_whatever_its_names_are(state, register, tmp_path):
    folder, made = tmp_path / "run", register(state=lambda: state)
    here(*SEARCH, "--output", str(folder))
    before = rows(folder)
    printed = here("--resume", str(folder), "--extend", "--networks", "30")
    assert "batch of 10" in printed
    assert {number: row for number, row in rows(folder).items() if number in before} == before
    assert made[-1].restored.keys() == state.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(made[-1].restored[name], array)
    assert len(rows(folder)) == 31


def test_a_run_of_what_is_not_registered_says_so(register, tmp_path, monkeypatch):
    """It was said to be of another version."""
    register()
    monkeypatch.setitem(SPACES, "mine", replace(SPACES["toy"], name="mine"))
    folder = str(tmp_path / "run")
    here(*SEARCH, "--space", "mine", "--output", folder)
    monkeypatch.delitem(SPACES, "mine")
    for name in ("space 'mine'", "agent 'own'"):
        with pytest.raises(InvalidConfiguration, match=f"has the {name}, which is not registered here: go on from"):
            read_config(["--resume", folder])
        monkeypatch.undo()


@dataclass(frozen=True, kw_only=True)
class Scheduled(CellSpace):
    """Cells, in a space that a search takes."""

    schedule: tuple[str, ...] = ()


def test_a_search_that_trains_refuses_networks_that_cannot_be_trained(tmp_path, monkeypatch):
    monkeypatch.setitem(SPACES, "scheduled", Scheduled(name="scheduled"))
    options = ["--space", "scheduled", "--agent", "random", "--networks", "3", "--output", str(tmp_path / "run")]
    with pytest.raises(InvalidConfiguration, match=r"^Networks of the space 'scheduled' cannot be trained: choose "):
        here(*options)
    assert not (tmp_path / "run").exists()
    here(*options, "--engine", "surrogate")
    assert len(rows(tmp_path / "run")) == 4
