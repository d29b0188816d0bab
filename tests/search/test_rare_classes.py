"""Classes that an accuracy hides: what is said of them, and searches for the mean recall of all classes."""

import hashlib
import importlib.util
import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import keras
import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import balanced_accuracy_score, recall_score
from sklearn.utils.class_weight import compute_class_weight

from eas_tf.architecture import space_named
from eas_tf.data import ImageData, load
from eas_tf.errors import InvalidConfiguration
from eas_tf.evaluation.start import train_start
from eas_tf.final.plan import FinalConfig, FinalPlan
from eas_tf.final.training import final_training
from eas_tf.metrics import balanced_accuracy, balancing, count_found
from eas_tf.report.account import read
from eas_tf.report.page import page
from eas_tf.report.recall import hidden
from eas_tf.runs.interruption import Interruption
from eas_tf.runs.progress import Progress
from eas_tf.runs.record import Record
from eas_tf.search.config import SearchConfig
from eas_tf.search.driver import search
from eas_tf.search.plan import Plan
from eas_tf.search.resuming import read_config
from eas_tf.training.recipe import RATE_FROM_SCRATCH, Recipe
from eas_tf.training.trainer import Trainer

SCRIPTS = Path(__file__).parents[2] / "scripts"
ADVICE = "A new search with metric balanced_accuracy counts every class alike"
WORDS = np.array(["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay"])


