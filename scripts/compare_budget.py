"""What a budget buys: searches and simple ways of training, each with the same time on the same images and machine.

The ways take turns, seed by seed, each in a process of its own, which begins to count when it starts and stops when the
test images are classified. What is done is in `OUT/results.csv` and is not done again; a picture of it is beside.

    python scripts/compare_budget.py --dataset mine.npz --minutes 5 15 --seeds 3 --out budget

| way | what it is |
|---|---|
| ours | `scripts/search.py --hours` |
| start | the search's start network, trained for the whole budget by the same trainer |
| fit | a small residual network, written by hand and trained by Keras's `fit` |
| paper | the paper's schedule for half of the budget, then `scripts/train.py` |
| random, hyperband | KerasTuner on plain networks, where it is installed (`pip install keras-tuner`) |
"""

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from math import inf
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import psutil
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from eas_tf.data import CropAndFlip
from eas_tf.errors import InvalidConfiguration, exit_code
from eas_tf.training.silence import silent_import

if TYPE_CHECKING:
    import keras

    from eas_tf.data import ImageData

Way = Literal["ours", "start", "fit", "paper", "random", "hyperband"]

#: What is told of each training.
COLUMNS = ("way", "seed", "minutes", "test_accuracy", "validation_accuracy", "parameters", "took", "network")

