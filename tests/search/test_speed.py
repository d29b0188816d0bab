"""What a network costs, by what was seen of others."""

import numpy as np
import pytest

from eas_tf.search.speed import Speed


def seen(*pairs):
    speed = Speed()
    for multiply_adds, seconds in pairs:
        speed.saw(multiply_adds, seconds)
    return speed


def test_one_network_tells_of_others_by_their_arithmetic_and_smaller_ones_take_no_less():
    assert seen((4_000_000, 3.8)).epoch(8_000_000) == pytest.approx(7.6)
    assert seen((4_000_000, 3.8)).epoch(1_000_000) == pytest.approx(3.8)


def test_several_networks_tell_how_much_of_the_time_is_arithmetic():
    """What was measured on two cores: from 4 to 38 million multiply-adds, 2,817 to 814 images a second."""
    measured = [(4_016_640, 3.83), (13_000_000, 5.55), (24_000_000, 8.48), (38_000_000, 13.27)]
    speed = seen(measured[0], measured[3])
    for multiply_adds, seconds in measured:
        assert speed.epoch(multiply_adds) == pytest.approx(seconds, rel=0.2)


def test_one_slow_moment_does_not_make_larger_networks_free():
    speed = seen((4_000_000, 9.0), (12_000_000, 5.0))
    costs = [speed.epoch(size) for size in (4_000_000, 12_000_000, 24_000_000, 100_000_000)]
    assert np.all(np.diff(costs[1:]) > 0)
    assert min(costs) > 1.0
