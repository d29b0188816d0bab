"""A process that was forked after TensorFlow was used says so; it hung."""

import subprocess
import sys

_PROGRAM = """
import multiprocessing, sys, time
import gymnasium as gym
import eas_tf
from eas_tf.errors import EASError
from eas_tf.training.forks import check_fork

def exit_code(work, method="fork"):
    "The exit code of a process that does this, or -9 if it hangs."
    process = multiprocessing.get_context(method).Process(target=work)
    process.start()
    process.join(20)
    process.kill()
    process.join()
    return process.exitcode

def episode(env):
    env.action_space.seed(0)
    _, info = env.reset(seed=0)
    return env.step(env.action_space.sample(mask=info["action_mask"]))[1]

def make(**kwargs):
    small = {"epochs": 1, "start_epochs": 1, "schedule": ["widen"], "cache_dir": sys.argv[1]}
    return gym.make("EAS-Digits-v0", **small | kwargs)

def refused(env):
    try:
        episode(env)
    except EASError as error:
        assert "forked" in str(error) and 'context="spawn"' in str(error) and "\\n" not in str(error), error
        env.close()
    else:
        raise AssertionError("not refused")

if __name__ == "__main__":
    import tensorflow as tf

    # Imported, but not used: a fork may use it.
    assert exit_code(lambda: float(tf.constant(1.0) + 1) and check_fork()) == 0

    env, unused = make(), make()
    reward = episode(env)
    assert exit_code(check_fork) == 1
    assert exit_code(check_fork, "spawn") == 0
    assert exit_code(lambda: refused(env)) == 0  # with what the parent has built
    assert exit_code(lambda: refused(unused)) == 0
    assert exit_code(lambda: refused(make(engine="pool", workers=1))) == 0
    assert exit_code(lambda: exit_code(lambda: refused(make())) and sys.exit(1)) == 0  # a fork of a fork
    assert exit_code(lambda: episode(make(evaluator="surrogate"))) == 0  # without TensorFlow
    source = make(evaluator="surrogate").unwrapped.evaluator
    built = source()
    assert exit_code(lambda: sys.exit(source() is built)) == 0  # the parent's workers are the parent's
    start = time.monotonic()
    refused(gym.vector.AsyncVectorEnv([make] * 2))
    assert time.monotonic() - start < 5, time.monotonic() - start
    assert episode(env) == reward  # the parent goes on
    env.close()
"""


def test_a_fork_after_tensorflow_was_used_is_refused_and_no_other(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(_PROGRAM)
    command = [sys.executable, str(script), str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
