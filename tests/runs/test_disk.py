"""What a search takes on the disk, and what it does when the disk is full."""

import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from eas_tf.architecture import PlainCNN
from eas_tf.errors import StorageFailed
from eas_tf.evaluation import Request, Result
from eas_tf.evaluation.child import Child
from eas_tf.evaluation.engine import SurrogateEngine
from eas_tf.files import write_whole
from eas_tf.runs.directory import RunDirectory
from eas_tf.runs.interruption import Interruption
from eas_tf.runs.progress import Progress
from eas_tf.runs.record import Record, Run
from eas_tf.search.config import SearchConfig
from eas_tf.search.limits import Limits
from eas_tf.search.networks import Networks
from eas_tf.search.plan import Plan
from eas_tf.surgery import initialise, lower

SCRIPT = Path(__file__).parents[2] / "scripts" / "search.py"
SMALL = ["--networks", "6", "--epochs", "1", "--start-epochs", "2", "--deepen-steps", "1", "--widen-steps", "1"]


@pytest.mark.parametrize("count", [50, pytest.param(500, marks=pytest.mark.slow)])
def test_networks_stay_under_the_bound_that_keep_implies(tmp_path, capsys, count):
    """At most: the best K, the parent, start and best, one that is being written; the record and its copy."""
    keep, rng = 3, np.random.default_rng(0)
    plan = Plan.of(SearchConfig(output=tmp_path / "run", keep=keep, networks=count))
    start = PlainCNN.parse("C(8,3,1), P(2,2,MAX), SM(10)", (8, 8, 1))
    graph = initialise(lower(start, plan.images.mean, plan.images.std), rng=rng)
    largest = 0
    with RunDirectory(plan.config.output, Run(config="{}", versions="{}", fingerprint="", created="")) as run:
        limits = Limits(plan.config, Interruption(""), 0.0)
        networks = Networks(plan, run, SurrogateEngine(plan.space), None, limits, Progress(count + 1))
        for number in range(count + 1):
            request = Request(parent="", transformations=(), architecture=start, seed=number)
            accuracy = 0.5 + 0.4 * (1 - math.exp(-number / 100)) + 0.1 * rng.random()
            child = Child(result=Result(accuracy=accuracy, loss=1.0, seconds=0.1), graph=graph)
            kind = "child" if number else "start"
            networks.add(networks.row(number, kind, request, child, stage=1, batch=1, epochs=1), graph)
            largest = max(largest, sum(path.stat().st_size for path in run.path.rglob("*.keras")))
        one = run.weights(0).stat().st_size
        assert largest <= (keep + 4) * one * 1.01
        assert len(list((run.path / "weights").glob("*.keras"))) == keep
        best = networks.best.id
        assert run.best.read_bytes() == run.weights(best).read_bytes()
        assert run.record_file.stat().st_size < 40_000 + count * 2_000
    capsys.readouterr()


@pytest.fixture
def tmpfs(tmp_path):
    """A file system of 20 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user cannot mount a file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place, but):
    """All of the disk but so many kilobytes."""
    free = shutil.disk_usage(place).free
    with (place / "ballast").open("wb") as file:
        file.write(bytes(free - but * 1024))


def search(*arguments):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=240, check=False
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("free", [60, 250, 600, 1200])
def test_a_full_disk_ends_a_search_in_one_line_and_it_goes_on_when_there_is_room(tmpfs, free):
    fill(tmpfs, but=free)
    result = search(*SMALL, "--networks", "14", "--output", str(tmpfs / "run"))
    assert result.returncode == 4
    assert len(result.stderr.splitlines()) == 1
    assert "Make room" in result.stderr
    (tmpfs / "ballast").unlink()
    begun = (tmpfs / "run" / "run.sqlite").exists()
    arguments = ["--resume", str(tmpfs / "run")] if begun else [*SMALL, "--output", str(tmpfs / "run")]
    result = search(*arguments)
    assert result.returncode == 0, result.stderr


def test_a_full_disk_leaves_the_state_as_it_was(tmpfs):
    record = Record.create(tmpfs / "run.sqlite", Run(config="{}", versions="{}", fingerprint="", created=""))
    write_whole(tmpfs / "state", b"old")
    fill(tmpfs, but=0)
    with pytest.raises(StorageFailed, match=r"run\.sqlite cannot be written.*Make room"):
        record.update(config="x" * 1_000_000)
    with pytest.raises(StorageFailed, match=r"state cannot be written.*Make room"):
        write_whole(tmpfs / "state", bytes(1_000_000))
    assert record.run().config == "{}"
    record.close()
    (tmpfs / "ballast").unlink()
    assert (tmpfs / "state").read_bytes() == b"old"
    record = Record(tmpfs / "run.sqlite")
    assert record.run().config == "{}"
    record.close()
