"""The search script in the space of DenseNets, on the closed form: nothing in it knows which kind of network it is."""

import importlib.util
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from eas_tf.architecture import SPACES, DenseNet, parse_move
from eas_tf.errors import exit_code
from eas_tf.report.account import read
from eas_tf.report.lineage import lineage

SCRIPT = Path(__file__).parents[2] / "scripts" / "search.py"
START = SPACES["densenet-digits"].start


@pytest.fixture(scope="module")
def search():
    """The script's `main`, in this process."""
    spec = importlib.util.spec_from_file_location("search_script", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script.main


@pytest.fixture
def rows(tmp_path, request):
    """The record of a search of twenty networks, from the command line."""
    options = ["--space=densenet-digits", "--engine=surrogate", "--networks=20", "--output=out", *request.param]
    command = [sys.executable, str(SCRIPT), *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    database = sqlite3.connect(tmp_path / "out" / "run.sqlite")
    database.row_factory = sqlite3.Row
    yield list(database.execute("SELECT * FROM network ORDER BY id"))
    database.close()


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(["--agent=reinforce"], marks=pytest.mark.slow),
        pytest.param(["--agent=random"], marks=pytest.mark.slow),
        ["--stages=10,10", "--promote-epochs=1"],
    ],
    indirect=True,
)
def test_a_search_on_the_closed_form_improves_on_its_start(rows, tmp_path):
    """Every child is what its transformations make of its parent, is inside the space, and has words for them."""
    start = rows[0]
    assert start["architecture"] == START
    assert max(row["score"] for row in rows) > start["score"] + 0.1
    for row in rows[1:]:
        child = DenseNet.parse(rows[row["parent"]]["architecture"], (8, 8, 1))
        for text in row["transformations"].split():
            child = parse_move(text).apply(child)
        assert str(child) == row["architecture"]
        assert (child.parameter_count, child.multiply_adds) == (row["parameters"], row["multiply_adds"])
        SPACES["densenet-digits"].check(child)
    networks = read(tmp_path / "out").networks
    words = lineage(networks[-1], networks)[-1].words
    assert all(phrase.startswith(("widen layer ", "insert a dense layer after layer ")) for phrase in words)


@pytest.mark.parametrize(
    ("space", "start", "reason"),
    [
        ("densenet-digits", "C(16,3,1), P(2,2,MAX), FC(64), SM(10)", "it is no DenseNet"),
        ("digits", START, "it is no plain network"),
        (
            "densenet-digits",
            "DenseNet-BC: C(8,3,1), D(7), SM(10)",
            "a growth rate among (4, 6, 8, 10, 12, 16)",
        ),
        ("densenet-digits", "DenseNet-BC: C(8,3,1), D(4), T(4), SM(10)", "expected D(growth)"),
        ("densenet-digits", "DenseNet-BC: C(8,3,1), D(4), T(0), D(4), SM(10)", "must be from 1 to 65,536"),
        ("densenet-digits", "DenseNet-BC: C(8,3,1), 999999999xD(4), SM(10)", "At position 23"),
        ("densenet-digits", "DenseNet-BC: C(8,3,1), D(4), SM(9)", "9 classes"),
        ("densenet-digits", "\x1b[31m: C(8,3,1), D(4), SM(10)", "one of the headers"),
        ("densenet-digits", f"{'x' * 3000}: C(8,3,1), D(4), SM(10)", "one of the headers"),
        ("dense", None, "--space is one of"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(search, tmp_path, monkeypatch, capsys, space, start, reason):
    monkeypatch.chdir(tmp_path)
    options = [f"--space={space}", "--engine=surrogate", "--networks=2", *([f"--start={start}"] if start else [])]
    assert exit_code(lambda: search(options)) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert reason in said.err
    assert said.err[:-1].isprintable()
    assert not [*tmp_path.iterdir()]
