"""Searches in this process and in others, and what they record."""

import io
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

from eas_tf.runs.interruption import Interruption
from eas_tf.runs.progress import Progress
from eas_tf.search.driver import search
from eas_tf.search.plan import Plan
from eas_tf.search.resuming import read_config

SCRIPT = Path(__file__).parents[1] / "scripts" / "search.py"
SURROGATE = ["--engine", "surrogate", "--agent", "random", "--stages", "20,13", "--restart-every", "1"]
TRAINED = ["--networks", "6", "--epochs", "1", "--start-epochs", "2", "--deepen-steps", "1", "--widen-steps", "1"]


def start(*arguments, session=False):
    """A process that searches; with `session`, the leader of a group of its own."""
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=session
    )


def run(*arguments, code=0):
    process = start(*arguments)
    out, err = process.communicate(timeout=200)
    assert process.returncode == code, err
    return out, err


def rows(folder, table="network"):
    if not (folder / "run.sqlite").exists():
        return {}
    database = sqlite3.connect(folder / "run.sqlite")
    try:
        return {row[0]: row for row in database.execute(f"SELECT * FROM {table} ORDER BY id")}
    finally:
        database.close()


def digest(out):
    (line,) = [line for line in out.splitlines() if line.startswith("decisions and results: ")]
    return line


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
    assert process.poll() is None, process.communicate()[1]


def here(*arguments):
    """What a search prints that runs in this process."""
    printed = io.StringIO()
    plan = Plan.of(read_config(arguments))
    with Interruption("") as interruption:
        search(plan, Progress(plan.networks, Console(file=printed)), interruption)
    return printed.getvalue()