def image_set(labels, known, seed=0):
    """Images 8x8 with a bright pixel block for each class below `known`; those of the others are like class 0."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (len(labels), 8, 8, 1))
    for image, label in zip(images, np.where(labels < known, labels, 0), strict=True):
        row, column = divmod(int(label), 4)
        image[2 * row : 2 * row + 3, 2 * column : 2 * column + 2] += 190
    return images.astype(np.uint8)


def few(share):
    """Labels 0 and 1, of which the ones are a share."""
    return (np.arange(400) % round(1 / share) == 0).astype(int)


def run_search(folder, labels, known, names=None, **config):
    """The lines that a small search says, and its run directory."""
    y = labels if names is None else names[labels]
    arrays = {"x_train": image_set(labels, known), "y_train": y, "x_test": image_set(labels, known, 1), "y_test": y}
    np.savez(folder / "mine.npz", **arrays)
    defaults = {"space": "digits", "networks": 2, "epochs": 1, "start_epochs": 6, "batch": 32, "engine": "inline"}
    output = folder / "run"
    plan = Plan.of(SearchConfig(dataset=str(folder / "mine.npz"), output=output, **{**defaults, **config}))
    progress = Progress(3, Console(file=io.StringIO(), width=250))
    search(plan, progress)
    return progress._console.file.getvalue(), output


def script(name, *argv):
    """The exit code of a script, in this process."""
    spec = importlib.util.spec_from_file_location(f"script_{name}", SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main([str(each) for each in argv])


def predicted(run, x):
    return keras.models.load_model(run / "best.keras").predict(x, verbose=0).argmax(-1)


@pytest.fixture(scope="module")
def two_of_ten(tmp_path_factory):
    """Ten classes with names; "ibis" and "jay" are rare and look like "ant"."""
    labels = np.where(np.arange(400) % 40 > 1, np.arange(400) % 8, 8 + np.arange(400) % 40)
    folder = tmp_path_factory.mktemp("two")
    return *run_search(folder, labels, known=8, names=WORDS, start_epochs=30), labels, folder


def test_classes_that_are_never_found_are_named_in_the_last_lines(two_of_ten):
    lines, run, _, folder = two_of_ten
    data = load(folder / "mine.npz")
    assert set(np.unique(predicted(run, data.x_val))) <= set(range(8))
    count = (data.y_val >= 8).sum()
    assert f"the best network finds none of the {count} validation images of classes 'ibis', 'jay'" in lines
    assert "the best network finds none of the 20 test images of classes 'ibis', 'jay'" in lines
    assert lines.count("Recall by class: 'ibis' 0.00 % of ") == 2
    assert " and 4 more" in lines
    assert lines.count(ADVICE) == 1
    assert "images are of class" not in lines, "no class is nearly all there is"


def test_the_page_and_the_report_say_so_too(two_of_ten, tmp_path, capsys):
    _, run, _, folder = two_of_ten
    data = load(folder / "mine.npz")
    account = read(run)
    recalls = recall_score(data.y_val, predicted(run, data.x_val), average=None)
    expected = sorted((round(float(recall), 9), repr(str(name))) for recall, name in zip(recalls, WORDS, strict=True))
    assert sorted((round(recall, 9), name) for name, _, recall in account.recalls) == expected
    assert [recall for *_, recall in account.recalls] == sorted(recall for *_, recall in account.recalls)
    html = page([account])
    assert "Recall by class" in html
    assert "finds none of" in html
    assert "A search with metric <code>balanced_accuracy</code>" in html
    assert "&#39;ibis&#39;" in html
    assert script("report", run, "--output", tmp_path / "page.html") == 0
    assert "finds none of" in capsys.readouterr().out


def test_the_final_training_says_so_too(two_of_ten):
    _, run, _, _ = two_of_ten
    progress = Progress(1, Console(file=io.StringIO(), width=250))
    (result,) = final_training(FinalPlan.of(FinalConfig(run=run, epochs=1)), progress, Interruption(""))
    assert sum(right for right, _ in result["test_found"]) / 400 == pytest.approx(result["test_accuracy"])
    assert "the network finds none of the 20 test images of classes 'ibis', 'jay'" in progress._console.file.getvalue()


@pytest.mark.parametrize(("share", "never"), [(0.02, 1), (0.98, 0)])
def test_one_class_that_is_nearly_all_there_is(share, never, tmp_path):
    """Case 23, and the same with 98 % positives."""
    labels = few(0.02) if share < 0.5 else 1 - few(0.02)
    lines, run = run_search(tmp_path, labels, known=0, networks=1)
    assert f"finds none of the 2 validation images of class {never}" in lines
    assert f"98.0 % of the validation images are of class {1 - never}" in lines
    assert f"98.0 % of the test images are of class {1 - never}" in lines
    assert f"Recall by class: {never} 0.00 % of 8, {1 - never} 100.00 % of 392" in lines
    assert ADVICE in lines
    assert "finds none of" in page([read(run)])


def test_an_accuracy_that_hides_nothing_is_followed_by_no_such_line(tmp_path):
    lines, run = run_search(tmp_path, np.arange(400) % 2, known=2, networks=1)
    assert "accuracy hides" not in lines
    assert "with metric" not in lines
    html = page([read(run)])
    assert "accuracy hides" not in html
    assert "Recall by class" in html


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            ((8, 9), (0, 1), (0, 0)),
            "finds none of the 1 validation image of class 1. Recall by class: 1 0.00 % of 1, 0",
        ),
        (((89, 91), (3, 9)), "that 91.0 % of the validation images are of class 0. Recall by class: 1 33.33 % of 9"),
        (((90, 90), (1, 10)), ""),
        (((0, 0), (0, 0)), ""),
        ((), ""),
        (((1, 3), (0, 3)) * 50, "finds none of the 150 validation images of classes 1, 3, 5, 7, 9, 11 and 44 more."),
    ],
)
def test_the_line(found, words):
    line = hidden(found, (), "validation")
    assert words in line
    assert bool(line) == bool(words)
    assert len(line) < 400


def test_names_of_classes_do_not_break_the_line():
    line = hidden(((0, 3), (3, 3)), ("\x1b[31m" + "x" * 500, "b\n"), "test")
    assert line.isprintable()
    assert len(line) < 400


# Searches for the mean recall


@pytest.fixture(scope="module")
def balanced(tmp_path_factory):
    folder = tmp_path_factory.mktemp("balanced")
    return *run_search(folder, few(0.02), known=2, metric="balanced_accuracy", networks=3, stopping="watch"), folder


def test_the_score_is_the_mean_recall_and_the_accuracy_stays(balanced):
    lines, run, folder = balanced
    data, account = load(folder / "mine.npz"), read(run)
    guessed = predicted(run, data.x_val)
    assert account.best.score == pytest.approx(balanced_accuracy_score(data.y_val, guessed))
    assert account.best.accuracy == pytest.approx((guessed == data.y_val).mean())
    assert any(network.score != network.accuracy for network in account.networks)
    for network in account.networks[1:]:
        assert json.loads(network.curve)[-1] == network.score == network.worth("balanced_accuracy")
    assert not account.priced
    assert account.gain == account.best.score - account.networks[0].score
    assert account.front[-1].score == account.best.score
    for words in ("Best networks by validation balanced accuracy", "balanced %", "% balanced accuracy, accuracy "):
        assert words in lines
    for which, network in (("start network:", account.networks[0]), ("best network: ", account.best)):
        accuracy = f"{which} validation accuracy {100 * network.accuracy:.2f} %, "
        assert f"{accuracy}validation balanced accuracy {100 * network.score:.2f} %" in lines
    html = page([account])
    assert "validation balanced accuracy, %" in html
    assert "mean recall of all classes" in html
    assert ADVICE not in lines


@pytest.fixture(scope="module")
def hard():
    """Case 23: 2 % of the images are a little brighter and flatter."""
    rng = np.random.default_rng(1)
    rare = (np.arange(1000) % 50 == 0).astype(int)
    x = rng.integers(0, 256, (1000, 12, 12, 1)).astype(float)
    x[rare == 1] = x[rare == 1] * 0.9 + 12
    return ImageData.from_arrays("rare", {"x_train": x.astype(np.uint8), "y_train": rare}, classes=2)


def trained(data, metric):
    """A start network after five epochs, and what a training is told that asks after each."""
    recipe = Recipe(epochs=5, learning_rate=RATE_FROM_SCRATCH, metric=metric)
    start = space_named("digits").start_network(data.input_shape, data.classes)
    return train_start(Trainer(data), data, start, recipe, seed=0)


def test_training_for_the_mean_recall_finds_rare_images_that_training_for_accuracy_does_not(hard):
    assert trained(hard, "accuracy").found == ((245, 245), (0, 5))
    (common, _), (rare, _) = trained(hard, "balanced_accuracy").found
    assert rare >= 1
    assert common >= 123


def test_with_as_many_images_of_each_class_nothing_else_is_trained():
    y = np.arange(400) % 2
    data = ImageData.from_arrays("even", {"x_train": image_set(y, 2), "y_train": y}, classes=2)
    assert np.bincount(data.y_train).tolist() == [150, 150]
    one, other = (trained(data, metric) for metric in ("accuracy", "balanced_accuracy"))
    assert (one.loss, one.found) == (other.loss, other.found)


def test_weights_and_mean_recall_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels, guessed = rng.integers(0, 5, 200) ** 2 // 4, rng.integers(0, 5, 200)
    present = np.unique(labels)
    weights = balancing(labels, 6)
    np.testing.assert_allclose(weights[present], compute_class_weight("balanced", classes=present, y=labels))
    assert weights[labels].mean() == pytest.approx(1)
    found = count_found(labels == guessed, labels, 6)
    assert balanced_accuracy(found) == pytest.approx(recall_score(labels, guessed, labels=present, average="macro"))
    assert np.isnan(balanced_accuracy(((0, 0),)))


def test_a_run_does_not_change_its_metric(balanced):
    _, run, _ = balanced
    for options in (["--metric", "accuracy"], ["--extend", "--networks", "9", "--metric", "accuracy"]):
        with pytest.raises(InvalidConfiguration, match=r"`metric` accuracy \(it has balanced_accuracy\)"):
            read_config(["--resume", str(run), *options])
    assert read_config(["--resume", str(run), "--extend", "--networks", "9"]).metric == "balanced_accuracy"


def test_a_run_goes_on_to_the_same_digest(balanced, tmp_path):
    _, whole, _ = balanced
    config = {"metric": "balanced_accuracy", "networks": 3, "stopping": "watch"}
    _, run = run_search(tmp_path, few(0.02), known=2, max_networks=1, **config)
    assert len(read(run).networks) == 2
    search(
        Plan.of(read_config(["--resume", str(run), "--max-networks", "3"])), Progress(3, Console(file=io.StringIO()))
    )
    with closing(Record(run / "run.sqlite")) as one, closing(Record(whole / "run.sqlite")) as other:
        assert one.digest() == other.digest()
        assert [n.score for n in one.networks()] == [n.score for n in other.networks()]


def test_the_final_training_of_such_a_run_is_for_the_mean_recall_too(balanced):
    plan = FinalPlan.of(FinalConfig(run=balanced[1], epochs=1))
    assert plan.recipe.metric == "balanced_accuracy"
    assert plan.settings["recipe"]["metric"] == "balanced_accuracy"


def test_the_final_training_tells_the_mean_recall_of_each_seed_with_mean_and_spread(balanced):
    """It told of the accuracy only, which is high without any rare image."""
    progress = Progress(2, Console(file=io.StringIO(), width=250))
    plan = FinalPlan.of(FinalConfig(run=balanced[1], epochs=2, seeds=2))
    results = final_training(plan, progress, Interruption(""))
    lines = progress._console.file.getvalue()
    for which in ("validation", "test"):
        recalls = [balanced_accuracy(result[f"{which}_found"]) for result in results]
        for result, recall in zip(results, recalls, strict=True):
            accuracy = f"{which} accuracy {100 * result[f'{which}_accuracy']:.2f} %"
            assert f"{accuracy}, {which} balanced accuracy {100 * recall:.2f} %, " in lines
        percent = 100 * np.array(recalls)
        told = f"mean {percent.mean():.2f} %, standard deviation {percent.std(ddof=1):.2f}"
        assert f"{which} balanced accuracy of 2 seeds: {told}\n" in lines
        assert f"{which} accuracy of 2 seeds: mean " in lines


def test_prices_are_on_the_metric(tmp_path):
    _, run = run_search(tmp_path, few(0.02), known=2, metric="balanced_accuracy", networks=1, price_parameters=0.05)
    account = read(run)
    start, child = account.networks
    assert account.priced
    expected = child.worth("balanced_accuracy") * (child.parameters / start.parameters) ** -0.05
    assert child.score == pytest.approx(expected)
    assert "balanced accuracy less what size costs" in page([account])


@pytest.mark.parametrize("options", [{"metric": "f1"}, {"metric": "balanced_accuracy", "engine": "surrogate"}])
def test_metrics_that_make_no_sense_are_refused(options):
    with pytest.raises(InvalidConfiguration, match="metric"):
        SearchConfig(**options)


# Records of the version before


def as_version_2(run):
    """A record as it was before there was a column `found`, and a configuration without `metric`."""
    with closing(sqlite3.connect(run / "run.sqlite")) as database, database:
        (config,) = database.execute("SELECT config FROM run").fetchone()
        config = json.dumps({name: value for name, value in json.loads(config).items() if name != "metric"})
        database.execute("UPDATE run SET config = ?", [config])
        database.execute("ALTER TABLE network DROP COLUMN found")
        for table in ("run", "network"):
            for row in database.execute(f"SELECT * FROM {table}").fetchall():
                checksum = hashlib.sha256(json.dumps([table, *row[:-1]]).encode()).hexdigest()
                database.execute(f"UPDATE {table} SET checksum = ? WHERE id = ?", [checksum, row[0]])
        database.execute("PRAGMA user_version = 2")


@pytest.mark.slow
def test_a_run_of_the_version_before_is_read_and_goes_on(tmp_path):
    labels = np.arange(400) % 2
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    _, whole = run_search(tmp_path / "a", labels, known=2, networks=3)
    _, run = run_search(tmp_path / "b", labels, known=2, networks=3, max_networks=1)
    as_version_2(run)
    html = page([read(run)])
    assert "Recall by class" not in html
    search(
        Plan.of(read_config(["--resume", str(run), "--max-networks", "3"])), Progress(3, Console(file=io.StringIO()))
    )
    with closing(Record(run / "run.sqlite")) as one, closing(Record(whole / "run.sqlite")) as other:
        assert one.digest() == other.digest()
    assert "A search with metric" not in page([read(run)])
    assert FinalPlan.of(FinalConfig(run=run, epochs=1)).recipe.metric == "accuracy"


def test_a_page_bears_counts_and_files_that_no_search_wrote(two_of_ten, tmp_path):
    _, run, _, _ = two_of_ten
    account = read(run)
    for text in ("[]", "{}", "null", '{"class_names": 7}', '{"class_names": ["<b>", "\\u001b[31m"]}', "\x00"):
        (tmp_path / "split.json").write_text(text)
        (tmp_path / "run.sqlite").write_bytes((run / "run.sqlite").read_bytes())
        html = page([read(tmp_path)])
        assert "<b>&" not in html.replace("<b>#", "")
        assert "\x1b" not in html
    assert account.class_names == tuple(WORDS)
