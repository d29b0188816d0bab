"""How many steps a second `EAS-Surrogate-v0` takes: a single environment made by `gym.make`, played by its masks.

A random legal action is drawn from the mask in every step, and that is part of the time. `python scripts/bench_env.py`
"""

import os
import platform
import sys
import time
from statistics import median

import gymnasium as gym
import numpy as np

import eas_tf

REPETITIONS, SECONDS = 5, 1.0


def legal_action(mask: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One of the insertions where one is due, a random set of the layers that may be widened elsewhere."""
    insertions, widen = np.argwhere(mask["deepen"]), mask["widen"]
    place = insertions[rng.integers(len(insertions))] if len(insertions) else np.zeros(3, int)
    return {"deepen": place, "widen": widen & (rng.random(len(widen)) < 0.5)}


def steps_a_second(env: gym.Env, rng: np.random.Generator, seconds: float) -> float:
    """Play whole episodes for at least this long; resets are in the time and not in the count."""
    steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        _, info = env.reset()
        over = False
        while not over:
            _, _, over, _, info = env.step(legal_action(info["action_mask"], rng))
            steps += 1
    return steps / (time.perf_counter() - start)


def main() -> int:
    """Measure, and print what was measured and on what."""
    env, rng = gym.make("EAS-Surrogate-v0"), np.random.default_rng(0)
    env.reset(seed=0)
    steps_a_second(env, rng, SECONDS / 4)
    rates = [steps_a_second(env, rng, SECONDS) for _ in range(REPETITIONS)]
    print(f"steps a second: median {median(rates):,.0f}, least {min(rates):,.0f}, n = {REPETITIONS} of {SECONDS:g} s")
    print(
        f"eas_tf {eas_tf.__version__}, Gymnasium {gym.__version__}, NumPy {np.__version__}, "
        f"Python {platform.python_version()}, {os.cpu_count()} cores"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
