"""The final training, on the digits: a small run directory with five networks, written as a search writes it."""

import importlib.util
import io
import json
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from rich.console import Console

from eas_tf import data
from eas_tf.architecture import Net2Wider, PlainCNN
from eas_tf.errors import InvalidConfiguration, InvalidData, RunBusy, RunDamaged, Stopped, exit_code
from eas_tf.evaluation import Request
from eas_tf.evaluation.child import ChildTrainer, Family
from eas_tf.evaluation.start import train_start
from eas_tf.final.plan import FinalConfig, FinalPlan, all_together
from eas_tf.final.training import final_training, spread
from eas_tf.runs.interruption import Interruption
from eas_tf.runs.progress import Progress
from eas_tf.runs.record import Network, Record, Run
from eas_tf.surgery import load_network, save_network, with_parts
from eas_tf.training.recipe import RATE_FROM_SCRATCH, Recipe
from eas_tf.training.trainer import Trainer

SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"
DIGITS = data.load("digits")
FILE = Path(data.__file__).parent / "digits.npz"
ARCHITECTURE = PlainCNN.parse("C(4,3,1), P(2,2,MAX), FC(8), SM(10)", DIGITS.input_shape)
RECIPE = Recipe(epochs=1, batch=32)
#: `SeedSequence(0).spawn(2)[1].generate_state(1)[0] >> 1`.
TRAINING_SEED = 336614359
CONFIG = {"dataset": "digits", "data_dir": None, "batch": 32, "symmetry_breaking": "shares"}


def row(number, architecture, **values):
    fields = {"kind": "child", "stage": 1, "batch": 1, "parent": 0, "transformations": "", "accuracy": 0.5, "seed": 0}
    sizes = {"parameters": architecture.parameter_count, "multiply_adds": architecture.multiply_adds, "epochs": 1}
    values = {**fields, **sizes, "loss": 1.0, "seconds": 1.0, **values}
    return Network(id=number, architecture=str(architecture), score=values["accuracy"], **values)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Network 1 is the best; 2 failed; 3 grew from 1 and 4 from 3, and their weights are not kept."""
    run = tmp_path_factory.mktemp("runs") / "run"
    (run / "weights").mkdir(parents=True)
    trainer = Trainer(DIGITS)
    start = train_start(
        trainer, DIGITS, ARCHITECTURE, replace(RECIPE, epochs=2, learning_rate=RATE_FROM_SCRATCH), seed=7
    )
    save_network(start.graph, run / "start.keras")
    rows = [row(0, ARCHITECTURE, kind="start", batch=0, parent=None, seed=7, epochs=2, digest=start.graph.digest)]
    rows.append(row(2, ARCHITECTURE, failure="TrainingDiverged: the loss was nan", accuracy=0.0))
    parent, architecture = run / "start.keras", ARCHITECTURE
    for number, width in ((1, 6), (3, 8)):
        wider = Net2Wider(0, width)
        family = Family(
            parent=parent,
            digest=load_network(parent).digest,
            architecture=architecture,
            data=DIGITS.fingerprint,
            recipe=RECIPE,
        )
        before, architecture = architecture, wider.apply(architecture)
        request = Request(parent=family.digest, transformations=(wider,), architecture=architecture, seed=number)
        graph = ChildTrainer(trainer, DIGITS).train(family, request).graph
        told = {"parent": 0 if number == 1 else 1, "transformations": str(wider), "seed": number}
        rows.append(row(number, architecture, **told, digest=graph.digest, accuracy=0.9 if number == 1 else 0.6))
        if number == 1:
            parent = run / "weights" / "1.keras"
            save_network(graph, parent)
    assert before != architecture
    rows.append(row(4, architecture, parent=3))
    record(run, DIGITS, CONFIG, rows)
    return run


def record(run, images, config, rows):
    whole = Run(config=json.dumps(config), versions="{}", fingerprint=images.fingerprint, created="2026-01-01")
    file = Record.create(run / "run.sqlite", whole)
    for each in rows:
        file.add(each, seconds=1.0)
    file.close()


@pytest.fixture
def run(original, tmp_path):
    return Path(shutil.copytree(original, tmp_path / "run"))


class Told(Progress):
    """Keeps what is told, and does something after an epoch."""

    def __init__(self, after_epoch=lambda _: None):
        self.text, self._after_epoch = io.StringIO(), after_epoch
        super().__init__(100, Console(file=self.text, highlight=False))

    def step(self, text):
        super().step(text)
        self._after_epoch(int(text.split("epoch ")[1].split("/")[0]))


def plan_of(run, **options):
    return FinalPlan.of(FinalConfig(run=run, **{"epochs": 2, "checkpoint_seconds": 0, **options}))


def train(run, progress=None, interruption=None, **options):
    """The results, and the folder that they are in."""
    plan = plan_of(run, **options)
    return final_training(plan, progress or Told(), interruption or Interruption("")), plan.folder


def weights_of(folder, seed=0):
    return load_network(folder / f"seed-{seed}.keras").digest


def test_from_scratch_the_start_network_is_what_the_search_made_of_it(run):
    """The same epochs, rate and seed: the same weights, to the last bit."""
    _, folder = train(run, network=0, from_scratch=True, seed=7)
    assert weights_of(folder, 7) == load_network(run / "start.keras").digest


def test_a_network_without_weights_is_grown_as_the_search_has_grown_it(run):
    """Trained for as many epochs from there, with its seed, it is the network that the record tells of."""
    plan = plan_of(run, network=3, epochs=1, seed=3)
    final_training(plan, Told(), Interruption(""))
    assert weights_of(plan.folder, 3) == plan.network.digest


def test_the_best_network_goes_on_from_its_weights(run, tmp_path):
    progress = Told()
    (result,), folder = train(run, progress, epochs=1)
    expected = Trainer(DIGITS).train(load_network(run / "weights" / "1.keras"), RECIPE, seed=TRAINING_SEED)
    assert (result["network"], result["inherited"]) == (1, load_network(run / "weights" / "1.keras").digest)
    assert weights_of(folder) == expected.graph.digest
    assert result["validation_accuracy"] == expected.accuracy
    program = f"""