#: Of the budget: what a way leaves for classifying the test images, where nothing plans that.
TEST_SHARE = 0.02


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Give each way the same time."""

    out: Path
    """The folder for results and run directories."""
    dataset: str = "digits"
    """A known data set, or a path to an .npz file."""
    crop_and_flip: CropAndFlip = "auto"
    """As for scripts/search.py."""
    minutes: tuple[float, ...] = (1.0,)
    """Of each training: one budget or several."""
    seeds: int = 3
    """0, 1, ..."""
    ways: tuple[Way, ...] = ("ours", "start", "fit")
    """Which ones, in this order."""
    options: tuple[str, ...] = ()
    """More options for scripts/search.py, such as "--agent=evolution"."""
    one: Way | None = None
    """Do this one now, in this process, and print what it gave as JSON."""
    seed: int = 0
    """Of that one."""

    def __post_init__(self) -> None:
        if self.seeds < 1 or not self.minutes or not all(0 < minutes < inf for minutes in self.minutes):
            raise InvalidConfiguration(
                f"--seeds must be at least 1, --minutes positive. Received: {self.seeds}, {self.minutes}"
            )


def main(argv: Sequence[str] | None = None) -> int:
    """Do what is not done, and print a Markdown table."""
    compare = tyro.cli(Compare, args=argv, prog="compare_budget.py")
    if compare.one:
        print(json.dumps(WAYS[compare.one](compare, Clock(compare.minutes[0] * 60))), flush=True)
        return 0
    compare.out.mkdir(parents=True, exist_ok=True)
    file = compare.out / "results.csv"
    rows = read(file)
    for seed, minutes, way in product(range(compare.seeds), compare.minutes, compare.ways):
        if not any((row["way"], int(row["seed"]), float(row["minutes"])) == (way, seed, minutes) for row in rows):
            rows.append(measured(compare, way, seed, minutes))
            write(file, rows)
            print(", ".join(f"{name} {rows[-1][name]}" for name in COLUMNS), flush=True)
    print(table(rows))
    draw(rows, compare.out / "results.png")
    return 0


class Clock:
    """What is left of a budget that began with this process."""

    def __init__(self, seconds: float) -> None:
        self.begun = time.monotonic() - (time.time() - psutil.Process().create_time())
        self.seconds = seconds

    def left(self) -> float:
        """Seconds for training: a part is kept for the test."""
        return self.begun + (1 - TEST_SHARE) * self.seconds - time.monotonic()

    def share(self) -> float:
        """How much of them is over, from 0 to 1."""
        return min(1.0, max(0.0, 1 - self.left() / ((1 - TEST_SHARE) * self.seconds)))


def measured(compare: Compare, way: Way, seed: int, minutes: float) -> dict[str, Any]:
    """Run one way in a process of its own."""
    command = [sys.executable, __file__, "--one", way, "--seed", str(seed), "--out", str(compare.out)]
    command += ["--dataset", compare.dataset, "--crop-and-flip", compare.crop_and_flip]
    command += ["--minutes", str(minutes), *(["--options", *compare.options] if compare.options else [])]
    before = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    return {
        "way": way,
        "seed": str(seed),
        "minutes": minutes,
        "took": round(time.monotonic() - before, 1),
    } | told


def read(file: Path) -> list[dict[str, Any]]:
    """Earlier results."""
    if not file.exists():
        return []
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def write(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    """All results, whole."""
    partial = file.with_suffix(".partial")
    with partial.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(file)


def results(rows: Sequence[dict[str, Any]]) -> dict[tuple[float, str], list[dict[str, Any]]]:
    """What each way gave in each budget."""
    found: dict[tuple[float, str], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((float(row["minutes"]), row["way"]), []).append(row)
    return found


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Means and standard deviations, a line for each budget and way."""
    lines = ["| minutes | way | test accuracy: mean | standard deviation | each seed | parameters |"]
    lines.append("|---|---|---|---|---|---|")
    for (minutes, way), some in results(rows).items():
        found = [100 * float(row["test_accuracy"]) for row in some]
        spread = f"{stdev(found):.2f}" if len(found) > 1 else ""
        sizes = ", ".join(f"{int(row['parameters']):,}" for row in some)
        each = ", ".join(f"{value:.2f}" for value in found)
        lines.append(f"| {minutes:g} | {way} | {fmean(found):.2f} % | {spread} | {each} | {sizes} |")
    return "\n".join(lines)


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Test accuracy against minutes: the mean of each way, and from the lowest to the highest seed."""
    figure = Figure(figsize=(7, 4.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    found = results(rows)
    ways = list(dict.fromkeys(way for _, way in found))
    for number, way in enumerate(ways):
        budgets = sorted(minutes for minutes, each in found if each == way)
        values = [[100 * float(row["test_accuracy"]) for row in found[minutes, way]] for minutes in budgets]
        mean = np.array([fmean(some) for some in values])
        ends = mean - [min(some) for some in values], np.array([max(some) for some in values]) - mean
        # Side by side, where several ways have the same budget.
        x = np.array(budgets) * 1.03 ** (number - (len(ways) - 1) / 2)
        axes.errorbar(x, mean, ends, fmt="o-", color=f"C{number}", capsize=3, linewidth=1.2, label=way)
    budgets = sorted({minutes for minutes, _ in found})
    axes.set_xscale("log")
    axes.set_xlim(budgets[0] / 1.5, budgets[-1] * 1.5)
    axes.set_xticks(budgets, [f"{minutes:g}" for minutes in budgets])
    axes.minorticks_off()
    axes.set_xlabel("minutes")
    axes.set_ylabel("test accuracy, %")
    axes.grid(axis="y", linewidth=0.4, alpha=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path)


def told(model: "keras.Model", images: "ImageData", network: str = "") -> dict[str, Any]:
    """What a model does on the images that it was not trained on."""
    from eas_tf.search.ending import accuracy

    if images.x_test is None or images.y_test is None:
        raise InvalidConfiguration(f"{images.name} has no test images.")
    return {
        "test_accuracy": accuracy(model, images.x_test, images.y_test),
        "validation_accuracy": accuracy(model, images.x_val, images.y_val),
        "parameters": sum(int(weight.shape.num_elements()) for weight in model.trainable_variables),
        "network": network,
    }


def searched(compare: Compare, command: Sequence[str], folder: Path) -> Any:
    """Run scripts/search.py, and give its best network's row."""
    from eas_tf.runs.ranking import ranked
    from eas_tf.runs.record import Record

    script = Path(__file__).with_name("search.py")
    options = ["--dataset", compare.dataset, "--crop-and-flip", compare.crop_and_flip, "--seed", str(compare.seed)]
    subprocess.run(
        [sys.executable, script, *options, *command, *compare.options, "--output", folder],
        stdout=sys.stderr,
        check=True,
    )
    with closing(Record(folder / "run.sqlite")) as record:
        return ranked(record.networks())[0]


