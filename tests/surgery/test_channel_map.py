"""Eqs. 1 to 3: which channel each new channel repeats, and with which share."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_tf.errors import IllegalTransformation
from eas_tf.surgery import ChannelMap
from eas_tf.surgery.channel_map import EQUAL_PART


@st.composite
def maps(draw: st.DrawFn) -> tuple[ChannelMap, int]:
    old, more, seed = draw(st.integers(1, 40)), draw(st.integers(1, 80)), draw(st.integers(0, 2**32))
    drawn = ChannelMap.draw(old, old + more, rng=np.random.default_rng(seed), equal_shares=draw(st.booleans()))
    return drawn, old


@given(maps())
def test_every_original_is_there_and_replicas_follow_it(case):
    drawn, old = case
    assert drawn.source.tolist() == sorted(drawn.source.tolist())
    assert set(drawn.source.tolist()) == set(range(old))
    assert drawn.source[~drawn.is_replica].tolist() == list(range(old))


@given(maps())
def test_shares_are_positive_with_a_floor_and_sum_to_one_over_the_replicas_of_each_source(case):
    drawn, old = case
    replicas = np.bincount(drawn.source)
    assert drawn.share.dtype == np.float64
    assert (drawn.share >= EQUAL_PART / replicas[drawn.source]).all()
    np.testing.assert_allclose(np.bincount(drawn.source, weights=drawn.share), np.ones(old), rtol=0, atol=1e-12)


def test_equal_shares_are_one_over_the_number_of_replicas():
    """Eq. 3."""
    drawn = ChannelMap.draw(3, 11, rng=np.random.default_rng(5), equal_shares=True)
    replicas = [drawn.source.tolist().count(source) for source in drawn.source]
    np.testing.assert_allclose(drawn.share, 1 / np.array(replicas), rtol=1e-15)


def test_unequal_shares_tell_replicas_apart():
    drawn = ChannelMap.draw(1, 6, rng=np.random.default_rng(5), equal_shares=False)
    assert len(set(drawn.share.tolist())) == 6


def test_replicas_are_drawn_uniformly():
    """6,000 replicas of 3 channels: 2,000 each, standard deviation sqrt(6000 * 1/3 * 2/3) = 37."""
    drawn = ChannelMap.draw(3, 6003, rng=np.random.default_rng(0), equal_shares=True)
    assert np.abs(np.bincount(drawn.source) - 2001).max() < 4 * 37


@pytest.mark.parametrize("new", [-1, 0, 3, 4])
def test_not_wider_is_refused(new):
    with pytest.raises(IllegalTransformation, match=f"more than the 4 channels.*Received: {new}"):
        ChannelMap.draw(4, new, rng=np.random.default_rng(0), equal_shares=False)


def test_hand_written_widening_of_a_dense_layer():
    """Eqs. 1 to 3 for x W V with W = [[1, 2], [3, 4]], V = [[10], [100]], and a third unit that repeats the second.

    The second unit's weight of 100 is shared 1 to 3. x = [1, 1] gives [4, 6], then 40 + 600 = 640; widened [4, 6, 6],
    then 40 + 6 * 25 + 6 * 75 = 640.
    """
    channel_map = ChannelMap(np.array([0, 1, 1]), np.array([1, 0.25, 0.75]))
    first = channel_map.select(np.array([[1.0, 2.0], [3.0, 4.0]]))
    second = channel_map.absorb(np.array([[10.0], [100.0]]))
    assert first.tolist() == [[1, 2, 2], [3, 4, 4]]
    assert second.tolist() == [[10], [25], [75]]
    assert (np.array([1.0, 1.0]) @ first @ second).tolist() == [640]


@given(maps(), st.sampled_from([(), (3,), (3, 5)]))
def test_absorbing_a_map_keeps_the_product(case, taps):
    """`x @ K` in float64, for dense kernels `[in, out]` and for each tap of convolutions `[kh, kw, in, out]`."""
    drawn, old = case
    rng = np.random.default_rng(0)
    inputs, kernel = rng.normal(size=(4, old)), rng.normal(size=(*taps, old, 7))
    product = inputs @ kernel
    widened = drawn.select(inputs) @ drawn.absorb(kernel)
    np.testing.assert_allclose(widened, product, rtol=0, atol=1e-13 * np.abs(inputs).max() * np.abs(kernel).sum())


@given(maps())
def test_kernels_keep_their_dtype_and_are_not_written_to(case):
    drawn, old = case
    kernel = np.ones((old, 2), np.float32)
    kernel.setflags(write=False)
    assert drawn.absorb(kernel).dtype == np.float32
    assert drawn.select(kernel.T).dtype == np.float32


@given(st.integers(0, 2**32), st.booleans())
def test_the_same_seed_draws_the_same_map(seed, equal_shares):
    first, second = (
        ChannelMap.draw(5, 12, rng=np.random.default_rng(seed), equal_shares=equal_shares) for _ in range(2)
    )
    np.testing.assert_array_equal(first.source, second.source)
    np.testing.assert_array_equal(first.share, second.share)