import keras, numpy as np, sys
model = keras.models.load_model({str(folder / "seed-0.keras")!r})
digits = np.load({str(FILE)!r})
hits = model.predict(digits["x_test"], verbose=0).argmax(-1) == digits["y_test"]
assert not [name for name in sys.modules if name.startswith("eas_tf")]
print(repr(float(hits.mean())))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120
    )
    assert float(done.stdout) == result["test_accuracy"]
    assert f"test accuracy {100 * result['test_accuracy']:.2f} %" in progress.text.getvalue()
    assert json.loads((folder / "seed-0.json").read_text()) == result
    assert {path.name for path in folder.iterdir()} - {"lock"} == {
        "settings.json",
        "inherited.keras",
        "seed-0.keras",
        "seed-0.json",
    }


@pytest.mark.parametrize(
    ("of_search", "options", "dropout", "crops"),
    [
        ({"dropout": 0.25, "crop_and_flip": "on"}, {}, 0.25, True),
        ({"dropout": 0.25, "crop_and_flip": "on"}, {"dropout": 0.0, "crop_and_flip": "off"}, 0.0, False),
        ({}, {"dropout": 0.5, "crop_and_flip": "on"}, 0.5, True),
        ({}, {}, 0.0, False),
    ],
)
def test_dropout_and_crops_are_the_search_s_unless_told(tmp_path, of_search, options, dropout, crops):
    """Runs of the version before have neither in their configuration."""
    (tmp_path / "run").mkdir()
    record(tmp_path / "run", DIGITS, CONFIG | of_search, [row(0, ARCHITECTURE, kind="start", batch=0, parent=None)])
    recipe = plan_of(tmp_path / "run", **options).recipe
    assert (recipe.dropout, recipe.crop_and_flip) == (dropout, crops)


