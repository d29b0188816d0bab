"""`load`: names, paths, and what importing the room costs."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from eas_tf import data
from eas_tf.errors import InvalidConfiguration, InvalidData


def test_an_unknown_name_lists_the_known_ones_and_the_way_to_ones_own():
    with pytest.raises(InvalidData) as caught:
        data.load("imagenet")
    message = str(caught.value)
    for needed in (*data.NAMES, ".npz", "Received: 'imagenet'"):
        assert needed in message
    assert "\n" not in message


def test_a_path_may_be_a_string_or_a_path(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, x_train=np.zeros((40, 3, 3), np.uint8), y_train=np.arange(40) % 2)
    assert data.load(path).fingerprint == data.load(str(path)).fingerprint
    assert data.load(Path(path)).name == "mine.npz"


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_a_negative_seed_is_refused(name):
    with pytest.raises(InvalidConfiguration, match="Received: -3"):
        data.load(name, validation_seed=-3)


def test_importing_and_the_embedded_sets_load_no_tensorflow():
    code = (
        "import sys; from eas_tf.data import load; load('digits'); load('synthetic'); "
        "sys.exit(sorted({'tensorflow', 'tensorflow_datasets', 'keras'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
