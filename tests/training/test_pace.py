"""How many steps fit into a time, on machines whose speed varies."""

import numpy as np
import pytest

from eas_tf.training.pace import Deadline, Epochs


class Machine:
    """Takes so many seconds for each step, as a function of the time; its clock moves with that only."""

    def __init__(self, seconds_a_step, first=0.0):
        self.now, self._seconds, self._first = 0.0, seconds_a_step, first

    def run(self, pace, steps_an_epoch):
        """All (progress before, steps) of a training, and how far the cosine came."""
        parts, place = [], 0
        while part := pace.next(steps_an_epoch - place):
            assert 1 <= part.steps <= steps_an_epoch - place
            assert part.done + part.steps <= part.total * (1 + 1e-9)
            parts.append((part.done / part.total, part.steps))
            taken = self._first * (not parts[1:]) + sum(self._seconds(self.now) for _ in range(part.steps))
            self.now += taken
            pace.took(part, taken)
            place = (place + part.steps) % steps_an_epoch
        return parts


SPEEDS = {
    "steady": lambda _: 0.01,
    "slow": lambda _: 2.0,
    "half as fast after a while": lambda now: 0.01 if now < 40 else 0.02,
    "twice as fast after a while": lambda now: 0.02 if now < 40 else 0.01,
    "another job every other ten seconds": lambda now: 0.01 if now % 20 < 10 else 0.025,
}


@pytest.mark.parametrize("seconds_a_step", SPEEDS.values(), ids=SPEEDS)
@pytest.mark.parametrize("steps_an_epoch", [3, 170, 5000])
@pytest.mark.parametrize("after", [0.0, 50.0])
def test_it_ends_on_time_with_the_cosine_at_zero(seconds_a_step, steps_an_epoch, after):
    machine = Machine(seconds_a_step, first=3.0)
    pace = Deadline(lambda: 200 - machine.now, after=after)
    parts = machine.run(pace, steps_an_epoch)
    left = 200 - machine.now - after * seconds_a_step(machine.now)
    assert -0.8 < left < max(1.5, 2 * seconds_a_step(machine.now))
    assert pace.progress == pytest.approx(1)
    assert np.all(np.diff([progress for progress, _ in parts]) > 0)


def test_the_cosine_falls_evenly_on_a_steady_machine():
    machine = Machine(lambda _: 0.01)
    parts = machine.run(Deadline(lambda: 100 - machine.now), 170)
    steps = np.cumsum([0, *(steps for _, steps in parts[:-1])])
    progress = np.array([progress for progress, _ in parts])
    assert progress == pytest.approx(steps / (steps[-1] + parts[-1][1]), abs=0.01)


def test_a_training_goes_on_from_where_its_cosine_was():
    machine = Machine(lambda _: 0.01)
    pace = Deadline(lambda: 10 - machine.now, progress=0.75)
    parts = machine.run(pace, 170)
    assert parts[0][0] == 0.75
    assert pace.progress == pytest.approx(1)


def test_one_step_is_taken_however_late_it_is():
    machine = Machine(lambda _: 5.0)
    pace = Deadline(lambda: -1 - machine.now)
    assert machine.run(pace, 170) == [(0.0, 1)]
    assert pace.progress == 1


def test_a_number_of_epochs_is_that_many_parts():
    assert Machine(lambda _: 1.0).run(Epochs(3, 10, done=1), 10) == [(1 / 3, 10), (2 / 3, 10)]