def test_dropout_is_what_the_network_is_trained_with(run):
    _, folder = train(run, epochs=1, dropout=0.5)
    read = load_network(run / "weights" / "1.keras")
    start = with_parts(read, plan_of(run).architecture(plan_of(run).network))
    expected = Trainer(DIGITS).train(start, replace(RECIPE, dropout=0.5), seed=TRAINING_SEED)
    assert weights_of(folder) == expected.graph.digest


def test_all_data_is_all_training_images_in_their_order(run):
    with np.load(FILE) as digits:
        x, y = digits["x_train"], digits["y_train"].astype(np.int32)
    whole = all_together(DIGITS)
    np.testing.assert_array_equal(whole.x_train, x)
    np.testing.assert_array_equal(whole.y_train, y)
    progress = Told()
    (result,), folder = train(run, progress, all_data=True, epochs=1, cutout=3)
    images = replace(DIGITS, x_train=x, y_train=y)
    start = load_network(run / "weights" / "1.keras")
    expected = Trainer(images).train(start, replace(RECIPE, cutout=3), seed=TRAINING_SEED)
    assert weights_of(folder) == expected.graph.digest
    assert (result["training_images"], result["validation_accuracy"]) == (len(x), None)
    assert "there is no validation accuracy" in progress.text.getvalue()


def test_several_seeds_are_told_of_with_mean_and_spread(run):
    progress = Told()
    results, folder = train(run, progress, epochs=1, seeds=3, seed=5, label_smoothing=0.1)
    assert [result["seed"] for result in results] == [5, 6, 7]
    accuracies = 100 * np.array([result["test_accuracy"] for result in results])
    text = f"test accuracy of 3 seeds: mean {accuracies.mean():.2f} %, standard deviation {accuracies.std(ddof=1):.2f}"
    assert text in progress.text.getvalue()
    # What is finished is not trained again, and one seed has no spread.
    times = [(folder / f"seed-{seed}.keras").stat().st_mtime_ns for seed in (5, 6, 7)]
    progress = Told(after_epoch=lambda _: pytest.fail("trained again"))
    assert train(run, progress, epochs=1, seed=6, label_smoothing=0.1)[0] == results[1:2]
    assert "standard deviation" not in progress.text.getvalue()
    assert [(folder / f"seed-{seed}.keras").stat().st_mtime_ns for seed in (5, 6, 7)] == times


def test_the_spread_is_that_of_a_sample():
    """Of 50 and 70 the mean is 60, and the standard deviation the square root of (10² + 10²) / (2 - 1)."""
    assert spread([0.5, 0.7]) == "mean 60.00 %, standard deviation 14.14"
    assert spread([0.5]) == spread([None, None]) == ""


@pytest.fixture(scope="module")
def whole(original, tmp_path_factory):
    """The digest of three epochs in one go."""
    run = shutil.copytree(original, tmp_path_factory.mktemp("whole") / "run")
    return weights_of(train(run, epochs=3)[1])


@pytest.mark.parametrize("last", [1, 2])
def test_an_interrupted_training_goes_on_as_if_it_had_not_been(run, whole, last):
    interruption = Interruption("")

    def ask(epoch):
        interruption.asked = epoch == last

    with pytest.raises(Stopped):
        train(run, Told(ask), interruption, epochs=3, checkpoint_seconds=1e6)
    # The search may go on meanwhile, and delete what it no longer needs.
    (run / "weights" / "1.keras").unlink()
    progress = Told()
    (result,), folder = train(run, progress, network=1, epochs=3)
    assert f"goes on after epoch {last}" in progress.text.getvalue()
    assert weights_of(folder) == whole
    assert len(result["training_losses"]) == 3
    assert not (folder / "seed-0.npz").exists()


def test_a_training_that_dies_within_an_epoch_goes_on_from_the_epoch_before(run, whole):
    def die(epoch):
        if epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(run, Told(die), epochs=3)
    progress = Told()
    assert weights_of(train(run, progress, epochs=3)[1]) == whole
    assert "goes on after epoch 2" in progress.text.getvalue()