def ours(compare: Compare, clock: Clock) -> dict[str, Any]:
    """`scripts/search.py --hours`."""
    folder = compare.out / f"ours-{compare.minutes[0]:g}-{compare.seed}"
    best = searched(compare, ["--hours", str((clock.begun + clock.seconds - time.monotonic()) / 3600)], folder)
    return told(loaded(folder / "best.keras"), images_of(compare), best.architecture)


def paper(compare: Compare, clock: Clock) -> dict[str, Any]:
    """The paper's schedule, then the training of what it found."""
    folder = compare.out / f"paper-{compare.minutes[0]:g}-{compare.seed}"
    hours = str(clock.seconds / 7200)
    best = searched(compare, ["--max-hours", hours, "--epochs", "3", "--start-epochs", "8"], folder)
    epochs = max(1, int(clock.left() / (best.seconds / best.epochs)))
    script = Path(__file__).with_name("train.py")
    subprocess.run(
        [sys.executable, script, str(folder), "--network", str(best.id), "--epochs", str(epochs)],
        stdout=sys.stderr,
        check=True,
    )
    (model,) = folder.glob("final/*/seed-0.keras")
    return told(loaded(model), images_of(compare), best.architecture)


def start(compare: Compare, clock: Clock) -> dict[str, Any]:
    """The start network, for the whole budget."""
    from dataclasses import replace

    with silent_import():
        from eas_tf.evaluation.share import pick_threads
        from eas_tf.evaluation.start import train_start
        from eas_tf.evaluation.worker import configure
        from eas_tf.machine import usable_cores
        from eas_tf.search.config import SearchConfig
        from eas_tf.search.plan import Plan
        from eas_tf.training.trainer import Trainer

        config = SearchConfig(
            dataset=compare.dataset,
            crop_and_flip=compare.crop_and_flip,
            seed=compare.seed,
            hours=compare.minutes[0] / 60,  # with the recipe of such a search
            output=compare.out / f"start-{compare.minutes[0]:g}-{compare.seed}",
        )
        plan = Plan.of(config)
        configure(pick_threads(plan.start.input_shape, usable_cores()), usable_cores())
        trainer = Trainer(plan.images)
    recipe = replace(plan.final_recipe, seconds=clock.left())
    trained = train_start(trainer, plan.images, plan.start, recipe, seed=compare.seed)
    return told(trained.graph.to_keras(), plan.images, str(plan.start))


def fit(compare: Compare, clock: Clock) -> dict[str, Any]:
    """Keras's `fit`."""
    import simple_ways

    images = images_of(compare)
    return told(simple_ways.fit(images, clock, compare.seed), images, "residual network")


def tuned(compare: Compare, clock: Clock) -> dict[str, Any]:
    """KerasTuner."""
    import simple_ways

    images = images_of(compare)
    folder = {
        "directory": str(compare.out),
        "project_name": f"{compare.one}-{compare.minutes[0]:g}-{compare.seed}",
        "overwrite": True,
    }
    model = simple_ways.tuned(images, clock, compare.seed, folder, hyperband=compare.one == "hyperband")
    return told(model, images, "plain network of KerasTuner")


def images_of(compare: Compare) -> "ImageData":
    """The data set, split as every search splits it."""
    from eas_tf import data

    return data.load(compare.dataset, crop_and_flip=compare.crop_and_flip)


def loaded(path: Path) -> "keras.Model":
    """A model from its file."""
    with silent_import():
        import keras

    model: keras.Model = keras.models.load_model(path, compile=False, safe_mode=True)
    return model


WAYS: dict[Way, Any] = {
    "ours": ours,
    "start": start,
    "fit": fit,
    "paper": paper,
    "random": tuned,
    "hyperband": tuned,
}


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(exit_code(main))
