"""The main job from the command line: a real search on the digits, small."""

import io
import json
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from eas_tf import data
from eas_tf.agents import AGENTS, make_agent
from eas_tf.architecture import PlainCNN, parse_move
from eas_tf.errors import InvalidConfiguration, exit_code
from eas_tf.runs.progress import Progress
from eas_tf.search.config import SearchConfig
from eas_tf.search.driver import search
from eas_tf.search.dry_run import Cost, Estimate, lines
from eas_tf.search.plan import Plan
from eas_tf.search.resuming import read_config
from eas_tf.surgery import load_network

SCRIPT = Path(__file__).parents[2] / "scripts" / "search.py"


def run(*arguments, cwd, timeout=120):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A search of eleven networks, which is one whole batch of the agent and part of another."""
    folder = tmp_path_factory.mktemp("search")
    result = run("--networks", "11", "--epochs", "1", "--start-epochs", "6", "--output", "out", cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder / "out", result.stdout


@pytest.fixture(scope="module")
def rows(finished):
    database = sqlite3.connect(finished[0] / "run.sqlite")
    database.row_factory = sqlite3.Row
    yield list(database.execute("SELECT * FROM network ORDER BY id"))
    database.close()


def test_the_run_directory_is_whole(finished):
    files = {path.name for path in finished[0].iterdir()}
    assert {"config.json", "split.json", "run.sqlite", "start.keras", "best.keras", "progress.png"} <= files
    assert not [name for name in files if "partial" in name]
    config = json.loads((finished[0] / "config.json").read_text())
    assert config["networks"] == 11
    assert config["space"] == "digits"
    assert {"python", "eas_tf", "tensorflow", "keras", "gymnasium", "numpy"} <= set(config["versions"])


def test_a_line_a_network_and_a_leaderboard(finished, rows):
    lines = finished[1].splitlines()
    for row in rows:
        (line,) = [line for line in lines if f"#{row['id']} " in line and "parameters" in line]
        assert row["architecture"] in line
        assert f"{row['parameters']:,}" in line
        assert f"{100 * row['accuracy']:.2f} %" in line
    assert any("left]" in line for line in lines)
    assert any("Best networks" in line for line in lines)


def test_every_child_can_be_rebuilt_from_its_row(finished, rows):
    start, *children = rows
    assert len(children) == 11
    assert start["digest"] == load_network(finished[0] / "start.keras").digest
    for row in children:
        child = PlainCNN.parse(start["architecture"], (8, 8, 1))
        for text in row["transformations"].split():
            child = parse_move(text).apply(child)
        assert str(child) == row["architecture"]
        assert child.parameter_count == row["parameters"]
        assert row["parent"] == 0
        assert 0 <= row["accuracy"] <= 1
        assert row["failure"] == ""
        assert row["score"] == row["accuracy"]
    assert len({row["seed"] for row in rows}) == 12


def test_the_best_network_reaches_the_printed_accuracy_without_eas_tf(finished, rows, tmp_path):
    best = max(row["accuracy"] for row in rows)
    program = f"""
