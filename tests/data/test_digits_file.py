"""The embedded digits: rebuilt from scikit-learn by the lines in digits.md, and compared bit for bit."""

import re
from importlib.resources import files

import numpy as np
import pytest

from eas_tf.data import load

FOLDER = files("eas_tf.data")


def test_the_lines_in_digits_md_make_the_file_that_is_shipped(tmp_path, monkeypatch):
    pytest.importorskip("sklearn", reason="scikit-learn is in the extra `test`")
    code = re.search(r"```python\n(.*?)```", (FOLDER / "digits.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    with np.load(tmp_path / "digits.npz") as rebuilt, np.load(FOLDER / "digits.npz") as shipped:
        assert sorted(rebuilt) == sorted(shipped)
        for name in rebuilt:
            assert rebuilt[name].dtype == shipped[name].dtype
            np.testing.assert_array_equal(rebuilt[name], shipped[name])


def test_every_original_grey_level_comes_back():
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is in the extra `test`")
    with np.load(FOLDER / "digits.npz") as shipped:
        images = np.concatenate([shipped["x_train"], shipped["x_test"]])[..., 0] // 15
    original = datasets.load_digits().images.astype(np.uint8)
    assert sorted(image.tobytes() for image in images) == sorted(image.tobytes() for image in original)


def test_the_file_is_small_and_names_its_source_and_licence():
    assert len((FOLDER / "digits.npz").read_bytes()) < 120_000
    text = (FOLDER / "digits.md").read_text(encoding="utf-8")
    for needed in ("CC BY 4.0", "Alpaydin", "UCI", "scikit-learn"):
        assert needed in text


def test_digits_load_with_a_fifth_for_the_test_and_a_quarter_of_the_rest_for_validation():
    digits = load("digits")
    assert digits.name == "digits"
    assert (len(digits.x_train), len(digits.x_val), len(digits.x_test)) == (1_079, 359, 359)
    assert digits.input_shape == (8, 8, 1)
    assert digits.classes == 10
    assert not digits.crop_and_flip
    for labels in (digits.y_train, digits.y_val, digits.y_test):
        share = np.bincount(labels, minlength=10) / len(labels)
        assert share.min() > 0.09
        assert share.max() < 0.11
