"""The validation split, the normalisation and the fingerprint of a data set."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eas_tf.data import ImageData
from eas_tf.data.images import choose_validation
from eas_tf.errors import InvalidConfiguration, InvalidData


def arrays(count=60, classes=3, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "x_train": rng.integers(0, 256, (count, 5, 4, channels), dtype=np.uint8),
        "y_train": np.arange(count) % classes,
        "x_test": rng.integers(0, 256, (9, 5, 4, channels), dtype=np.uint8),
        "y_test": np.arange(9) % classes,
    }


def data(**overrides):
    return ImageData.from_arrays("own", arrays() | overrides, classes=3)


@given(st.lists(st.integers(0, 12), min_size=4, max_size=300), st.integers(0, 2**32))
@settings(deadline=None)
def test_the_split_is_stratified_disjoint_and_of_the_promised_size(labels, seed):
    labels = np.array(labels)
    chosen = choose_validation(labels, seed=seed)
    assert len(chosen) == len(labels) // 4
    assert (np.diff(chosen) > 0).all()
    assert chosen[0] >= 0
    assert chosen[-1] < len(labels)
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        held_out = (labels[chosen] == label).sum()
        assert abs(held_out - count * len(chosen) / len(labels)) < 1
        assert held_out < max(count, 2), "a class with two images must keep one to train on"


@pytest.mark.parametrize(("count", "size"), [(3_999, 999), (4_000, 400), (50_000, 5_000), (73_257, 7_325)])
def test_a_tenth_is_held_out_and_a_quarter_of_a_small_set(count, size):
    """CIFAR-10's 50,000 training images give the paper's 45,000 and 5,000."""
    assert len(choose_validation(np.arange(count) % 10)) == size


def test_the_seed_fixes_the_split_and_another_seed_gives_another():
    labels = np.arange(1_000) % 10
    np.testing.assert_array_equal(choose_validation(labels, seed=7), choose_validation(labels, seed=7))
    assert not np.array_equal(choose_validation(labels, seed=7), choose_validation(labels, seed=8))


def test_a_negative_seed_or_too_few_images_are_refused():
    with pytest.raises(InvalidConfiguration, match="Received: -1"):
        choose_validation(np.zeros(10, int), seed=-1)
    with pytest.raises(InvalidData, match="Received: 3"):
        choose_validation(np.zeros(3, int))


def test_the_two_parts_are_the_original_images_in_their_order():
    source = arrays()
    split = ImageData.from_arrays("own", source, classes=3)
    kept = np.setdiff1d(np.arange(60), split.validation_indices)
    for part, indices in (("train", kept), ("val", split.validation_indices)):
        np.testing.assert_array_equal(getattr(split, f"x_{part}"), source["x_train"][indices])
        np.testing.assert_array_equal(getattr(split, f"y_{part}"), source["y_train"][indices])
    assert split.y_train.dtype == split.y_val.dtype == split.y_test.dtype == np.int32
    assert split.input_shape == (5, 4, 3)


def test_the_normalisation_comes_from_the_training_images_only():
    """The reference is NumPy's mean and standard deviation in float64; float32 keeps seven digits of it."""
    split = data()
    np.testing.assert_allclose(split.mean, split.x_train.mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(split.std, split.x_train.std(axis=(0, 1, 2)), rtol=1e-6)
    assert all(value == float(np.float32(value)) for value in split.mean + split.std)
    source = arrays()
    source["x_train"][split.validation_indices] = 255
    assert data(x_train=source["x_train"], x_test=np.zeros_like(source["x_test"])).mean == split.mean


def test_moments_of_more_pixels_than_are_counted_at_once():
    x = np.random.default_rng(0).integers(0, 256, (60, 200, 200, 1), dtype=np.uint8)
    split = ImageData.from_arrays("own", {"x_train": x, "y_train": np.arange(60) % 3}, classes=3)
    np.testing.assert_allclose(split.mean, split.x_train.mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(split.std, split.x_train.std(axis=(0, 1, 2)), rtol=1e-6)


def test_a_constant_channel_divides_by_one():
    x = arrays()["x_train"]
    x[..., 1] = 17
    split = data(x_train=x)
    assert split.mean[1] == 17
    assert split.std[1] == 1


def test_without_standardising_pixels_are_divided_by_255():
    split = ImageData.from_arrays("own", arrays(), classes=3, standardise=False)
    assert split.mean == (0, 0, 0)
    assert split.std == (255, 255, 255)


def test_the_fingerprint_sees_all_that_training_sees_and_nothing_of_the_test_images():
    source = arrays()
    split = data()
    assert data().fingerprint == split.fingerprint
    assert len(split.fingerprint) == 64
    x, y = source["x_train"].copy(), source["y_train"].copy()
    x[int(split.validation_indices[0]), 0, 0, 0] ^= 1
    y[[0, 1]] = y[[1, 0]]
    others = [
        data(x_train=x),
        data(y_train=y),
        data(x_train=source["x_train"][::-1]),
        data(x_train=source["x_train"].reshape(60, 4, 5, 3)),
        ImageData.from_arrays("own", source, classes=4),
        ImageData.from_arrays("own", source, classes=3, validation_seed=1),
        ImageData.from_arrays("own", source, classes=3, standardise=False),
    ]
    assert len({other.fingerprint for other in [*others, split]}) == len(others) + 1
    assert data(x_test=source["x_test"] ^ 1).fingerprint == split.fingerprint
    assert ImageData.from_arrays("renamed", source, classes=3).fingerprint == split.fingerprint


@pytest.mark.parametrize("name", ["x_train", "y_train", "x_val", "y_val"])
def test_the_fingerprint_sees_one_changed_element_of_each_array(name):
    changed = getattr(data(), name).copy()
    changed[-1] ^= 1
    assert replace(data(), **{name: changed}).fingerprint != data().fingerprint


def test_arrays_are_read_only_and_the_callers_stay_writable():
    source = arrays()
    split = ImageData.from_arrays("own", source, classes=3)
    for name in ("x_train", "y_train", "x_val", "y_val", "x_test", "y_test", "validation_indices"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(split, name)[0] = 0
    source["x_test"][0] = 0
