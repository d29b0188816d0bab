"""Start networks in a cache that several processes share."""

import multiprocessing
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
from families import ARCHITECTURE, DIGITS, RECIPE
from filelock import FileLock

from eas_tf.evaluation import start
from eas_tf.evaluation.start import start_family
from eas_tf.training.trainer import Trainer

HERE = str(Path(__file__).parent)

#: Holds a start network's lock as a process does that trains it.
_HOLDER = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print(flush=True)
    input()
"""


def family(cache, seed=0, epochs=1):
    return start_family(Trainer(DIGITS), DIGITS, ARCHITECTURE, RECIPE, epochs=epochs, seed=seed, cache=cache)


def names(folder):
    """Without locks, which stay or not."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def _train(cache, barrier, results):
    barrier.wait()
    try:
        made = family(cache)
        results.put((made.digest, made.parent.stat().st_ino))
    except Exception as error:
        results.put((repr(error), None))


@pytest.mark.parametrize("count", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_one_process_trains_and_the_others_take_what_it_made(tmp_path, count):
    """Each trained it, and lost it to the first that was done: FileNotFoundError."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(count), context.Queue()
    processes = [context.Process(target=_train, args=(tmp_path, barrier, results)) for _ in range(count)]
    for process in processes:
        process.start()
    told = {results.get(timeout=120) for _ in processes}
    for process in processes:
        process.join()
    assert len(told) == 1, told
    assert told == {(family(tmp_path).digest, family(tmp_path).parent.stat().st_ino)}
    assert len(names(tmp_path)) == 1


def test_who_waits_says_so_and_takes_over_when_the_other_is_killed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(start, "PATIENCE", 0.3)
    expected = family(tmp_path / "other")
    lock = (tmp_path / expected.parent.name).with_suffix(".lock")
    command = [sys.executable, "-c", _HOLDER, lock]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        threading.Timer(1, holder.kill).start()
        assert family(tmp_path).digest == expected.digest
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"Waiting for the start network, which another process trains. Its lock is {lock}"
    assert names(tmp_path) == ["other", expected.parent.name]


@pytest.mark.slow
def test_ctrl_c_ends_the_waiting(tmp_path):
    lock = (tmp_path / family(tmp_path / "other").parent.name).with_suffix(".lock")
    program = f"import sys; sys.path.insert(0, {HERE!r}); from pathlib import Path; from test_start import family\n"
    with FileLock(lock):
        command = [sys.executable, "-c", f"{program}family(Path({str(tmp_path)!r}))"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as waiting:
            assert any("Waiting" in line for line in waiting.stderr)
            waiting.send_signal(signal.SIGINT)
            waiting.communicate(timeout=30)
    assert waiting.returncode == -signal.SIGINT
    assert names(tmp_path) == ["other"]


def test_a_damaged_start_network_is_trained_again(tmp_path):
    """It was an error, and stayed one until somebody deleted the file."""
    whole = family(tmp_path)
    content = whole.parent.read_bytes()
    for damaged in (b"", content[: len(content) // 2], content[:-200] + bytes(200)):
        whole.parent.write_bytes(damaged)
        assert family(tmp_path).digest == whole.digest
        assert family(tmp_path).load().digest == whole.digest


def test_what_killed_processes_left_is_removed_and_what_is_being_written_is_not(tmp_path):
    made = family(tmp_path)
    left = ["start-a1.partial.keras", "start-a1.77-0f.partial.keras", f"{made.parent.stem}.78-0f.partial.keras"]
    written = "start-b2.79-0f.partial.keras"
    for name in (*left, written, "start-c3.keras", "mine.partial.keras"):
        (tmp_path / name).touch()
    with ExitStack() as held:
        held.enter_context(FileLock(tmp_path / "start-b2.lock"))
        family(tmp_path)
        kept = ["mine.partial.keras", made.parent.name, written, "start-c3.keras"]
        assert names(tmp_path) == sorted(kept)
    family(tmp_path)
    assert written not in names(tmp_path)


def test_a_cache_that_cannot_be_written_is_read(tmp_path):
    made = family(tmp_path)
    for lock in tmp_path.glob("*.lock"):
        lock.unlink()
    tmp_path.chmod(0o500)
    try:
        assert family(tmp_path).digest == made.digest
    finally:
        tmp_path.chmod(0o700)
    assert names(tmp_path) == [made.parent.name]
