"""Looking at the house costs no TensorFlow. (Which room may import which: the contracts in pyproject.toml.)"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: The one module of the packages whose texts are the command line's help.
HELP = ROOT / "eas_tf" / "search" / "config.py"

#: Options of `ray` itself.
FOREIGN = {"--head", "--address"}


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


def test_only_scripts_speak_of_their_options_with_dashes():
    """Others are called from Python, too, where an option is a keyword."""
    modules = [path for room in ("eas_tf", "envs", "agents") for path in (ROOT / room).rglob("*.py") if path != HELP]
    assert len(modules) > 100
    found = {path: set(re.findall(r"--[a-z][a-z-]*", path.read_text())) - FOREIGN for path in modules}
    assert {str(path): flags for path, flags in found.items() if flags} == {}
