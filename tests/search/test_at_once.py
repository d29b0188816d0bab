"""Several processes that want the same place at the same time: nothing is lost, and who loses is told in one line."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from eas_tf.errors import InvalidConfiguration
from eas_tf.files import written_whole
from eas_tf.runs.directory import RunDirectory, check_free, write_whole
from eas_tf.runs.record import Record, Run

SCRIPTS = Path(__file__).parents[2] / "scripts"
NEW = Run(config="{}", versions="{}", fingerprint="", created="")


def started(script, *arguments):
    command = [sys.executable, str(SCRIPTS / script), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(processes):
    """Exit codes with what was printed, those that were done first."""
    told = [(*process.communicate(timeout=240), process.returncode) for process in processes]
    return sorted(((code, out, err) for out, err, code in told), key=lambda each: each[0])


def check_one_line(err):
    (line,) = err.splitlines()
    assert "in use by process" in line or "holds a run already" in line


def test_a_file_that_many_write_is_one_of_theirs(tmp_path):
    """The partial file had the same name for all: FileNotFoundError, or half of one and half of another."""
    path, contents = tmp_path / "state.npz", [bytes([number]) * 300_000 for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda content: [write_whole(path, content) for _ in range(20)], contents))
    assert path.read_bytes() in contents
    assert os.listdir(tmp_path) == ["state.npz"]  # noqa: PTH208 - as a list


def test_a_file_that_is_not_written_to_its_end_leaves_nothing(tmp_path):
    path = tmp_path / "best.keras"
    path.write_bytes(b"old")
    with ExitStack() as ends:
        ends.enter_context(pytest.raises(ZeroDivisionError))
        partial = ends.enter_context(written_whole(path))
        partial.write_bytes(b"ne")
        raise ZeroDivisionError
    assert partial.suffix == ".keras"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_partial_files_of_killed_processes_are_swept_when_the_run_goes_on(tmp_path):
    """Of this version, and of earlier ones."""
    with RunDirectory(tmp_path / "run", NEW) as run:
        (run.path / "weights").mkdir()
    before = sorted(path for path in run.path.rglob("*") if path.name != "lock")
    for path in (run.path / "split.json", run.path / "agent-3.npz", run.best, run.weights(0), run.weights(17)):
        with written_whole(path) as partial:
            partial.touch()
        path.unlink()
        partial.touch()
        path.with_name(f"{path.stem}.partial{path.suffix}").touch()
    for name in ("owner.json.partial", "agent-3.npz.partial", "run.copy.partial", "workers-1-ab.lock"):
        (run.path / name).touch()
    with RunDirectory(run.path):
        pass
    assert sorted(path for path in run.path.rglob("*") if path.name != "lock") == before


def test_a_directory_is_free_in_which_a_process_was_killed_before_it_began(tmp_path):
    for name in ("lock", "owner.json", "owner.77-0f.partial.json", "owner.json.partial", "run.partial-wal"):
        (tmp_path / name).touch()
    check_free(tmp_path)
    RunDirectory(tmp_path, NEW).__exit__()
    with pytest.raises(InvalidConfiguration, match="holds a run already"):
        RunDirectory(tmp_path, NEW)
    Record(tmp_path / "run.sqlite").close()


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 8])
def test_one_of_many_searches_that_begin_in_one_directory_is_done(tmp_path, count):
    arguments = ["--engine", "surrogate", "--networks", "30", "--output", str(tmp_path / "run")]
    done, *others = ended([started("search.py", *arguments) for _ in range(count)])
    assert done[0] == 0, done
    for code, _, err in others:
        assert code == 2
        check_one_line(err)
    record = Record(tmp_path / "run" / "run.sqlite")
    assert len(record.networks()) == 31
    assert record.run().ended == "finished"
    assert record.digest() in done[1]
    record.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_final_trainings_of_one_run_and_two_searches_with_one_cache(tmp_path):
    small = ["--engine", "inline", "--networks", "4", "--epochs", "1", "--start-epochs", "1"]
    cache = str(tmp_path / "cache.sqlite")
    searches = [started("search.py", *small, "--cache", cache, "--output", str(tmp_path / name)) for name in "ab"]
    digests = []
    for code, out, err in ended(searches):
        assert code == 0, err
        digests += [line for line in out.splitlines() if line.startswith("decisions and results")]
    assert len(digests) == 2
    assert len(set(digests)) == 1
    final = [started("train.py", str(tmp_path / "a"), "--epochs", "3") for _ in range(2)]
    done, other = ended(final)
    assert done[0] == 0, done
    if other[0]:
        assert other[0] == 2
        (line,) = other[2].splitlines()
        assert "Another process trains in" in line
    (result,) = (tmp_path / "a" / "final").glob("*/seed-0.json")
    assert result.with_suffix(".keras").exists()
    assert not [path for path in result.parent.iterdir() if "partial" in path.name]
