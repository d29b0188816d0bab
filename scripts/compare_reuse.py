"""What reusing weights is worth: children of a trained network against the same networks from random weights.

Random search chooses the children. Each is trained once from its parent's weights, as a search does, and from random
weights with the same number of epochs and with twice as many. Prints a Markdown table of validation accuracies.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro

from eas_tf.errors import InvalidConfiguration, exit_code
from eas_tf.search.config import SearchConfig
from eas_tf.training.silence import silent_import


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Train the same networks from their parent's weights and from random ones."""

    dataset: str = "digits"
    """A known data set, or a path to an .npz file."""
    data_dir: str | None = None
    """Where tensorflow-datasets keeps its data."""
    space: str = "densenet-digits"
    """One of those that `scripts/search.py --help` names."""
    children: int = 10
    epochs: int = 2
    """Passes over the training images for each child."""
    start_epochs: int = 4
    """The same for the start network."""
    batch: int | None = None
    """Images in one training step. By default 32 for the digits, 64 for all else."""
    deepen_steps: int = 5
    """Insertions that make a child."""
    widen_steps: int = 4
    """Widening steps that make a child, after the insertions."""
    seed: int = 0
    """Decides the children and all training."""

    def __post_init__(self) -> None:
        if self.children < 1:
            raise InvalidConfiguration(f"--children must be at least 1. Received: {self.children}")


def main(argv: Sequence[str] | None = None) -> int:
    """Print a row for each child, and the means."""
    compare = tyro.cli(Compare, args=argv, prog="compare_reuse.py")
    with tempfile.TemporaryDirectory(prefix="eas_tf-") as folder:
        config = SearchConfig(
            dataset=compare.dataset,
            data_dir=compare.data_dir,
            space=compare.space,
            agent="random",
            networks=compare.children,
            epochs=compare.epochs,
            start_epochs=compare.start_epochs,
            batch=compare.batch,
            deepen_steps=compare.deepen_steps,
            widen_steps=compare.widen_steps,
            seed=compare.seed,
            output=Path(folder) / "run",
        )
        with silent_import():
            run(config, Path(folder))
    return 0


def run(config: SearchConfig, folder: Path) -> None:
    """Train all children in all ways."""
    from eas_tf.evaluation.child import ChildTrainer
    from eas_tf.evaluation.start import start_family, train_start
    from eas_tf.search.plan import Plan
    from eas_tf.search.sampling import random_children
    from eas_tf.surgery import load_network
    from eas_tf.training.trainer import Trainer

    plan = Plan.of(config)
    trainer = Trainer(plan.images)
    began = time.perf_counter()
    family = start_family(
        trainer,
        plan.images,
        plan.start,
        plan.recipe,
        epochs=plan.config.start_epochs,
        seed=config.seed,
        cache=folder,
    )
    start_seconds, start = time.perf_counter() - began, trainer.evaluate(load_network(family.parent))[0]
    print(
        f"{len(plan.images.x_train):,} training and {len(plan.images.x_val):,} validation images; start network "
        f"{plan.start}: {100 * start:.2f} % after {plan.config.start_epochs} epochs, {start_seconds:.0f} s\n",
        flush=True,
    )
    children, once = ChildTrainer(trainer, plan.images), plan.recipe.epochs
    print(f"| parameters | from its parent, epochs: {once} | from random weights: {once} | {2 * once} | network |")
    print("|---|---|---|---|---|", flush=True)
    accuracies, seconds = [], []
    for request in random_children(plan, config.networks):
        inherited = children.train(family, request).result
        scratch = [
            train_start(
                trainer,
                plan.images,
                request.architecture,
                replace(plan.start_recipe, epochs=epochs),
                seed=request.seed,
            )
            for epochs in (once, 2 * once)
        ]
        accuracies.append([inherited.accuracy, *(each.accuracy for each in scratch)])
        seconds.append([inherited.seconds, *(each.seconds for each in scratch)])
        cells = " | ".join(f"{100 * accuracy:.2f} %" for accuracy in accuracies[-1])
        print(f"| {request.architecture.parameter_count:,} | {cells} | `{request.architecture}` |", flush=True)
    found = 100 * np.array(accuracies)
    if len(found) == 1:
        return
    cells = " | ".join(
        f"{mean:.2f} % ({each:.2f})" for mean, each in zip(found.mean(0), found.std(0, ddof=1), strict=True)
    )
    print(f"| mean (standard deviation) | {cells} | {' / '.join(f'{each:.0f} s' for each in np.mean(seconds, 0))} |")


if __name__ == "__main__":
    sys.exit(exit_code(main))
