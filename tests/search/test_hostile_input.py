"""What an attacker, or a slip of the hand, gives the search: one line, exit code 2, and nothing is written."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from eas_tf.errors import exit_code

SCRIPT = Path(__file__).parents[2] / "scripts" / "search.py"

STARTS = [
    "",
    " ",
    "../../x",
    "../../etc/passwd",
    "/etc/passwd",
    "C(16,3,1), ../../x",
    "C:\\Windows\\system32",
    "~/x",
    "x" * 300,
    "C(16,3,1), " * 27 + "x" * 30,
    "C" + "(" * 300,
    "<script>alert(1)</script>",
    "'; DROP TABLE network; --",
    "$(touch pwned)",
    "`touch pwned`",
    "{0.__class__}",
    "%s%s%n",
    "__import__('os').system('touch pwned')",
    "\x1b[31mC(16,3,1), SM(10)",
    "C(16,3,1), \x1b]0;title\x07SM(10)",
    "C(16,3,1)\n\nerror: all is well",
    "\rC(16,3,1), SM(10), \r",
    "C(16,3,1), SM(10)\x00",
    "C(16,3,1),\x1fSM(10)",
    "\u202eC(16,3,1), SM(10)",
    "\u2028C(16,3,1), SM(10)",
    os.fsdecode(b"\xff\xfe"),
    "C(\u0661\u0666,3,1), SM(10)",
    "C(\uff11\uff16,3,1), SM(10)",
    "\u0421(16,3,1), SM(10)",
    "C(99999999999999999999,3,1), SM(10)",
    "C(65536,31,1), SM(10)",
    "C(-1,3,1), SM(10)",
    "C(1e9,3,1), SM(10)",
    "C(4,3,1), SM(65536)",
    "C(4,3,1), P(1024,1,MAX), SM(10)",
]

DATASETS = [
    "",
    "../../etc/passwd",
    "/etc/passwd",
    "/dev/zero",
    "digits\0",
    "digits\n",
    "\x1b[31mdigits",
    "<script>alert(1)</script>",
    "../../x.npz",
    "\x1b[31mx.npz",
    "mi\0ne.npz",
    "~nobody-of-that-name/x.npz",
    "x" * 300 + ".npz",
    os.fsdecode(b"\xff.npz"),
    "folder.npz",
    "pipe.npz",
    "zero.npz",
    "loop.npz",
    "text.npz",
    "pickled.npz",
]

OUTPUTS = ["a\0b", "\x1b[31mred", "two\nlines", "x" * 300, "a/" * 3_000, os.fsdecode(b"\xff"), "taken", "pipe.npz"]

CASES = [
    *(("--start", value) for value in STARTS),
    *(("--dataset", value) for value in DATASETS),
    *(("--output", value) for value in OUTPUTS),
    *(("--space", value) for value in ("../../x", "\x1b[31mpaper", "paper\0", "")),
    *(("--resume", value) for value in ("../../x", "\x1b[31mred", "a\0b", "x" * 300, "pipe.npz", "taken")),
]


@pytest.fixture(scope="module")
def search():
    """The script's `main`, in this process: most input is refused before TensorFlow is imported."""
    spec = importlib.util.spec_from_file_location("search_script", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script.main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the search runs, among files that are no data sets."""
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "zero.npz").symlink_to("/dev/zero")
    (tmp_path / "loop.npz").symlink_to("loop.npz")
    (tmp_path / "text.npz").write_text("no zip file")
    np.savez(tmp_path / "pickled.npz", x_train=np.array([{}] * 40, dtype=object), y_train=np.arange(40) % 4)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("keep this")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def everything(folder):
    return {path: path.lstat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("option", "value"), CASES, ids=lambda value: repr(value[:24]))
def test_hostile_input_is_refused_in_one_line_and_nothing_is_written(search, folder, capsys, option, value):
    before = everything(folder)
    others = ["--networks", "1", "--epochs", "1", "--start-epochs", "1"]
    assert exit_code(lambda: search([f"{option}={value}", *others])) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.endswith("\n")
    assert said.err[:-1].isprintable()
    assert len(said.err) < 800
    assert everything(folder) == before


@pytest.mark.parametrize("option", ["--start", "--dataset", "--output"])
def test_the_command_line_refuses_bytes_that_are_no_text_in_one_line(folder, option):
    """In a process of its own, with the real standard error, which could not print them."""
    before = everything(folder)
    command = [sys.executable, str(SCRIPT), f"{option}=".encode() + b"\xff\x1b[31m\n"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    line = done.stderr.decode()
    assert line.startswith("error: ")
    assert line[:-1].isprintable()
    assert everything(folder) == before
