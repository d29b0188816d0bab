"""What a network costs, by what was seen of others."""

import numpy as np
import pytest

from eas_tf.architecture import PlainCNN
from eas_tf.architecture.work import work
from eas_tf.search.speed import Speed

END = "P(2,2,MAX), C(64,3,1), P(2,2,MAX), C(128,3,1), P(4,4,AVG), FC(256), SM(10)"


def network(widths, kernel=3):
    layers = ", ".join(f"C({width},{kernel},1)" for width in widths)
    return PlainCNN.parse(f"C(16,3,1), P(2,2,MAX), {layers}, {END}")


START, LARGER = network([32]), network([64, 64])


def seen(*pairs):
    speed = Speed()
    for architecture, seconds in pairs:
        speed.saw(architecture, seconds)
    return speed


def test_one_network_tells_of_others_by_their_work_and_smaller_ones_take_no_less():
    speed = seen((START, 4.0))
    assert 4.0 < speed.epoch(LARGER) < 4.0 * LARGER.multiply_adds / START.multiply_adds
    assert seen((LARGER, 4.0)).epoch(START) == pytest.approx(4.0)


def test_networks_on_two_cores_take_what_was_measured():
    """10,800 images an epoch, of networks between the two that the line goes through."""
    rates = {
        "C(16,3,1), C(16,3,1), P(2,2,MAX), C(32,3,1), C(32,3,1), P(2,2,MAX), C(64,3,1), C(64,3,1), P(2,2,MAX), "
        "C(128,3,1), C(128,3,1), P(4,4,AVG), FC(256), SM(10)": 1238,
        "C(32,3,1), P(2,2,MAX), C(32,1,1), C(64,1,1), C(32,3,1), C(16,3,1), C(128,3,1), P(2,2,MAX), C(96,1,1), "
        "C(96,3,1), P(2,2,MAX), C(192,3,1), P(4,4,AVG), FC(512), SM(10)": 806,
        "C(16,3,1), P(2,2,MAX), C(64,3,1), C(64,3,1), P(2,2,MAX), C(128,3,1), C(128,3,1), P(2,2,MAX), C(256,3,1), "
        "P(4,4,AVG), FC(256), SM(10)": 818,
    }
    large = PlainCNN.parse(
        "C(32,3,1), C(32,3,1), P(2,2,MAX), C(64,3,1), C(64,3,1), P(2,2,MAX), C(128,3,1), C(128,3,1), P(2,2,MAX), "
        "C(256,3,1), P(4,4,AVG), FC(256), SM(10)"
    )
    speed = seen((START, 10_800 / 2965), (large, 10_800 / 488))
    for layers, rate in rates.items():
        assert speed.epoch(PlainCNN.parse(layers)) == pytest.approx(10_800 / rate, rel=0.15)


def test_one_slow_moment_does_not_make_larger_networks_free():
    networks = [START, network([64]), LARGER, network([256, 256])]
    speed = seen((START, 9.0), (networks[1], 5.0))
    costs = [speed.epoch(each) for each in networks]
    assert np.all(np.diff(costs[1:]) > 0)
    assert min(costs) > 1.0


def test_the_work_of_so_many_seconds_is_that_of_the_largest_network_that_takes_no_longer():
    speed = seen((START, 4.0), (network([256, 256]), 30.0))
    for each in (START, LARGER, network([256])):
        assert speed.work(speed.epoch(each)) == pytest.approx(work(each), rel=1e-3)
    assert speed.work(24.0) > speed.work(12.0)
    assert speed.work(0.0) == 1
