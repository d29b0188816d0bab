"""Looking at the house costs no TensorFlow. (Which room may import which: the contracts in pyproject.toml.)"""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "program",
    [
        "import eas_tf, eas_tf.envs, eas_tf.agents",
        "import gymnasium, eas_tf; gymnasium.make('EAS-Cifar10-v0').reset(seed=0)",
        "import gymnasium; gymnasium.make('eas_tf:EAS-Digits-v0').reset(seed=0)",
        "import eas_tf.search.resuming, eas_tf.search.plan, eas_tf.evaluation, eas_tf.data",
        "import eas_tf.final.plan",
    ],
)
def test_no_tensorflow_is_loaded(program):
    check = "import sys; assert not {'tensorflow', 'keras'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", f"{program}\n{check}"], check=True, timeout=60)
