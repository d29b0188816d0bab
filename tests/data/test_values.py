"""What the values of a user's arrays mean: what is taken, and that each refusal's advice leads to a file that loads."""

import re

import numpy as np
import pytest

from eas_tf.architecture import space_named
from eas_tf.data import ImageData, load
from eas_tf.errors import InvalidData
from eas_tf.evaluation.fit import check_fits

RNG = np.random.default_rng(0)
X, Y = RNG.integers(0, 256, (48, 6, 8, 1)).astype(np.uint8), np.arange(48) % 3
#: The whole range in each part, so that nothing depends on which images are drawn.
X[:, 0, 0], X[:, 0, 1] = 0, 255
UNIT, WORDS = X / 255, np.array(["owl", "cat", "dög"])[Y]


def save(path, **arrays):
    np.savez(path, **({"x_train": X, "y_train": Y} | arrays))
    return path


def both(x, y):
    """The same for training and testing."""
    return {"x_train": x, "y_train": y, "x_test": x[:9], "y_test": y[:9]}


IMAGES_TAKEN = {
    "int64": (X.astype(np.int64), 1),
    "uint16": (X.astype(np.uint16), 1),
    "whole floats": (X.astype(np.float16), 1),
    "fractions to 255": (X + np.where(X > 200, -0.25, 0.25), 1),
    "0 to 1": (UNIT, 255),
    "0 to 1 in float16": (UNIT.astype(np.float16), 255),
    "big-endian": (UNIT.astype(">f4"), 255),
    "masks": (X > 100, None),
    "masks as floats": ((X > 100).astype(np.float32), None),
}


@pytest.mark.parametrize("case", IMAGES_TAKEN)
def test_images_with_one_meaning_are_the_same_as_in_8_bits(case, tmp_path):
    images, factor = IMAGES_TAKEN[case]
    expected = load(save(tmp_path / "8.npz", **both(X if factor else (X > 100).astype(np.uint8), Y)))
    found = load(save(tmp_path / "mine.npz", **both(images, Y)))
    assert found.fingerprint == expected.fingerprint
    assert found.factor == (factor or 1)
    assert bool(found.note) == (factor == 255)
    np.testing.assert_array_equal(found.x_test, expected.x_test)


LABELS_TAKEN = {
    "words": (WORDS, np.array([2, 0, 1])[Y], ("cat", "dög", "owl")),
    "bytes": (np.char.encode(WORDS, "utf-8"), np.array([2, 0, 1])[Y], ("cat", "dög", "owl")),
    "whole floats": (Y.astype(np.float32), Y, ()),
    "booleans": (Y > 0, (Y > 0).astype(int), ("False", "True")),
    "numbers as words": ((np.arange(48) % 12).astype(str), np.arange(48) % 12, ()),
    "other numbers as words": (np.array(["7", "10", "8"])[Y], np.array([1, 0, 2])[Y], ("10", "7", "8")),
    "a column": (WORDS[:, None], np.array([2, 0, 1])[Y], ("cat", "dög", "owl")),
}


@pytest.mark.parametrize("case", LABELS_TAKEN)
def test_labels_are_taken_and_their_names_kept(case, tmp_path):
    labels, numbers, names = LABELS_TAKEN[case]
    found = load(save(tmp_path / "mine.npz", **both(X, labels)))
    assert found.fingerprint == load(save(tmp_path / "numbers.npz", **both(X, numbers))).fingerprint
    np.testing.assert_array_equal(found.y_test, numbers[:9])
    assert found.class_names == names
    found.save(tmp_path / "worker.npz")
    assert ImageData.load(tmp_path / "worker.npz").class_names == names


@pytest.mark.parametrize("shape", [(8, 8, 2), (8, 8, 4), (5, 5, 5), (8, 10, 10), (7, 20, 16), (12, 5, 16), (9, 9, 99)])
def test_any_number_of_channels_is_taken(shape, tmp_path):
    images = RNG.integers(0, 256, (48, *shape)).astype(np.uint8)
    assert load(save(tmp_path / "mine.npz", x_train=images)).input_shape == shape


