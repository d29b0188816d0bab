"""The house: which folder may import which, and that looking at it costs no TensorFlow."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: For each folder the packages that no file in it may import, at module level or within a function.
FORBIDDEN = {
    "eas_tf/architecture": {"numpy", "tensorflow", "keras", "gymnasium", "eas_tf.surgery", "eas_tf.data"},
    "eas_tf/surgery": {"tensorflow", "gymnasium", "eas_tf.data", "eas_tf.training", "eas_tf.envs", "eas_tf.agents"},
    "eas_tf/data": {"gymnasium", "eas_tf.surgery", "eas_tf.training", "eas_tf.envs", "eas_tf.agents"},
    "eas_tf/training": {"gymnasium", "eas_tf.evaluation", "eas_tf.envs", "eas_tf.agents"},
    "eas_tf/evaluation": {"gymnasium", "eas_tf.envs", "eas_tf.agents", "eas_tf.search"},
    "envs": {"eas_tf.agents", "eas_tf.search", "eas_tf.surgery"},
    "agents": {"eas_tf.surgery", "eas_tf.training", "eas_tf.data", "eas_tf.envs", "eas_tf.evaluation", "eas_tf.search"},
}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_dependencies_point_one_way(folder):
    paths = sorted((ROOT / folder).rglob("*.py"))
    assert paths
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in paths
        for name in imported(path)
        for forbidden in FORBIDDEN[folder]
        if name == forbidden or name.startswith(forbidden + ".")
    }
    assert not wrong


@pytest.mark.parametrize(
    "program",
    [
        "import eas_tf, eas_tf.envs, eas_tf.agents",
        "import gymnasium, eas_tf; gymnasium.make('EAS-Cifar10-v0').reset(seed=0)",
        "import gymnasium; gymnasium.make('eas_tf:EAS-Digits-v0').reset(seed=0)",
        "import eas_tf.search.resuming, eas_tf.search.plan, eas_tf.evaluation, eas_tf.data",
        "import eas_tf.search.final_plan",
    ],
)
def test_no_tensorflow_is_loaded(program):
    check = "import sys; assert not {'tensorflow', 'keras'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", f"{program}\n{check}"], check=True, timeout=60)
