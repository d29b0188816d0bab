"""Searches whose agent chooses parents among few networks: whose weights stay, and who is trained again."""

import re
import shutil
from dataclasses import replace

import pytest
from searching import here

from eas_tf.agents import AGENTS, register_agent
from eas_tf.agents.random_search import RandomSearchAgent
from eas_tf.runs.record import Record

POPULATION, BATCH = 3, 10
SMALL = ["--agent", "few", "--widen-steps", "1", "--keep", "1", "--deepen-steps"]


class Few(RandomSearchAgent):
    """Widens one layer at most, and grows each of the latest networks in turn."""

    population = POPULATION

    def parents(self, history, episodes):
        alive = [place for place, outcome in enumerate(history) if not outcome.failure]
        return [alive[episode % len(alive)] for episode in range(episodes)] if len(history) == POPULATION else None

    def act(self, observation, mask):
        action = super().act(observation, mask)
        return {**action, "widen": action["widen"] * (action["widen"].cumsum(axis=1) == 1)}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setattr("eas_tf.agents.AGENTS", dict(AGENTS))
    register_agent("few", lambda _, action_space, *, rng, config=None: Few(action_space, rng=rng))  # noqa: ARG005


def networks(folder):
    record = Record(folder / "run.sqlite")
    try:
        return record.networks()
    finally:
        record.close()


def alike_and_kept(found, network):
    """The networks with the layers of a network's parent, and those whose weights were kept: both before its batch."""
    before = [each for each in found if each.batch < network.batch]
    alike = {each.id for each in before if each.architecture == found[network.parent].architecture}
    return alike, {each.id for each in before[-POPULATION:] if not each.reused} | {0}


def test_of_parents_with_equal_layers_the_one_is_taken_whose_weights_are_kept(tmp_path):
    here(*SMALL, "0", "--engine", "surrogate", "--networks", "100", "--output", str(tmp_path / "run"))
    found, several = networks(tmp_path / "run"), 0
    for network in (each for each in found if each.batch > 1):
        alike, kept = alike_and_kept(found, network)
        assert network.parent in (alike & kept or alike)
        several += bool(alike & kept) and bool(alike - kept)
    assert several > 5


@pytest.mark.slow
def test_weights_of_parents_stay_while_they_are_needed_and_what_is_gone_is_trained_again(tmp_path):
    whole, robbed = tmp_path / "whole", tmp_path / "robbed"
    trained = ["--engine", "inline", "--epochs", "1", "--start-epochs", "2"]
    printed = here(*SMALL, "1", *trained, "--networks", "20", "--output", str(whole))
    shutil.copytree(whole, robbed)
    for path in (robbed / "weights").iterdir():
        path.unlink()
    printed += here("--resume", str(whole), "--extend", "--networks", "30")
    again = here("--resume", str(robbed), "--extend", "--networks", "30")
    found = networks(whole)
    told = re.findall(r"network (\d+) is trained again", printed)
    assert len(told) == len(set(told)), "what is still needed stays"
    for network in (each for each in found if str(each.parent) in told):
        alike, kept = alike_and_kept(found, network)
        assert not alike & kept, "only an equal network, which was not trained for its row, was kept"
    grown = {network.parent for network in found if network.batch == 3}
    assert grown & {each.id for each in found[21 - POPULATION : 21]}
    assert {f"{number}" for number in grown - {0}} <= set(re.findall(r"network (\d+) is trained again", again))
    assert [replace(each, seconds=0.0) for each in networks(robbed)] == [replace(each, seconds=0.0) for each in found]
    stay = grown | {each.id for each in found[-POPULATION:] if not each.reused}
    there = {int(path.stem) for path in (whole / "weights").iterdir()}
    assert stay - {0} <= there
    assert len(there) <= len(stay) + POPULATION + 1
