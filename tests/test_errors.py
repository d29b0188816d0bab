"""How scripts end."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from eas_tf.errors import StorageFailed, exit_code
from eas_tf.runs.progress import Progress
from eas_tf.search.driver import search
from eas_tf.search.plan import Plan
from eas_tf.search.resuming import read_config

SCRIPT = Path(__file__).parents[1] / "scripts" / "search.py"
SURROGATE = "--engine", "surrogate", "--networks", "5"


@pytest.fixture(autouse=True)
def handlers():
    """What handles signals here is as it was, after `exit_code` has been called."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def here(*arguments):
    """As scripts/search.py, in this process."""

    def main():
        plan = Plan.of(read_config(arguments))
        search(plan, Progress(plan.networks, Console(file=io.StringIO())))
        return 0

    return exit_code(main)


def test_an_error_of_the_system_is_one_line_that_names_the_file(capsys, tmp_path):
    assert exit_code(lambda: len((tmp_path / "not there").read_text())) == StorageFailed.exit_code
    assert capsys.readouterr().err == f"error: {tmp_path / 'not there'}: No such file or directory\n"


@pytest.mark.parametrize("name", ["lock", "owner.json"])
def test_a_folder_where_a_file_should_be_is_told_of_in_one_line(name, tmp_path, capsys):
    run = tmp_path / "run"
    assert here(*SURROGATE, "--max-networks", "2", "--output", str(run)) == 0
    (run / name).unlink(missing_ok=True)
    (run / name).mkdir()
    capsys.readouterr()
    assert here("--resume", str(run), "--max-networks", "4") in (2, 4)
    (line,) = capsys.readouterr().err.splitlines()
    assert name in line


def test_a_search_whose_reader_has_gone_ends_quietly_and_can_go_on(tmp_path):
    """As with `| head`."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, str(SCRIPT), *SURROGATE, "--output", str(tmp_path / "run")]
    ended = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (1, "")
    assert here("--resume", str(tmp_path / "run")) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("seconds", [0, 90])
def test_a_signal_while_python_ends_changes_no_exit_code(number, seconds):
    """Before it has given signals back to the system, and after."""
    program = f"""
import os, sys, time
from eas_tf.errors import exit_code
class Last:
    def __del__(self, write=os.write, sleep=time.sleep):
        write(1, b"1\\n")
        sleep(3)
last = Last()
code = exit_code(lambda: 5)
if {seconds}:
    os.write(1, b"1\\n")
    time.sleep({seconds})
sys.exit(code)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"1\n"
        process.send_signal(number)
        assert process.communicate(timeout=60) == (b"", b"")
    assert process.returncode == 5
