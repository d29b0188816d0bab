"""Which names a run may have."""

import os
from pathlib import Path

import pytest

from eas_tf.errors import InvalidConfiguration
from eas_tf.runs.paths import MAX_NAME, checked_path


@pytest.mark.parametrize(
    "name", ["runs/one", "../../x", "/tmp/x", ".", "", "ünï/日本語", "a b", "<script>", "👩‍🔬", "C:\\x", "n" * MAX_NAME]
)
def test_any_path_that_can_be_stored_is_allowed(name, tmp_path):
    checked_path(Path(name))
    (tmp_path / Path(name).name).mkdir(exist_ok=True)


@pytest.mark.parametrize(
    "name", ["a\0b", "a\nb/c", "\x1b[31mred", "tab\t", "\x7f", "\x85", "\u2028", "\u2029", os.fsdecode(b"\xff")]
)
def test_a_path_with_control_characters_is_refused_in_one_printable_line(name):
    with pytest.raises(InvalidConfiguration, match="has no control characters") as refusal:
        checked_path(Path(name))
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("name", ["n" * (MAX_NAME + 1), "ü" * 128, f"a/{'b' * 10**6}/c", "a/" * 2_100])
def test_a_path_that_no_file_system_stores_is_refused_in_one_short_line(name, tmp_path):
    with pytest.raises(InvalidConfiguration, match="at most 255 bytes") as refusal:
        checked_path(Path(name))
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 500
    with pytest.raises(OSError, match="too long"):
        (tmp_path / name).mkdir()
