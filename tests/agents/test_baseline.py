import pytest

from eas_tf.agents.baseline import MovingAverage


def test_there_is_no_average_of_nothing():
    assert MovingAverage(0.95).value is None


def test_by_hand_with_decay_one_half():
    """After 1, 4 and 7: (1/4 * 1 + 1/2 * 4 + 1 * 7) / (1/4 + 1/2 + 1) = 9.25 / 1.75; after 1 and 4: 4.5 / 1.5 = 3."""
    average = MovingAverage(0.5)
    assert [average.update(value) for value in (1.0, 4.0, 7.0)] == pytest.approx([1.0, 3.0, 9.25 / 1.75])
    assert average.value == pytest.approx(5.2857142857)


def test_it_is_the_bias_corrected_form_of_the_usual_recursion():
    """m = decay * m + (1 - decay) * x from m = 0, divided by 1 - decay^k, as Adam corrects its moments."""
    average, moment = MovingAverage(0.95), 0.0
    for count, value in enumerate((2.0, -1.0, 5.0, 5.0), start=1):
        moment = 0.95 * moment + 0.05 * value
        assert average.update(value) == pytest.approx(moment / (1 - 0.95**count))


def test_a_constant_reward_is_its_own_average_from_the_start():
    average = MovingAverage(0.95)
    assert [average.update(3.0) for _ in range(5)] == pytest.approx([3.0] * 5)


def test_the_codes_reading_follows_each_batch_at_once():
    """Decay 0.05 after means 1 and 2: 0.05 and 1 as weights, (0.05 + 2) / 1.05 = 1.952 (the code: 1.950)."""
    average = MovingAverage(0.05)
    average.update(1.0)
    assert average.update(2.0) == pytest.approx(2.05 / 1.05)