def started(run, *arguments):
    command = [sys.executable, SCRIPT, run, "--epochs", "60", "--checkpoint-seconds", "0", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_checkpoint(process, run, after=0):
    while process.poll() is None:
        if any(path.stat().st_mtime_ns > after for path in run.glob("final/*/seed-0.npz")):
            return
        time.sleep(0.01)
    pytest.fail(f"It ended before: {process.communicate()}")


def terminated(process):
    """The arguments of the command that goes on."""
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    *_, line = errors.splitlines()
    python, script, *arguments = shlex.split(line.partition("To go on: ")[2])
    assert (python, script) == ("python", str(SCRIPT))
    return arguments


@pytest.mark.slow
def test_a_terminated_process_tells_how_to_go_on(original, tmp_path):
    run = Path(shutil.copytree(original, tmp_path / "a run"))
    process = started(run)
    wait_for_checkpoint(process, run)
    arguments = terminated(process)
    assert arguments == [str(run), "--epochs", "60", "--checkpoint-seconds", "0", "--network", "1"]
    ((checkpoint,), progress) = run.glob("final/*/seed-0.npz"), Told()
    train(run, progress, network=1, epochs=60)
    assert "goes on after epoch" in progress.text.getvalue()
    assert not checkpoint.exists()


@pytest.mark.slow
def test_a_killed_and_then_terminated_training_is_an_uninterrupted_one(original, tmp_path):
    run, other = (Path(shutil.copytree(original, tmp_path / name)) for name in ("run", "other"))
    whole, killed = started(other, "--network", "1"), started(run)
    wait_for_checkpoint(killed, run)
    killed.kill()
    killed.communicate()
    again = started(run)
    wait_for_checkpoint(again, run, after=time.time_ns())
    last = subprocess.run([sys.executable, SCRIPT, *terminated(again)], capture_output=True, text=True, timeout=120)
    assert "goes on after epoch" in last.stdout, last.stderr
    _, errors = whole.communicate(timeout=120)
    assert whole.returncode == 0, errors
    (ours,), (theirs,) = (list(path.glob("final/*/seed-0.keras")) for path in (run, other))
    assert load_network(ours).digest == load_network(theirs).digest


@pytest.fixture
def stopped(run):
    """A training with a checkpoint after one of two epochs."""
    interruption = Interruption("")

    def ask(_):
        interruption.asked = True

    plan = plan_of(run)
    with pytest.raises(Stopped):
        final_training(plan, Told(ask), interruption)
    return plan


def test_a_damaged_checkpoint_is_refused_by_name(stopped):
    file = stopped.folder / "seed-0.npz"
    content = file.read_bytes()
    flipped = [bytearray(content) for _ in range(4)]
    for number, each in enumerate(flipped):
        each[number * (len(content) - 1) // 3] ^= 1
    for damaged in (b"", content[:-1], content[: len(content) // 2], b"\0" * len(content), *flipped):
        file.write_bytes(damaged)
        with pytest.raises(RunDamaged, match=r"seed-0\.npz is damaged: delete it"):
            final_training(stopped, Told(), Interruption(""))
    # One of another seed is no better.
    file.write_bytes(content)
    file.rename(stopped.folder / "seed-1.npz")
    with pytest.raises(RunDamaged, match=r"seed-1\.npz is of another training"):
        final_training(replace(stopped, config=replace(stopped.config, seed=1)), Told(), Interruption(""))
    final_training(stopped, Told(), Interruption(""))
    assert (stopped.folder / "seed-0.keras").exists()


def test_damaged_results_and_settings_are_refused_by_name(stopped):
    final_training(stopped, Told(), Interruption(""))
    for name, what in (
        ("seed-0.keras", r"seed-0\.keras is not as .*seed-0\.json"),
        ("seed-0.json", r"seed-0\.json is damaged"),
        ("inherited.keras", r"inherited\.keras cannot be read"),
        ("settings.json", r"settings\.json is damaged"),
    ):
        content = (stopped.folder / name).read_bytes()
        (stopped.folder / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(RunDamaged, match=what):
            final_training(stopped, Told(), Interruption(""))
        (stopped.folder / name).write_bytes(content)
    (stopped.folder / "inherited.keras").rename(stopped.folder / "away.keras")
    with pytest.raises(RunDamaged, match=r"inherited\.keras is not there.*\. Copy the file back, or delete .* anew"):
        final_training(stopped, Told(), Interruption(""))
    (stopped.folder / "away.keras").rename(stopped.folder / "inherited.keras")
    final_training(stopped, Told(), Interruption(""))


def test_one_process_at_a_time(stopped):
    with FileLock(stopped.folder / "lock"), pytest.raises(RunBusy, match="Another process"):
        final_training(stopped, Told(), Interruption(""))


def test_without_weights_there_is_a_way_on(run):
    with pytest.raises(InvalidConfiguration, match=r"`from_scratch`, or train one whose weights are kept: 0, 1\."):
        train(run, network=4)
    shutil.copy(run / "start.keras", run / "weights" / "1.keras")
    with pytest.raises(RunDamaged, match=r"1\.keras is another network"):
        train(run)
    (run / "weights" / "1.keras").write_bytes(b"nothing")
    with pytest.raises(RunDamaged, match=r"1\.keras cannot be read"):
        train(run)
    assert not (run / "final").exists()


def test_images_without_test_images(tmp_path):
    with np.load(FILE) as digits:
        np.savez(tmp_path / "own.npz", x_train=digits["x_train"], y_train=digits["y_train"])
    images = data.load(tmp_path / "own.npz")
    record(tmp_path, images, {**CONFIG, "dataset": str(tmp_path / "own.npz")}, [row(0, ARCHITECTURE, parent=None)])
    with pytest.raises(InvalidData, match="no test images"):
        train(tmp_path, all_data=True, from_scratch=True)
    (result,), _ = train(tmp_path, from_scratch=True, epochs=1)
    assert result["test_accuracy"] is None
    assert 0 < result["validation_accuracy"] < 1


def script():
    spec = importlib.util.spec_from_file_location("train_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def files(run):
    """All, with their times."""
    return {path: path.stat().st_mtime_ns for path in run.rglob("*")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--network", "9"], "has networks 0 to 4. Received: 9"),
        (["--network", "-1"], "has networks 0 to 4. Received: -1"),
        (["--network", "2"], "Network 2 of RUN failed: TrainingDiverged: the loss was nan. The best one is 1."),
        (["--epochs", "0"], "--epochs must be at least 1"),
        (["--seeds", "0"], "--seeds must be from 1 to 1000"),
        (["--seeds", "100000000000"], "--seeds must be from 1 to 1000"),
        (["--seed", "-1"], "--seed must be at least 0"),
        (["--cutout", "9"], "--cutout is at most the 8 pixels"),
        (["--cutout", "-1"], "--cutout is a number of pixels"),
        (["--label-smoothing", "1"], "--label-smoothing a share from 0 to below 1"),
        (["--label-smoothing", "nan"], "--label-smoothing a share from 0 to below 1"),
        (["--checkpoint-seconds", "nan"], "--checkpoint-seconds must be 0 or more"),
        (["--dataset", "synthetic"], "does not hold the images of the search"),
        (["--dataset", "nowhere.npz"], "nowhere.npz"),
        (["/weights"], "is no run directory"),
        (["/start.keras"], "is no run directory"),
        (["/a\nline"], "control characters"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(run, capsys, arguments, message):
    before = files(run)
    where = [f"{run}{arguments[0]}"] if arguments[0].startswith("/") else [str(run), *arguments]
    assert exit_code(lambda: script().main(where)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message.replace("RUN", str(run)) in captured.err
    assert files(run) == before
