"""When a search ends before its last network."""

import os
import signal
import time

import pytest
from searching import here, rows

from eas_tf.errors import NoNetwork
from eas_tf.runs.interruption import Interruption
from eas_tf.runs.record import Network
from eas_tf.search.config import SearchConfig
from eas_tf.search.limits import FAILURES_IN_A_ROW, Limits


def network(number, *, failure="", score=0.5, kind="child"):
    return Network(
        id=number, kind=kind, stage=1, batch=1, parent=0, transformations="", seed=0, architecture="SM(10)",
        parameters=1, multiply_adds=1, epochs=1, accuracy=score, score=score, loss=None, seconds=1.0, failure=failure,
    )  # fmt: skip


def limits(**options):
    return Limits(SearchConfig(**options), Interruption(""), 0.0)


def test_failures_in_a_row_are_counted_and_a_success_between_them_ends_the_row():
    some = limits()
    for number in range(FAILURES_IN_A_ROW - 1):
        some.count(network(number, failure="x"))
    assert not some.hopeless
    some.count(network(98))
    some.count(network(99, failure="x"))
    assert not some.hopeless
    for number in range(100, 99 + FAILURES_IN_A_ROW):
        some.count(network(number, failure="x"))
    assert some.hopeless


def test_failures_before_a_resume_are_forgiven():
    some = limits()
    for number in range(50):
        some.count(network(number, failure="x"), earlier=True)
    some.count(network(50, failure="x"))
    assert not some.hopeless


def test_patience_counts_children_since_the_best():
    some = limits(patience=2)
    for number, score in enumerate([0.5, 0.6, 0.6]):
        some.count(network(number, score=score))
        assert some.may_start()
    some.count(network(3, kind="promoted", score=0.1))
    assert some.may_start()
    some.count(network(4, failure="x", score=0.0))
    assert "no new best network in 2 children" in some.reason()


def test_asking_takes_no_place_and_a_start_does():
    some = limits(max_networks=2)
    assert some.may_start()
    some.started()
    assert some.may_start()
    assert some.may_start()
    some.started()
    assert not some.may_start()
    some.count(network(0))
    some.count(network(1))
    assert some.reason() == "max_networks 2 is reached"


@pytest.mark.parametrize(
    "engine", ["surrogate", "inline", *(pytest.param(each, marks=pytest.mark.slow) for each in ("pool", "ray"))]
)
def test_every_engine_trains_as_many_children_as_may_be(tmp_path, engine):
    if engine == "ray":
        pytest.importorskip("ray")
    options = ["--engine", engine, "--agent", "random", "--networks", "12", "--epochs", "1", "--start-epochs", "1"]
    workers = {"pool": ["--workers", "2"], "ray": ["--workers", "2", "--ray-address", "local"]}.get(engine, [])
    here(*options, *workers, "--max-networks", "5", "--output", str(tmp_path / "run"))
    assert [row[1] for row in rows(tmp_path / "run").values()] == ["start", *["child"] * 5]


def test_hours_count_from_what_was_worked_before():
    assert Limits(SearchConfig(max_hours=1.0), Interruption(""), 3_599.0).may_start()
    spent = Limits(SearchConfig(max_hours=1.0), Interruption(""), 3_600.0)
    assert spent.reason() == "max_hours 1 is used up"
    assert spent.seconds_left() == 0
    assert limits().seconds_left() is None


@pytest.mark.parametrize("engine", [pytest.param("pool", marks=pytest.mark.slow), "inline"])
def test_children_in_training_are_given_up_when_the_time_is_used_up(tmp_path, engine):
    folder, epochs = tmp_path / "run", "20000"  # minutes for each child
    seconds = 25 if engine == "pool" else 9
    before = time.monotonic()
    options = ["--networks", "2", "--epochs", epochs, "--start-epochs", "1", "--agent", "random", "--engine", engine]
    out = here(*options, "--max-hours", str(seconds / 3600), "--output", str(folder))
    assert time.monotonic() - before < 45
    assert f"max_hours {seconds / 3600:g} is used up" in out
    assert len(rows(folder)) == 1


def test_the_first_signal_asks_and_the_second_interrupts(capsys):
    before = signal.getsignal(signal.SIGINT)
    with Interruption("please wait") as interruption:
        some = Limits(SearchConfig(), interruption, 0.0)
        assert some.may_start()
        os.kill(os.getpid(), signal.SIGTERM)
        assert some.reason() == "interrupted"
        assert capsys.readouterr().err == "please wait\n"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_budget_that_ends_before_the_start_network_is_named_as_an_option(tmp_path):
    told = r"^`max_hours` 1e-09 is used up, and .* To go on: `resume` \S+ with a larger `max_hours`\.$"
    with pytest.raises(NoNetwork, match=told):
        here("--engine", "inline", "--max-hours", "1e-9", "--output", str(tmp_path / "run"))
