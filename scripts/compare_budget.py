"""What a budget buys: searches and simple ways of training, each with the same time on the same images and machine.

The ways take turns, seed by seed, each in a process of its own, which begins to count when it starts and stops when the
test images are classified. What is done is in `OUT/results.csv` and is not done again.

    python scripts/compare_budget.py --dataset mine.npz --minutes 15 --seeds 3 --out budget

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
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, Literal

import psutil
import tyro

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
    minutes: float = 1.0
    """Of each training."""
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
        if self.seeds < 1 or not self.minutes > 0:
            raise InvalidConfiguration(
                f"--seeds must be at least 1, --minutes positive. Received: {self.seeds}, {self.minutes}"
            )


def main(argv: Sequence[str] | None = None) -> int:
    """Do what is not done, and print a Markdown table."""
    compare = tyro.cli(Compare, args=argv, prog="compare_budget.py")
    if compare.one:
        print(json.dumps(WAYS[compare.one](compare, Clock(compare.minutes * 60))), flush=True)
        return 0
    compare.out.mkdir(parents=True, exist_ok=True)
    file = compare.out / "results.csv"
    rows = read(file)
    for seed in range(compare.seeds):
        for way in compare.ways:
            if (way, str(seed)) not in {(row["way"], row["seed"]) for row in rows}:
                rows.append(measured(compare, way, seed))
                write(file, rows)
                print(", ".join(f"{name} {rows[-1][name]}" for name in COLUMNS), flush=True)
    print(table(rows))
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


def measured(compare: Compare, way: Way, seed: int) -> dict[str, Any]:
    """Run one way in a process of its own."""
    command = [sys.executable, __file__, "--one", way, "--seed", str(seed), "--out", str(compare.out)]
    command += ["--dataset", compare.dataset, "--crop-and-flip", compare.crop_and_flip]
    command += ["--minutes", str(compare.minutes), *(["--options", *compare.options] if compare.options else [])]
    before = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    return {
        "way": way,
        "seed": str(seed),
        "minutes": compare.minutes,
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


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Means and standard deviations, a line for each way."""
    lines = ["| way | test accuracy: mean | standard deviation | each seed | parameters |", "|---|---|---|---|---|"]
    for way in dict.fromkeys(row["way"] for row in rows):
        of_way = [row for row in rows if row["way"] == way]
        found = [100 * float(row["test_accuracy"]) for row in of_way]
        spread = f"{stdev(found):.2f}" if len(found) > 1 else ""
        sizes = ", ".join(f"{int(row['parameters']):,}" for row in of_way)
        each = ", ".join(f"{value:.2f}" for value in found)
        lines.append(f"| {way} | {fmean(found):.2f} % | {spread} | {each} | {sizes} |")
    return "\n".join(lines)


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
    folder = compare.out / f"ours-{compare.seed}"
    best = searched(compare, ["--hours", str((clock.begun + clock.seconds - time.monotonic()) / 3600)], folder)
    return told(loaded(folder / "best.keras"), images_of(compare), best.architecture)


def paper(compare: Compare, clock: Clock) -> dict[str, Any]:
    """The paper's schedule, then the training of what it found."""
    folder = compare.out / f"paper-{compare.seed}"
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
            hours=compare.minutes / 60,  # with the recipe of such a search
            output=compare.out / f"start-{compare.seed}",
        )
        plan = Plan.of(config)
        configure(pick_threads(plan.start.input_shape, usable_cores()), usable_cores())
        trainer = Trainer(plan.images)
    recipe = replace(plan.start_recipe, seconds=clock.left())
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
    folder = {"directory": str(compare.out), "project_name": f"{compare.one}-{compare.seed}", "overwrite": True}
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
