"""Folders of worker processes: nothing of them stays, and nobody's is taken away."""

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from families import DIGITS
from filelock import FileLock

from eas_tf.evaluation.engine_config import EngineConfig
from eas_tf.evaluation.pool import PoolEngine
from eas_tf.evaluation.scratch import ScratchFolder

_BODY = """
import os, signal, sys
from pathlib import Path
from eas_tf.evaluation.scratch import ScratchFolder
folder = ScratchFolder(Path(sys.argv[1]), "workers")
(folder.path / "images.npz").write_bytes(b"images")
print(folder.path, flush=True)
"""


def process(where, ending="", **pipes):
    return subprocess.Popen([sys.executable, "-c", _BODY + ending, where], text=True, stdout=subprocess.PIPE, **pipes)


@pytest.mark.parametrize(
    ("ending", "code"), [("", 0), ("raise ValueError", 1), ("sys.exit(3)", 3), ("raise KeyboardInterrupt", -2)]
)
def test_nothing_stays_however_a_process_ends(tmp_path, ending, code):
    ended = process(tmp_path, ending, stderr=subprocess.DEVNULL)
    assert str(tmp_path / "workers-") in ended.communicate()[0]
    assert ended.returncode == code
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_leaves_goes_with_the_next_one_and_the_folders_of_living_ones_stay(tmp_path):
    """Each kill left a copy of the images in the user's cache for good."""
    process(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)").communicate()
    assert len(list(tmp_path.glob("workers-*/images.npz"))) == 1
    with process(tmp_path, "sys.stdin.read()", stdin=subprocess.PIPE) as living:
        path = Path(living.stdout.readline().strip())
        assert [each.parent for each in tmp_path.glob("workers-*/images.npz")] == [path]
        mine = ScratchFolder(tmp_path, "workers")
        assert (path / "images.npz").read_bytes() == b"images"
        living.send_signal(signal.SIGKILL)
    another = ScratchFolder(tmp_path, "workers")
    assert {each for each in tmp_path.iterdir() if each.is_dir()} == {mine.path, another.path}
    mine.close()
    another.close()
    another.close()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_longer_used_goes(tmp_path):
    ScratchFolder(tmp_path, "workers")
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_a_fork_leaves_its_parents_folder_alone(tmp_path):
    """An environment in a forked process forgets its parent's evaluator."""
    folder = ScratchFolder(tmp_path, "workers")
    child = os.fork()
    if not child:
        folder.close()
        del folder
        gc.collect()
        os._exit(0)
    os.waitpid(child, 0)
    assert folder.path.is_dir()
    next_one = ScratchFolder(tmp_path, "workers")
    assert folder.path.is_dir()
    next_one.close()
    folder.close()


def test_links_and_other_folders_stay(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "photo").touch()
    (tmp_path / "workers-link").symlink_to(tmp_path / "precious")
    (tmp_path / "workers-link.lock").touch()
    (tmp_path / "workers-of-the-world").mkdir()
    ScratchFolder(tmp_path, "workers").close()
    assert (tmp_path / "workers-link" / "photo").exists()
    assert (tmp_path / "workers-of-the-world").exists()


def test_a_pool_that_is_no_longer_used_leaves_nothing(tmp_path):
    engine = PoolEngine(EngineConfig(workers=1), DIGITS, tmp_path)
    engine.start()
    assert len(list(tmp_path.glob("workers-*/images.npz"))) == 1
    pool = engine._processes[0]._pool
    del engine
    gc.collect()
    pool.join()
    assert not list(tmp_path.iterdir())


def test_many_processes_at_once_keep_their_own(tmp_path):
    processes = [process(tmp_path, "sys.stdin.read()", stdin=subprocess.PIPE) for _ in range(4)]
    paths = [Path(each.stdout.readline().strip()) for each in processes]
    assert all((path / "images.npz").exists() for path in paths)
    assert all(FileLock(f"{path}.lock", timeout=0).is_locked is False for path in paths)
    for each in processes:
        each.communicate()
    assert not list(tmp_path.iterdir())
