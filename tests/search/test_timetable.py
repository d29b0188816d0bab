"""How a search by the clock shares its time."""

import pytest

from eas_tf.search.timetable import FINAL_EPOCHS, LEAST_EPOCHS, LEAST_SECONDS, ROUNDS, Timetable


def table(**options):
    return Timetable(**{"total": 900.0, "begun": 10.0, "epoch": 3.0, "measured": 1.0} | options)


@pytest.mark.parametrize("total", [30.0, 60.0, 900.0, 36_000.0])
@pytest.mark.parametrize("epoch", [0.01, 1.0, 5.0])
def test_phases_follow_each_other_and_leave_time_to_measure(total, epoch):
    times = table(total=total, epoch=epoch)
    assert times.begun < times.start < times.found < times.end < total
    assert times.end_for(20.0) < times.end
    assert total - times.end >= 0.5 * epoch


def test_rounds_share_what_there_is_until_the_last_training():
    times, now, rounds = table(), 120.0, 0
    while seconds := times.comparison(now, rounds, waves=2, overhead=2.0):
        assert seconds >= max(LEAST_SECONDS, LEAST_EPOCHS * times.epoch)
        now += 2 * (seconds + 2.0)
        rounds += 1
    assert rounds == ROUNDS
    assert now == pytest.approx(times.found, abs=0.1)


def test_slow_machines_have_fewer_rounds_and_then_none():
    assert table(epoch=60.0).comparison(120.0, 0, waves=2, overhead=2.0) > 2 * table().comparison(
        120.0, 0, waves=2, overhead=2.0
    )
    assert table(epoch=150.0).comparison(120.0, 0, waves=2, overhead=2.0) is None


def test_a_network_is_not_grown_that_could_not_be_trained_to_its_end():
    times = table()
    most = times.most(200.0, seconds=1e9, slowdown=2.0)
    assert most * FINAL_EPOCHS == pytest.approx(times.end - times.found)
    assert times.most(200.0, seconds=9.0, slowdown=2.0) == pytest.approx(9 / (LEAST_EPOCHS * 2))
    assert times.most(times.end - FINAL_EPOCHS, seconds=1e9, slowdown=1.0) == pytest.approx(1.0)
