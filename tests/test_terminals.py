"""What a terminal, a pipe or a shell may be like: none of it ends a script with a traceback, or makes a folder `~`."""

import importlib.util
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from eas_tf import data
from eas_tf.architecture import PlainCNN
from eas_tf.data import ImageData
from eas_tf.envs.evaluators import EvaluatorConfig
from eas_tf.errors import InvalidConfiguration, exit_code
from eas_tf.final.plan import FinalConfig
from eas_tf.report.account import read
from eas_tf.runs.progress import Progress
from eas_tf.search.config import SearchConfig
from eas_tf.surgery import load_network, lower, save_network

SCRIPTS = Path(__file__).parents[1] / "scripts"


def stream(encoding):
    """As Python opens the standard streams: what cannot be encoded is an error."""
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)


@pytest.fixture
def script(monkeypatch, tmp_path):
    """Runs a script in this process, at home in an empty folder, between pipes of one encoding."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def run(name, *arguments, encoding="ascii"):
        module = importlib.util.module_from_spec(
            spec := importlib.util.spec_from_file_location("script", SCRIPTS / name)
        )
        monkeypatch.setitem(sys.modules, "script", module)
        spec.loader.exec_module(module)
        out, err = stream(encoding), stream(encoding)
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        try:
            code = exit_code(lambda: module.main(arguments))
        except SystemExit as end:  # --help
            code = end.code
        return code or 0, *(each.buffer.getvalue().decode(encoding) for each in (out, err))

    return run


def test_a_search_and_its_report_write_to_pipes_of_any_encoding_and_below_the_home_folder(script, tmp_path):
    options = ["--engine", "surrogate", "--networks", "2"]
    command = [sys.executable, SCRIPTS / "search.py", *options, "--output=~/läufe/日本", "--cache=~/c.sqlite"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert r"l\xe4ufe/\u65e5\u672c" in done.stdout
    assert (tmp_path / "läufe" / "日本" / "run.sqlite").is_file()
    assert (tmp_path / "c.sqlite").is_file()
    for encoding in ("ascii", "latin-1", "utf-8"):
        code, out, err = script("report.py", "~/läufe/日本", f"--output=~/{encoding}-日本.html", encoding=encoding)
        assert code == 0, err
        assert "Best networks" in out
        assert (tmp_path / f"{encoding}-日本.html").is_file()
    code, _, err = script("search.py", *options, "--output=~/läufe/日本")
    assert (code, err.count("\n")) == (2, 1)
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize(
    ("name", "bad"), [("train.py", "~/läufe"), ("compare.py", "--picture=~/ü.pdf"), ("compare_stopping.py", "~/ü")]
)
def test_help_and_refusals_are_printed_in_ascii(script, tmp_path, name, bad):
    code, out, err = script(name, "--help")
    assert code == 0, err
    assert "\\u" not in out
    code, out, err = script(name, bad)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert str(tmp_path) in err


def test_the_bar_is_plain_on_a_terminal_in_ascii():
    terminal = stream("ascii")
    with Progress(3, Console(file=terminal, force_terminal=True)) as progress:
        progress.network("a network")
    assert "a network" in terminal.buffer.getvalue().decode("ascii")


def test_every_path_of_a_user_is_expanded_in_python_too(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = SearchConfig(output=Path("~/a"), cache=Path("~/c.sqlite"), resume=Path("~/b"))
    assert (config.output, config.cache, config.resume) == tuple(tmp_path / name for name in ("a", "c.sqlite", "b"))
    assert SearchConfig(output=Path("~/a")).resolved().output == tmp_path / "a"
    assert FinalConfig(run=Path("~/a")).run == tmp_path / "a"
    assert EvaluatorConfig(cache_dir="~/cache").cache_dir == str(tmp_path / "cache")
    assert SearchConfig(output=Path("a~/~")).output == Path("a~/~")
    graph = lower(PlainCNN.parse("C(4,3,1), P(2,2,MAX), SM(3)", (8, 8, 1)))
    save_network(graph, "~/network.keras")
    assert (tmp_path / "network.keras").exists()
    assert load_network(Path("~/network.keras")).digest == load_network(tmp_path / "network.keras").digest
    data.load("digits").save("~/images.npz")
    assert ImageData.load("~/images.npz").fingerprint == data.load("digits").fingerprint
    with pytest.raises(InvalidConfiguration, match=str(tmp_path)):
        read(Path("~/no-run"))
    with pytest.raises(InvalidConfiguration, match="no such user"):
        SearchConfig(output=Path("~nobody-of-that-name/a"))