import json, sys, keras, numpy as np
split = json.load(open({str(finished[0] / "split.json")!r}))
digits = np.load({str(Path(data.__file__).parent / "digits.npz")!r})
where = split["validation_indices"]
model = keras.models.load_model({str(finished[0] / "best.keras")!r})
hits = model.predict(digits["x_train"][where], verbose=0).argmax(-1) == digits["y_train"][where]
assert not [name for name in sys.modules if name.startswith("eas_tf")]
print(repr(float(hits.mean())))
"""
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120
    )
    assert float(result.stdout) == best
    assert f"best network:  validation accuracy {100 * best:.2f} %" in finished[1]


def search_here(output, **options):
    """A search in this process; the rows of its record."""
    config = SearchConfig(output=output, networks=2, epochs=1, start_epochs=2, engine="inline", **options)
    search(Plan.of(config), Progress(3, Console(file=io.StringIO())))
    database = sqlite3.connect(output / "run.sqlite")
    rows = database.execute("SELECT architecture, accuracy, parent, parameters FROM network ORDER BY id").fetchall()
    database.close()
    return rows


@pytest.mark.slow
def test_the_same_seed_makes_the_same_decisions_and_results(tmp_path):
    first, again, other = (search_here(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert len(first) == 3
    assert first == again
    assert first != other


def test_random_search_and_the_parameter_limit(tmp_path):
    rows = search_here(tmp_path / "out", agent="random", max_params=1_000)
    parameters = [count for *_, count in rows]
    assert len(parameters) == 3
    assert max(parameters) <= 1_000


def test_an_interrupted_search_keeps_what_is_finished(tmp_path):
    class Interrupting(Progress):
        def network(self, line):
            super().network(line)
            if self._done == 2:
                raise KeyboardInterrupt

    config = SearchConfig(output=tmp_path / "out", networks=2, epochs=1, start_epochs=2, engine="inline")
    with pytest.raises(KeyboardInterrupt):
        search(Plan.of(config), Interrupting(3, Console(file=io.StringIO())))
    database = sqlite3.connect(tmp_path / "out" / "run.sqlite")
    assert database.execute("SELECT count(*) FROM network").fetchone() == (2,)
    database.close()
    assert {"best.keras", "start.keras"} <= {path.name for path in (tmp_path / "out").iterdir()}


def here(arguments):
    """What `scripts/search.py` does, in this process."""
    plan = Plan.of(read_config(arguments))
    search(plan, Progress(plan.networks))
    return 0


def test_the_script_ends_bad_input_in_one_line(tmp_path):
    result = run("--dataset", "cifar11", cwd=tmp_path)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


def save(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


IMAGES, LABELS = np.zeros((60, 8, 8, 1), np.uint8), np.arange(60) % 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--networks", "0"], "--networks must be at least 1"),
        (["--networks", "-3"], "--networks must be at least 1"),
        (["--max-params", "-1"], "--max-params must be at least 1"),
        (["--deepen-steps", "0", "--widen-steps", "0"], "An episode needs a step"),
        (["--widen-steps", "-1"], "--widen-steps must be at least 0"),
        (
            ["--agent", "randon"],
            "reinforce, random, evolution. Received: 'randon'. Did you mean 'random'?",
        ),
        (["--start", "C(4,3,1), P(2,2,MAX) SM(10)"], "At position 20 of the layer string"),
        (["--start", "C(4,3,1), C(200,3,1), SM(10)"], "wider than the last rung"),
        (["--start", "C(4,3,1), P(2,2,MAX), SM(7)"], "7 classes"),
        (["--max-params", "100"], "at most 100 are allowed"),
        (["--dataset", "cifar11"], "Unknown data set"),
        (["--dataset", "missing.npz"], "There is no file"),
        (["--dataset", "cifar10", "--data-dir", "nowhere"], "is not there"),
        (["--batch", "5000"], "--batch must be at most"),
        (["--space", "huge"], "--space is one of"),
        (["--space", "nasbench201"], "--space nasbench201 has no schedule"),
        (["--space", "nasbench201", "--deepen-steps", "3"], "options for these mean nothing there"),
        (["--agent", "foo"], "--agent is one of"),
        (["--dropout", "1"], "--dropout is a share"),
        (["--widen-steps", "5000"], "--deepen-steps and --widen-steps may be 1,000 together. Received: 5 and 5000"),
        (["--widen-steps", "9" * 30], "may be 1,000 together"),
        (["--start", "C(8,3,1), P(8,8,AVG), SM(3)"], "Give another --start or another --dataset"),
        (["--output", "full"], "holds something already"),
        (["--output", "full/thesis.tex/out"], "cannot be written: Not a directory"),
        (["--output", "/proc/nothing/here"], "cannot be written"),
        (["--resume", "full"], "holds no run.sqlite"),
        (["--dry-run", "--engine", "surrogate"], "--dry-run estimates a new search"),
        (["--extend"], "name it with --resume"),
        (["--stages", "300,x"], "--stages is the children of each stage"),
        (["--stages", "300,0"], "--stages is the children of each stage"),
        (["--stages", "30,20", "--networks", "9"], "leave out --networks 9, or --stages 30,20"),
        (["--max-hours", "0"], "--max-hours must be positive"),
        (["--price-parameters", "-1"], "--price-parameters must be a finite number"),
        (["--workers", "0"], '--workers is "auto" or at least 1'),
        (["--workers", "100000", "--cache", "cache.sqlite"], "--workers 100000 need about"),
        (["--child-seconds", "0"], "--child-seconds must be positive"),
        (["--engine", "ray", "--ray-address", "127.0.0.1:6399"], "Ray"),
        (["--strategy", "mirrored"], "add --engine inline"),
        (["--cache", "full"], "cannot be written: Is a directory. Name another file"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(arguments, message, tmp_path, monkeypatch, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("years of work")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    assert exit_code(lambda: here(arguments)) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert len([line for line in printed.err.splitlines() if line]) == 1
    assert printed.out == ""
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": IMAGES, "labels": LABELS}, "x_train"),
        ({"x_train": IMAGES, "y_train": LABELS - 1}, "label"),
        ({"x_train": IMAGES / 255.0, "y_train": LABELS}, "uint8"),
        ({"x_train": IMAGES, "y_train": LABELS * 0}, "class"),
        ({"x_train": IMAGES[:, :3, :3], "y_train": LABELS}, "pools"),
    ],
)
def test_unusable_images_are_refused_in_one_line(arrays, message, tmp_path, monkeypatch, capsys):
    path = save(tmp_path / "mine.npz", **arrays)
    monkeypatch.chdir(tmp_path)
    assert exit_code(lambda: here(["--dataset", path])) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert len(printed.err.splitlines()) == 1
    assert [child.name for child in tmp_path.iterdir()] == ["mine.npz"]


@pytest.mark.slow
def test_a_dry_run_says_what_a_search_will_cost_and_writes_nothing(tmp_path):
    result = run("--dry-run", "--networks", "11", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    heading, *classes, total = result.stdout.splitlines()
    assert "multiply-adds" in heading
    assert len(classes) == 5
    sizes = [int(line.split()[0].replace(",", "")) for line in classes]
    assert sizes == sorted(sizes)
    assert all(float(line.split()[2]) > 0 for line in classes)
    assert total.startswith("about ")
    assert "11 children of" in total
    assert not list(tmp_path.iterdir())


def test_an_estimate_adds_up():
    cost = Cost(architecture="SM(10)", parameters=1, multiply_adds=1, seconds=2.0)
    found = Estimate(
        startup=5,
        start=7,
        workers=4,
        classes=(cost, replace(cost, seconds=4.0)),
        networks=40,
        promoted=0,
        at_once=2,
        agent=3,
    )
    assert found.total == 5 + 7 + 40 * 3 / 2 + 3
    assert list(lines(found))[-1] == (
        "about 75 s in all: 5 s to start up, 7 s for the start network, 0 s until the workers are there, "
        "40 children of 3.0 s, 2 at once, 3 s for the agent"
    )
    assert replace(found, workers=9).total == found.total + 2
    assert replace(found, promoted=5).total == found.total + 15
    assert list(lines(replace(found, networks=6_000)))[-1].startswith("about 2.5 h in all")


def test_help_is_quick_and_loads_no_tensorflow(tmp_path):
    program = (
        "import sys, runpy\n"
        "sys.argv = ['search.py', '--help']\n"
        "try:\n"
        f"    runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
        "except SystemExit as error:\n"
        "    assert not error.code\n"
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stderr
    for option in ("--dataset", "--agent", "--space", "--networks", "--epochs", "--start-epochs", "--max-params"):
        assert option in result.stdout


def test_a_search_takes_any_registered_agent(tmp_path, monkeypatch):
    """It draws for itself what random search would, but is another agent to the record."""
    made = []

    def mine(*spaces, rng, config=None):
        made.append(config)
        return make_agent("random", *spaces, rng=rng)

    monkeypatch.setitem(AGENTS, "mine", mine)
    assert here(["--agent", "mine", "--engine", "surrogate", "--networks", "2", "--output", str(tmp_path / "run")]) == 0
    assert made
    assert json.loads((tmp_path / "run" / "config.json").read_text())["agent"] == "mine"


def test_defaults_follow_the_data_set():
    digits, mine = SearchConfig().resolved(), SearchConfig(dataset="mine.npz").resolved()
    assert (digits.space, digits.epochs, digits.start_epochs, digits.batch) == ("digits", 4, 12, 32)
    assert (mine.space, mine.epochs, mine.start_epochs, mine.batch) == ("paper", 20, 20, 64)
    assert SearchConfig(epochs=3).resolved().epochs == 3
    densenet = SearchConfig(space="densenet-digits").resolved()
    assert (densenet.space, densenet.epochs, densenet.start_epochs) == ("densenet-digits", 4, 4)
    for space in ("digits", "toy"):
        assert SearchConfig(space=space).resolved().start_epochs == 12
    assert SearchConfig(deepen_steps=1, widen_steps=2).resolved().schedule == ("deepen", "widen", "widen")


def test_dropout_and_crops_reach_the_trainings_of_the_start_and_of_the_children(tmp_path):
    plan = Plan.of(SearchConfig(dropout=0.2, crop_and_flip="on", output=tmp_path / "run"))
    for recipe in (plan.recipe, plan.start_recipe):
        assert (recipe.dropout, recipe.crop_and_flip) == (0.2, True)
    assert not Plan.of(SearchConfig(output=tmp_path / "run")).recipe.crop_and_flip
    with pytest.raises(InvalidConfiguration, match="`dropout` is a share"):
        SearchConfig(dropout=1.0)
