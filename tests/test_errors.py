"""How scripts end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from eas_tf.errors import StorageFailed, exit_code

SCRIPTS = Path(__file__).parents[1] / "scripts"
SURROGATE = "--engine", "surrogate", "--networks", "5"


def search(*arguments, **options):
    command = [sys.executable, str(SCRIPTS / "search.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


def test_an_error_of_the_system_is_one_line_that_names_the_file(capsys, tmp_path):
    assert exit_code(lambda: len((tmp_path / "not there").read_text())) == StorageFailed.exit_code
    assert capsys.readouterr().err == f"error: {tmp_path / 'not there'}: No such file or directory\n"


@pytest.mark.parametrize("name", ["lock", "owner.json"])
def test_a_folder_where_a_file_should_be_is_told_of_in_one_line(name, tmp_path):
    run = tmp_path / "run"
    assert search(*SURROGATE, "--max-networks", "2", "--output", str(run)).returncode == 0
    (run / name).unlink(missing_ok=True)
    (run / name).mkdir()
    ended = search("--resume", str(run), "--max-networks", "4")
    assert ended.returncode in (2, 4)
    assert name in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_search_whose_reader_has_gone_ends_quietly_and_can_go_on(tmp_path):
    """As with `| head`."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, str(SCRIPTS / "search.py"), *SURROGATE, "--output", str(tmp_path / "run")]
    ended = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (1, "")
    assert search("--resume", str(tmp_path / "run")).returncode == 0
