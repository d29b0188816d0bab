"""What size costs: the formula by hand, and its ends."""

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_tf.architecture import PlainCNN
from eas_tf.errors import InvalidConfiguration
from eas_tf.evaluation.price import Price

#: 1x1 images of one channel. Conv: n weights and 2n of batch norm; FC(m): nm + 2m; SM(2): 2m + 2.
IMAGE = (1, 1, 1)
SMALL = PlainCNN.parse("C(1,1,1), SM(2)", IMAGE)  # 3 + 4 = 7 weights, 1 + 2 = 3 multiplications
LARGE = PlainCNN.parse("C(5,1,1), FC(5), SM(2)", IMAGE)  # 15 + 35 + 12 = 62 weights, 5 + 25 + 10 = 40 multiplications


def test_the_price_of_known_networks():
    """Counted in the comments above, and multiplied by hand."""
    assert (SMALL.parameter_count, SMALL.multiply_adds) == (7, 3)
    assert (LARGE.parameter_count, LARGE.multiply_adds) == (62, 40)
    assert Price(parameters=1).score(0.8, LARGE, SMALL) == pytest.approx(0.8 * 7 / 62)
    assert Price(multiply_adds=1).score(0.8, LARGE, SMALL) == pytest.approx(0.8 * 3 / 40)
    assert Price(parameters=0.5, multiply_adds=2).score(0.8, LARGE, SMALL) == pytest.approx(
        0.8 * (7 / 62) ** 0.5 * (3 / 40) ** 2
    )
    assert Price(parameters=0.07).score(0.5, LARGE, SMALL) == pytest.approx(0.5 * (62 / 7) ** -0.07)


@given(st.floats(0, 1))
def test_without_a_price_the_score_is_the_accuracy_to_the_bit(accuracy):
    assert Price().score(accuracy, LARGE, SMALL) == accuracy
    assert Price(parameters=3, multiply_adds=2).score(accuracy, LARGE, LARGE) == accuracy


def test_a_smaller_network_gains_up_to_1():
    price = Price(parameters=0.07)
    assert price.score(0.5, SMALL, LARGE) == pytest.approx(0.5 * (62 / 7) ** 0.07)
    assert price.score(0.9, SMALL, LARGE) == 1
    assert price.score(0.0, SMALL, LARGE) == 0


@given(st.floats(0, 1), st.floats(0, 1e308), st.floats(0, 1e308))
def test_the_score_is_from_0_to_1_whatever_the_price(accuracy, parameters, multiply_adds):
    price = Price(parameters=parameters, multiply_adds=multiply_adds)
    dearer, cheaper = price.score(accuracy, LARGE, SMALL), price.score(accuracy, SMALL, LARGE)
    assert 0 <= dearer <= accuracy <= cheaper <= 1


@pytest.mark.parametrize("value", [-0.07, -inf, inf, nan, "1", None, 10**400])
@pytest.mark.parametrize("name", ["parameters", "multiply_adds"])
def test_what_is_no_price_is_refused_in_one_line(name, value):
    with pytest.raises(InvalidConfiguration, match=rf"^`price_{name}` must be a finite number, 0 or more\. Received: "):
        Price(**{name: value})
