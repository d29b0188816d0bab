"""One network on two devices, or a network on each? Whole children on the digits, several seeds.

Each seed is a child of one trained start network: other replicas, another order of the images. It is trained on one
device, mirrored on two (logical CPUs, each with half of every batch and synchronised batch norm), and in a pool of two
workers. Prints accuracies, their differences, and the seconds that a child takes of all the machine's time.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from eas_tf.errors import exit_code
from eas_tf.evaluation.worker import configure
from eas_tf.machine import usable_cores
from eas_tf.training.silence import silent_import


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Train the same children on one device, mirrored on two, and two at once."""

    seeds: int = 10
    epochs: int = 20
    """Passes over the training images for each child."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each way."""
    compare = tyro.cli(Compare, args=argv, prog="compare_replicas.py")
    with silent_import():
        import tensorflow as tf

        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        configure(threads=1, operations=usable_cores())  # as a worker: equal seeds give equal results
    with tempfile.TemporaryDirectory() as folder:
        run(compare, Path(folder))
    return 0


def run(compare: Compare, folder: Path) -> None:
    """Train all children in all ways."""
    from eas_tf import data
    from eas_tf.architecture import parse_move, space_named
    from eas_tf.evaluation import Request
    from eas_tf.evaluation.engine_config import EngineConfig
    from eas_tf.evaluation.engines import make_engine
    from eas_tf.evaluation.start import start_family
    from eas_tf.training.recipe import Recipe
    from eas_tf.training.strategy import make_strategy
    from eas_tf.training.trainer import Trainer

    images = data.load("digits")
    start = space_named("digits").start_network(images.input_shape, images.classes)
    trainer = Trainer(images)
    recipe = Recipe(epochs=compare.epochs, batch=32)
    family = start_family(trainer, images, start, recipe, epochs=12, seed=0, cache=folder)
    transformations = tuple(map(parse_move, ("deeper(1,1,3)", "deeper(0,1,3)", "wider(0,16)")))
    child = start
    for transformation in transformations:
        child = transformation.apply(child)
    asked = [
        Request(parent=family.digest, transformations=transformations, architecture=child, seed=seed)
        for seed in range(compare.seeds)
    ]
    print(f"{start} -> {child}, {compare.seeds} seeds, {compare.epochs} epochs")
    ways = {
        "one device": make_engine(EngineConfig(engine="inline"), trainer, images, folder),
        "mirrored on two": make_engine(
            EngineConfig(engine="inline"), Trainer(images, make_strategy("mirrored")), images, folder
        ),
        "two at once": make_engine(EngineConfig(workers=2), trainer, images, folder),
    }
    accuracies: dict[str, np.ndarray] = {}
    for name, engine in ways.items():
        list(engine.run([(family, request) for request in asked[:2]]))  # A process's first child takes longer.
        before = time.perf_counter()
        found = dict(engine.run([(family, request) for request in asked]))
        seconds = (time.perf_counter() - before) / compare.seeds
        engine.close()
        accuracies[name] = 100 * np.array([found[number].result.accuracy for number in range(compare.seeds)])
        difference = accuracies[name] - accuracies["one device"]
        print(
            f"{name}: accuracy {accuracies[name].mean():.2f} % (standard deviation {accuracies[name].std(ddof=1):.2f}),"
            f" {difference.mean():+.2f} ± {difference.std(ddof=1) / compare.seeds**0.5:.2f} from one device; "
            f"{seconds:.2f} s a child",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(exit_code(main))