def spoilt(images, places, value=np.nan):
    images = images.astype(np.float32)
    images.reshape(len(images), -1)[places, 3] = value
    return images


MULTI = np.eye(3, dtype=int)[Y]
MULTI[::4, 0] = 1
REFUSED = {
    "uint16": both(X.astype(np.uint16) * 257, Y),
    "12 bits": both(X.astype(np.uint16) * 16, Y),
    "int16": both((X.astype(np.int16) - 128) * 256, Y),
    "int64": both((X.astype(np.int64) - 99) << 40, Y),
    "standardised": both((UNIT - 0.5) / 0.3, Y),
    "float16": both((UNIT * 65_000).astype(np.float16), Y),
    "0 to 2": both(UNIT * 2, Y),
    "-1 to 1": both(UNIT * 2 - 1, Y),
    "grey": both((UNIT * 2 - 1)[..., 0], Y),
    "a pixel that says none": both(spoilt(UNIT * 9 + 1, [7], -9999), Y),
    "no test images": {"x_train": UNIT * 9 - 4},
    "test 0 to 1": {**both(X, Y), "x_test": UNIT[:9]},
    "test standardised": {**both(X, Y), "x_test": UNIT[:9] * 2 - 1},
    "training standardised": {**both(UNIT * 2 - 1, Y), "x_test": X[:9]},
    "NaN": both(spoilt(UNIT, [11]), Y),
    "NaN in grey": {"x_train": spoilt(X, [11, 12])[..., 0]},
    "infinite": both(spoilt(UNIT, [4], -np.inf), Y),
    "NaN everywhere": both(spoilt(UNIT, slice(None)), Y),
    "NaN and standardised": both(spoilt(UNIT * 2 - 1, [11]), Y),
    "NaN and whole": both(spoilt(X // 4, slice(None)), Y),
    "channels first": both(np.repeat(X, 3, 3).transpose(0, 3, 1, 2), Y),
    "4 channels first": both(np.repeat(X, 4, 3).transpose(0, 3, 1, 2), Y),
    "17 channels first": both(np.repeat(X.repeat(3, 1), 3, 2).repeat(17, 3).transpose(0, 3, 1, 2), Y),
    "from 1": both(X, Y + 1),
    "negative": both(X, Y - 1),
    "gap": both(X, Y * 2),
    "gap as floats in a column": both(X, (Y * 2.0)[:, None]),
    "other test labels": {**both(X, Y), "y_test": np.arange(9)},
    "gap and other test labels": {**both(X, Y * 2), "y_test": np.arange(9)},
    "no test label is known": {**both(X, Y), "y_test": Y[:9] + 10},
    "test numbers": {**both(X, WORDS), "y_test": Y[:9]},
    "test words": {**both(X, WORDS), "y_test": np.array(["cat", "fox", "owl"] * 3)},
    "one image of a class": both(X, np.r_[Y[:9], 7, Y[10:]]),
    "one image of a word": both(X, np.r_[WORDS[:3], ["fox"], WORDS[4:]]),
    "one-hot": both(X, np.eye(3)[Y]),
    "one-hot, training only": {**both(X, Y), "y_train": np.eye(3, dtype=bool)[Y]},
    "one-hot with an empty column": both(X, np.eye(5)[Y * 2]),
    "shares": both(X, np.eye(3)[Y] * 0.7 + 0.1),
    "several labels": both(X, MULTI),
    "halves": both(X, Y / 2),
    "labels missing": both(X, np.where(np.arange(48) == 5, np.nan, Y)),
    "objects": both(X, WORDS.astype(object)),
}


def follow(message, arrays, folder):
    """Do just what a message says."""
    code = re.search(r"run (.*np\.savez\('new\.npz', .*\))\. Received: ", message)[1]
    exec(code.replace("'new.npz'", repr(str(folder / "new.npz"))), {"np": np, **arrays})
    return dict(np.load(folder / "new.npz"))


def told(path):
    """What is said of a file; empty if it can be trained on."""
    try:
        data = load(path)
    except InvalidData as error:
        return str(error)
    assert len(data.x_train) + len(data.x_val) >= 30
    assert data.x_train.std() > 10
    return ""


@pytest.mark.parametrize("case", REFUSED)
def test_the_advice_of_every_refusal_leads_to_images_that_load(case, tmp_path):
    arrays = {"y_train": Y, **REFUSED[case]}
    message = told(save(tmp_path / "mine.npz", **arrays))
    assert message
    for _ in range(2):  # Values that are wrong in two ways are mended one after the other.
        assert message.isprintable()
        assert "Received: " in message
        arrays = follow(message, arrays, tmp_path)
        if not (message := told(tmp_path / "new.npz")):
            break
    assert message == ""


@pytest.mark.parametrize("case", ["uint16", "12 bits", "int16", "0 to 2", "-1 to 1", "test 0 to 1", "4 channels first"])
def test_advice_keeps_the_images(case, tmp_path):
    mended = follow(told(save(tmp_path / "mine.npz", **REFUSED[case])), REFUSED[case], tmp_path)
    for name, count in (("x_train", 48), ("x_test", 9)):
        np.testing.assert_array_equal(mended[name][..., :1], X[:count])


NONE = {
    "-9999": [-9999],
    "-9999.9": [-9999.9],
    "65535": [65535],
    "-32768": [-32768],
    "1e20": [1e20],
    "lowest of 32 bits": [np.finfo(np.float32).min],
    "two": [-9999, 65535],
    "three": [-32768, -9999, 1e20],
}
CONTENT = {
    "0 to 1": UNIT,
    "0 to 1 in 32 bits": UNIT.astype(np.float32),
    "0 to 255": X / 1.0,
    "dark": UNIT / 1000,
    "-1 to 1": UNIT * 2 - 1,
    "0 to 4": UNIT * 4,
    "int16": X.astype(np.int16) * 4,
    "uint16": X.astype(np.uint16) * 16,
    "int32": X.astype(np.int32) * 2 - 250,
    "masks": X // 128 * 255.0,
}


def without_some(images, values, share, seed=0):
    """Images with values that stand for none, and where these are."""
    images, none = images.copy(), np.random.default_rng(seed).random(images.shape) < share
    none[0, -1, -1] = True
    images[none] = np.resize(np.array(values).astype(images.dtype), none.sum())
    return images, none


def holds(images, values):
    return images.dtype.kind == "f" or all(np.can_cast(np.min_scalar_type(each), images.dtype) for each in values)


@pytest.mark.parametrize("share", [0.0001, 0.05, 0.4])
@pytest.mark.parametrize(
    ("case", "none"), [(case, none) for case in CONTENT for none in NONE if holds(CONTENT[case], NONE[none])]
)
def test_values_that_stand_for_none_do_not_spoil_the_others(case, none, share, tmp_path):
    images, values = CONTENT[case], NONE[none]
    train, missing = without_some(images, values, share)
    arrays = {**both(train, Y), "x_val": without_some(images, values, share, 1)[0], "y_val": Y}
    arrays["x_test"] = images[:9]  # Without any.
    mended = follow(told(save(tmp_path / "mine.npz", **arrays)), arrays, tmp_path)
    assert told(tmp_path / "new.npz") == ""
    expected = X if case != "masks" else X // 128 * 255
    scale = np.ptp(images[~missing]) / np.ptp(images)
    assert abs(mended["x_train"][~missing] * scale - expected[~missing]).max() <= 1 + 255 * (1 - scale)
    assert len(np.unique(mended["x_train"][missing])) == 1
    if case in ("0 to 1", "0 to 255", "masks"):
        np.testing.assert_array_equal(mended["x_test"], expected[:9])


def test_columns_that_are_empty_are_not_all_that_is_looked_at(tmp_path, monkeypatch):
    """Of 2,304 values every 36th would be in one of these two columns."""
    monkeypatch.setattr("eas_tf.data.ranges._SAMPLE", 64)
    images = UNIT.copy()
    images[:, :, [0, 4]] = -9999
    mended = follow(told(save(tmp_path / "mine.npz", x_train=images)), {"x_train": images, "y_train": Y}, tmp_path)
    np.testing.assert_array_equal(np.delete(mended["x_train"], [0, 4], 2), np.delete(X, [0, 4], 2))


def test_no_line_is_offered_where_it_would_leave_nothing_of_the_images(tmp_path):
    """Images that were scaled with -9999 in them have values everywhere between."""
    images, none = without_some(UNIT, [-9999], 0.05)
    near = np.roll(none, 1, axis=2) & ~none
    images[near] -= 9999 * RNG.random(near.sum())
    assert "far from most: save the images without" in told(save(tmp_path / "mine.npz", x_train=images))


def test_the_lightest_of_dark_images_is_no_value_for_none(tmp_path):
    """Far, but no farther than twice the range of the others."""
    mended = follow(
        told(save(tmp_path / "mine.npz", x_train=UNIT * 9 + 17 * (X == 255))),
        {"x_train": UNIT * 9 + 17 * (X == 255), "y_train": Y},
        tmp_path,
    )
    assert (mended["x_train"][X == 255] == 255).all()
    assert len(np.unique(mended["x_train"])) > 60


def test_a_part_in_other_units_is_left_out(tmp_path):
    for train, test in ((UNIT, UNIT / 255), (UNIT / 255, UNIT), (UNIT * 4000, UNIT * 2 - 1), (UNIT, UNIT * 0 - 9999)):
        arrays = {**both(train, Y), "x_test": test[:9]}
        message = told(save(tmp_path / "mine.npz", **arrays))
        assert "prepare x_test as x_train was" in message
        assert list(follow(message, arrays, tmp_path)) == ["x_train", "y_train"]


FEW_LEVELS = {
    "divided twice": UNIT / 255,
    "0 to 0.01": UNIT / 100,
    "0 to 1e-5": UNIT / 1e5,
    "0 to 1e-300": UNIT / 1e300,
    "0 to 0.05 in 16 bits": (UNIT / 20).astype(np.float16),
    "0.5 to 0.51": UNIT / 100 + 0.5,
    "200 to 201": UNIT + 200,
    "0 to 1 and 255": np.where(np.arange(48).reshape(6, 8, 1) == 9, 255, UNIT),
    "0 to 0.01 and 1": np.where(np.arange(48).reshape(6, 8, 1) == 9, 1, UNIT / 100),
}


@pytest.mark.parametrize("case", FEW_LEVELS)
def test_fractions_that_8_bits_do_not_tell_apart_are_refused_with_a_rule_that_does(case, tmp_path):
    arrays = both(FEW_LEVELS[case], Y)
    message = told(save(tmp_path / "mine.npz", **arrays))
    assert "not most of them within 16 of 256 levels" in message
    mended = follow(message, arrays, tmp_path)
    assert told(tmp_path / "new.npz") == ""
    for name, images in (("x_train", X), ("x_test", X[:9])):
        changed = np.delete(abs(mended[name].astype(int) - images).reshape(-1, 48), 9, 1)
        assert changed.max() <= 2


@pytest.mark.parametrize(
    "images", [UNIT / 10, UNIT / 10 + 0.4, X // 16 / 255, np.float16(X // 16 / 255), UNIT * 50 + 90, (UNIT > 0.9) / 255]
)
def test_dark_images_are_taken_where_8_bits_tell_them_apart(images, tmp_path):
    images = np.round(images, 9) if images.dtype != np.float16 else images
    factor = 255 if images.max() <= 1 else 1
    data = load(save(tmp_path / "mine.npz", x_train=images, x_val=images, y_val=Y))
    np.testing.assert_array_equal(data.x_train, np.rint(images.astype(float) * factor))


def test_sparse_images_are_taken(tmp_path):
    for images in (
        np.where(X == 255, 1, UNIT / 1000 * (X < 9)),
        np.where(X > 99, 1, UNIT / 1e9),
        np.where(X > 99, UNIT, 0),
        UNIT**9,
    ):
        assert load(save(tmp_path / "mine.npz", x_train=images)).factor == 255


@pytest.mark.parametrize(("low", "high"), [(-1.7e308, 1.7e308), (-1.7e308, 1e308), (0, 1.7e308), (-5e307, 1.7e308)])
def test_the_whole_range_of_64_bits_is_scaled(low, high, tmp_path):
    arrays = both(low * (1 - UNIT) + high * UNIT, Y)
    mended = follow(told(save(tmp_path / "mine.npz", **arrays)), arrays, tmp_path)
    np.testing.assert_array_equal(mended["x_train"], X)
    np.testing.assert_array_equal(mended["x_test"], X[:9])


def test_advice_numbers_test_labels_as_training_labels(tmp_path):
    arrays = {**both(X, Y * 2), "y_test": np.array([4, 3, 0, 2, 4, 4, 0, 1, 2])}
    mended = follow(told(save(tmp_path / "mine.npz", **arrays)), arrays, tmp_path)
    np.testing.assert_array_equal(mended["y_train"], Y)
    np.testing.assert_array_equal(mended["y_test"], [2, 0, 1, 2, 2, 0, 1])
    np.testing.assert_array_equal(mended["x_test"], X[[0, 2, 3, 4, 5, 6, 8]])


FRACTIONS = np.array([0.1, 0.3, 0.7])
EQUAL_LABELS = {
    "32 bits": (np.float32(FRACTIONS), FRACTIONS),
    "64 bits": (FRACTIONS, np.float32(FRACTIONS)),
    "16 bits": (FRACTIONS, np.float16(FRACTIONS)),
    "big-endian": (FRACTIONS.astype(">f4"), FRACTIONS),
    "rounded": (FRACTIONS, np.array([0.1, 0.1 + 0.2, 0.1 * 7])),
    "in 32 bits before": (FRACTIONS, np.float32(FRACTIONS).astype(float)),
    "rounded in 32 bits": (FRACTIONS, np.float32(0.1) * np.float32([1, 3, 7])),
    "whole": (np.array([0.5, 1, 2]), np.array([2, 1, 2])),
    "much alike": (np.array([1, 1 + 1e-9, 1.5]), np.array([1, 1 + 1e-9, 1.5])),
    "large": (2.0**53 + np.array([2, 4, 6]), 2.0**53 + np.array([2, 4, 6])),
}


@pytest.mark.parametrize("part", ["val", "test"])
@pytest.mark.parametrize("case", EQUAL_LABELS)
def test_advice_gives_equal_labels_the_same_class(case, part, tmp_path):
    train, other = EQUAL_LABELS[case]
    numbers = Y[:9] if case != "whole" else np.array([2, 1, 2])[Y[:9]]
    arrays = {"x_train": X, "y_train": train[Y], f"x_{part}": X[:9], f"y_{part}": other[Y[:9]]}
    follow(told(save(tmp_path / "mine.npz", **arrays)), arrays, tmp_path)
    data = load(tmp_path / "new.npz")
    assert data.classes == 3
    np.testing.assert_array_equal(getattr(data, f"y_{part}"), numbers)


NAN = {"all": 0, "all but one": 1, "all but a few": 4}


@pytest.mark.parametrize("part", ["val", "test"])
@pytest.mark.parametrize("case", NAN)
def test_a_part_without_values_is_left_out(case, part, tmp_path):
    images = np.full((9, 48), np.nan)
    images[:, : NAN[case]] = 0.5
    arrays = {"x_train": UNIT, "y_train": Y, f"x_{part}": images.reshape(9, 6, 8, 1), f"y_{part}": Y[:9]}
    message = told(save(tmp_path / "mine.npz", **arrays))
    assert f"nearly all of x_{part}" in message
    assert list(follow(message, arrays, tmp_path)) == ["x_train", "y_train"]
    assert told(tmp_path / "new.npz") == ""


def test_images_without_values_are_left_out_where_many_are_mended(tmp_path):
    train, test = spoilt(UNIT, slice(None, None, 2)), spoilt(UNIT[:9], [1])
    train[:8], test[:4] = np.nan, np.nan
    arrays = {**both(train, Y), "x_test": test, "groups_train": np.arange(48) // 2}
    mended = follow(told(save(tmp_path / "mine.npz", **arrays)), arrays, tmp_path)
    assert told(tmp_path / "new.npz") == ""
    assert len(mended["groups_train"]) == 40
    for images, expected in ((mended["x_train"], UNIT[8:]), (mended["x_test"], UNIT[4:9])):
        np.testing.assert_allclose(np.delete(images.reshape(-1, 48), 3, 1), np.delete(expected.reshape(-1, 48), 3, 1))


def test_what_is_put_in_place_of_nan_is_a_value_of_the_others(tmp_path):
    """The mean would be -1,000 with some -9999, and infinite of large numbers."""
    for images in (np.where(X < 30, -9999, X / 1.0), (UNIT * 2 - 1) * 1.7e308):
        arrays = both(np.where(np.arange(48).reshape(6, 8, 1) == 3, np.nan, images), Y)
        mended = follow(told(save(tmp_path / "mine.npz", **arrays)), arrays, tmp_path)["x_train"]
        assert np.isin(mended, images).all()


def test_values_that_are_not_finite_are_counted_and_located(tmp_path):
    message = told(save(tmp_path / "mine.npz", x_train=spoilt(UNIT, [11, 20])))
    assert "2 of 2,304 values of x_train in 2 of 48 images, first in x_train[11]" in message


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"y_train": MULTI[::-1] + 1}, ["one label an image", "softmax", "4 to 5 labels an image", "one class number"]),
        ({"y_train": RNG.standard_normal(48)}, ["measurements cannot be learned"]),
        ({"y_train": np.arange(48) * 3}, ["a label of its own"]),
        ({"x_train": np.full_like(UNIT, np.nan)}, ["all of x_train"]),
        ({"x_train": np.full_like(UNIT, -3)}, ["all values are -3"]),
        ({"x_train": UNIT.astype(complex)}, ["uint8 or numbers", "complex128"]),
        ({"y_train": np.zeros((48, 2), "U3")}, ["one label an image", "<U3 [48, 2]"]),
        ({"x_train": np.array([X[0], X[0, :2]], dtype=object)}, ["one size", "np.stack"]),
    ],
)
def test_what_no_program_can_mend_is_refused_with_the_reason(arrays, words, tmp_path):
    message = told(save(tmp_path / "mine.npz", **arrays))
    for word in words:
        assert word in message, message


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ((UNIT * 0.99).astype(np.uint8), ["0 in every pixel", "np.round(x * 255).astype(np.uint8)"]),
        (np.repeat(X[:1], 48, 0), ["the same image each time", "one array may have been written for each"]),
    ],
)
def test_images_that_are_all_equal_are_refused_with_the_likely_cause(images, words, tmp_path):
    for part, arrays in (("training", both(images, Y)), ("test", {**both(X, Y), "x_test": images[:9]})):
        data = load(save(tmp_path / "mine.npz", **arrays))
        with pytest.raises(InvalidData, match=f"The {part} images of mine.npz are all equal") as caught:
            check_fits(space_named("digits").start_network(data.input_shape, data.classes), data)
        for word in words:
            assert word in str(caught.value)
