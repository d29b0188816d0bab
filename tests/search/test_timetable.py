"""How a search by the clock shares its time."""

import pytest

from eas_tf.search.timetable import FINAL_EPOCHS, LEAST_EPOCHS, LEAST_GROWTH, Timetable, compared


def table(**options):
    return Timetable(**{"total": 900.0, "begun": 10.0, "epoch": 3.0, "measured": 1.0} | options)


@pytest.mark.parametrize("total", [30.0, 60.0, 900.0, 36_000.0])
@pytest.mark.parametrize("epoch", [0.01, 1.0, 5.0])
def test_phases_follow_each_other_and_leave_time_to_measure(total, epoch):
    times = table(total=total, epoch=epoch)
    assert times.begun < times.start < times.found < times.end < total
    assert times.end_for(20.0) < times.end
    assert total - times.end >= 0.5 * epoch


def test_rounds_share_what_there_is_until_the_last_training_and_grow_as_networks_do():
    times, now, room, lengths = table(), 120.0, 20.0, []
    while following := times.round(now, room, least=lambda _: 10.0):
        seconds, growth = following
        lengths.append(seconds)
        now, room = now + seconds, room / growth
    assert len(lengths) == 3  # 4 * 4 is less than 20
    assert [lengths[1] / lengths[0], lengths[2] / lengths[1]] == pytest.approx([20.0 ** (1 / 3)] * 2)
    assert now == pytest.approx(times.found)
    assert room == pytest.approx(1.0)


def test_slow_machines_have_fewer_and_smaller_steps_and_then_none():
    times = table()
    left = times.found - 120.0
    assert times.round(120.0, 12.0, least=lambda growth: 0.03 * left * growth)[1] == pytest.approx(12.0**0.5)
    assert times.round(120.0, 12.0, least=lambda growth: 0.08 * left * growth) == (pytest.approx(left), 12.0)
    seconds, growth = times.round(120.0, 12.0, least=lambda growth: left * growth / 5)
    assert seconds == pytest.approx(left)
    assert 5 / LEAST_GROWTH < growth <= 5
    assert times.round(120.0, 12.0, least=lambda growth: left * growth) is None
    assert times.round(times.found, 12.0, least=lambda _: 1.0) is None


def test_what_could_not_be_trained_to_its_end_is_not_grown():
    times = table()
    assert times.most(200.0) * FINAL_EPOCHS == pytest.approx(times.end - times.found)
    assert times.most(times.end - FINAL_EPOCHS) == pytest.approx(1.0)
    assert times.round(120.0, room=1.0, least=lambda _: 1.0) is None
    assert times.round(120.0, room=0.5, least=lambda _: 1.0) is None


def test_networks_are_compared_after_equally_many_passes_in_the_time_of_a_round():
    costs = [1.0, 2.0, 3.0]
    passes, chosen = compared(costs, seconds=30.0, overhead=2.0)
    assert chosen == [0, 1, 2]
    assert sum(passes * cost + 2.0 for cost in costs) == pytest.approx(30.0)


def test_children_for_which_there_is_no_time_are_left_out_the_slowest_first():
    passes, chosen = compared([1.0, 9.0, 2.0], seconds=LEAST_EPOCHS * 4, overhead=0.0)
    assert chosen == [0, 2]
    assert passes == pytest.approx(LEAST_EPOCHS * 4 / 3)
    assert compared([1.0, 9.0], seconds=LEAST_EPOCHS, overhead=0.5)[1] == [0]
