"""Where the time of one child goes. What is not in the steps is overhead, and is paid once a process or once a child.

Each repetition is a process of its own, set up as a single worker on this machine. The parent is a plain network for
the digits, whose child has two more convolutions and is one of the networks of `bench_child.py`.
"""

import multiprocessing
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tyro
from bench_child import digits
from pebble import ProcessPool

from eas_tf.architecture import Net2Deeper, PlainCNN
from eas_tf.errors import exit_code


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Time the parts of children on the digits."""

    convolutions: tuple[int, ...] = (6, 12)
    """Of the child; even numbers."""
    epochs: int = 20
    repetitions: int = 5
    """Processes for each child."""


BUILD, TRACE = "child: build the Keras model", "child: trace an epoch"
COMPILE, STEPS = "child: compile it, in the first epoch", "child: steps"


class Clock:
    """Seconds between calls."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, part: str) -> None:
        """What was done since the last call is `part`."""
        now = time.perf_counter()
        self.parts[part] = self.parts.get(part, 0.0) + now - self._last
        self._last = now


def time_parts(convolutions: int, epochs: int, folder: Path) -> dict[str, float]:
    """Seconds of what a process and a parent take once, and of each part of the process's second child."""
    clock = Clock()
    from eas_tf.evaluation.worker import configure
    from eas_tf.training.silence import silent_import

    with silent_import():
        from eas_tf import data
        from eas_tf.machine import usable_cores
        from eas_tf.surgery import initialise, load_network, lower, measure_moments, save_network, transform
        from eas_tf.training.loop import Training
        from eas_tf.training.recipe import Recipe
        from eas_tf.training.trainer import Trainer

        configure(threads=1, operations=usable_cores())
    clock.lap("process: import TensorFlow and this package")
    images = data.load("digits")
    trainer = Trainer(images)
    clock.lap("process: images")
    architecture = PlainCNN.parse(digits(convolutions - 2), images.input_shape)
    path = folder / "parent.keras"
    save_network(initialise(lower(architecture, images.mean, images.std), rng=np.random.default_rng(0)), path)
    clock.lap("bench")
    del clock.parts["bench"]
    parent = measure_moments(load_network(path), images.x_train[:512])
    clock.lap("parent: load it, measure its moments")
    recipe = Recipe(epochs=epochs)
    for _ in range(2):  # The second counts: a process's first child takes longer.
        laps = Clock()
        deeper = Net2Deeper(0, 1, 3), Net2Deeper(1, 1, 3)
        child = transform(parent, architecture, deeper, rng=np.random.default_rng(0))
        laps.lap("child: surgery")
        child.to_keras()
        laps.lap(BUILD)
        step = trainer._step(child, recipe)
        training = Training(trainer._loop, step, batch=recipe.batch, epochs=epochs, seed=0)
        laps.lap(TRACE)
        for _ in training:
            laps.lap(STEPS if training.epoch > 1 else COMPILE)
        step.weights.give_back()
        trainer._validate(step.model, child)
        laps.lap("child: validation")
        child.with_weights_of(step.model)
        laps.lap("child: weights back into plain arrays")
    steady = laps.parts[STEPS] / (epochs - 1)
    laps.parts |= {
        TRACE: laps.parts[TRACE] - laps.parts[BUILD],
        COMPILE: laps.parts[COMPILE] - steady,
        STEPS: steady * epochs,
    }
    return clock.parts | laps.parts


def main(argv: Sequence[str] | None = None) -> int:
    """Print a Markdown table."""
    profile = tyro.cli(Profile, args=argv, prog="profile_child.py")
    columns = []
    with TemporaryDirectory() as folder:
        for convolutions in profile.convolutions:
            found = []
            for _ in range(profile.repetitions):
                with ProcessPool(max_workers=1, context=multiprocessing.get_context("spawn")) as pool:
                    task = pool.schedule(time_parts, args=(convolutions, profile.epochs, Path(folder)))
                    found.append(task.result())
            columns.append({part: statistics.median(each[part] for each in found) for part in found[0]})
    print(f"| seconds, median of {profile.repetitions} processes, {profile.epochs} epochs | ", end="")
    print(" | ".join(f"{convolutions} convolutions" for convolutions in profile.convolutions), "|")
    print("|---|" + "---|" * len(columns))
    for part in columns[0]:
        print(f"| {part} | " + " | ".join(f"{column[part]:.3f}" for column in columns), "|")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
