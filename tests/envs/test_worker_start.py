"""Where workers cannot be started, that is said before anything is trained."""

import subprocess
import sys

import pytest

_BODY = """
import sys
import gymnasium as gym
import eas_tf
from eas_tf.errors import InvalidConfiguration
from eas_tf.evaluation.worker_start import check_worker_start

def work():
    check_worker_start()
    print("no alarm")

def episode():
    env = gym.make("EAS-Digits-v0", schedule=["widen"], cache_dir="cache", engine="pool", workers=1)
    env.reset(seed=0)
    try:
        env.step(env.action_space.sample())
    except InvalidConfiguration as error:
        print(error)
        assert not {"tensorflow", "keras"} & set(sys.modules)
"""

_IN_A_THREAD = "import threading\nthread = threading.Thread(target=episode)\nthread.start()\nthread.join()\n"


def output(tmp_path, script, *arguments, stdin=""):
    (tmp_path / "script.py").write_text(_BODY + script)
    command = [sys.executable, *arguments]
    done = subprocess.run(command, input=stdin, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    assert not (tmp_path / "cache").exists()
    return done.stdout


@pytest.mark.parametrize(("script", "arguments"), [("episode()\n", ["script.py"]), (_IN_A_THREAD, ["-m", "script"])])
def test_a_script_without_a_guard_is_refused(tmp_path, script, arguments):
    """Every worker ran it too: 467 lines and 63 s."""
    (line,) = output(tmp_path, script, *arguments).splitlines()
    assert "Received: script.py, which has no `if __name__" in line
    assert 'or choose engine="inline"' in line


def test_a_script_from_the_standard_input_is_refused(tmp_path):
    (line,) = output(tmp_path, "", "-", stdin=_BODY + "if __name__ == '__main__':\n    episode()\n").splitlines()
    assert "must be a file. Received: <stdin>. Save the script" in line


def test_a_pool_in_a_process_of_an_asynchronous_vector_environment_is_refused(tmp_path):
    """It trained the start network first, and then was an AssertionError."""
    script = """
from multiprocessing import get_context

if __name__ == "__main__":
    process = get_context("spawn").Process(target=episode, daemon=True)
    process.start()
    process.join()
"""
    (line,) = output(tmp_path, script, "script.py").splitlines()
    assert "AsyncVectorEnv(..., daemon=False)" in line


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("if __name__ == '__main__':\n    work()\n", ["-m", "script"]),
        ("if __name__ != '__main__':\n    sys.exit()\nwork()\n", ["script.py"]),
        ("", ["-c", "import script; script.work()"]),
    ],
)
def test_a_script_that_workers_can_import_is_not(tmp_path, script, arguments):
    assert output(tmp_path, script, *arguments) == "no alarm\n"


def test_an_interactive_session_after_a_script_is_not(tmp_path):
    """Its workers import the script, which has come to its end."""
    assert "no alarm\n" in output(tmp_path, "", "-i", "script.py", stdin="work()\n")
