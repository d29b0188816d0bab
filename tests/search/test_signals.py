"""A search that is ended, paused or robbed of its workers from outside goes the way of an undisturbed one."""

import contextlib
import os
import signal
import sqlite3
import time
from contextlib import closing
from dataclasses import replace

import numpy as np
import psutil
import pytest
from searching import TRAINED, digest, here, rows, run, start, wait_for

from eas_tf.errors import NoNetwork
from eas_tf.runs.record import Record

LONGER = [*TRAINED, "--epochs", "3", "--agent", "random"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out, _ = run(*LONGER, "--output", str(tmp_path_factory.mktemp("undisturbed") / "run"))
    return digest(out)


def send(process, number, target):
    (os.killpg if target == "group" else os.kill)(process.pid, number)


def check_ends_in_order(folder, undisturbed, number, target, *, networks, pause=0.0):
    """Signalled when so many networks are finished, and after a pause, it ends in order, and a resume completes it."""
    process = start(*LONGER, "--output", str(folder), session=True)
    wait_for(lambda: len(rows(folder)) >= networks, process)
    time.sleep(pause)
    send(process, number, target)
    out, err = process.communicate(timeout=200)
    assert process.returncode in (0, 130), err
    assert "Traceback" not in err
    assert not any(row[15] for row in rows(folder).values())
    if process.returncode:
        assert "Finishing the children" in err
        out, _ = run("--resume", str(folder))
    assert digest(out) == undisturbed


@pytest.mark.slow
def test_sigterm_to_the_whole_group(tmp_path, undisturbed):
    check_ends_in_order(tmp_path / "run", undisturbed, signal.SIGTERM, "group", networks=2)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("target", ["process", "group"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ten_moments(tmp_path, undisturbed, number, target):
    rng = np.random.default_rng([number, len(target)])
    for moment in range(10):
        networks, pause = int(rng.integers(1, 7)), rng.uniform(0, 0.8)
        check_ends_in_order(tmp_path / str(moment), undisturbed, number, target, networks=networks, pause=pause)


@pytest.mark.slow
def test_a_pause_of_all_processes_is_no_time_that_a_child_takes(tmp_path, undisturbed):
    folder = tmp_path / "run"
    process = start(*LONGER, "--child-seconds", "8", "--output", str(folder), session=True)
    wait_for(lambda: len(rows(folder)) >= 2, process)
    os.killpg(process.pid, signal.SIGSTOP)
    time.sleep(10)
    os.killpg(process.pid, signal.SIGCONT)
    out, _ = process.communicate(timeout=200)
    assert not any(row[15] for row in rows(folder).values())
    assert digest(out) == undisturbed


def workers_of(process):
    living = []
    for each in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "spawn_main" in " ".join(each.cmdline()):
                living.append(each)
    return living


@pytest.mark.slow
def test_a_child_whose_worker_is_killed_is_trained_again(tmp_path, undisturbed):
    process = start(*LONGER, "--output", str(tmp_path / "run"))
    wait_for(lambda: len(rows(tmp_path / "run")) >= 2, process)
    for worker in workers_of(process):
        worker.kill()
    assert digest(process.communicate(timeout=200)[0]) == undisturbed


def test_a_recorded_failure_from_outside_is_trained_again(tmp_path):
    surrogate = ["--engine", "surrogate", "--networks", "20", "--agent", "random"]
    whole = digest(here(*surrogate, "--output", str(tmp_path / "whole")))
    folder = tmp_path / "run"
    here(*surrogate, "--max-networks", "13", "--output", str(folder))
    with closing(Record(folder / "run.sqlite", writable=True)) as record:
        reason = "WorkerEnded: its process ended with exit code 15"
        (last,) = [network for network in record.networks() if network.id == 12]
        (early,) = [network for network in record.networks() if network.id == 4]
        record.forget([last.id])
        record.add(replace(last, failure=reason, accuracy=0.0, score=0.0), seconds=0.0)
    out = here("--resume", str(folder), "--max-networks", "100")
    assert "trained again, because their workers were ended: 12" in out
    assert digest(out) == whole
    assert rows(folder)[4][0] == early.id


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Images of which an epoch takes long."""
    path, rng, labels = tmp_path_factory.mktemp("large") / "large.npz", np.random.default_rng(0), np.arange(4000) % 3
    np.savez(path, x_train=rng.integers(256, size=(4000, 96, 96, 1), dtype=np.uint8), y_train=labels)
    return path


@pytest.mark.parametrize("engine", [pytest.param("pool", marks=pytest.mark.slow), "inline"])
def test_the_second_ctrl_c_ends_the_start_network_at_once(tmp_path, large, engine):
    process = start("--dataset", str(large), "--engine", engine, "--output", str(tmp_path / "run"))
    wait_for(lambda: (tmp_path / "run" / "split.json").exists(), process)
    time.sleep(5)  # in the first epoch now
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    begin = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - begin < 5
    assert process.returncode == 130
    # On a busy machine the first may have come before the first epoch, and then it was enough.
    assert "Ended at once" in err or "Interrupted." in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_budgets_shorter_than_the_start_network(tmp_path):
    """As many resumes as it takes, each with a little more time; a search without a network says so."""
    options = ["--networks", "2", "--epochs", "1", "--start-epochs", "40", "--agent", "random"]
    whole = digest(here(*options, "--output", str(tmp_path / "whole")))
    with closing(sqlite3.connect(tmp_path / "whole" / "run.sqlite")) as database:
        (seconds,) = database.execute("SELECT seconds FROM network WHERE id = 0").fetchone()
    folder, again, without = tmp_path / "run", [*options, "--output", str(tmp_path / "run")], []
    while not without or rows(folder, "run")[1][6] != "finished":
        worked = rows(folder, "run")[1][5] if without else 0.0
        try:
            out = here(*again, "--max-hours", str((worked + seconds / 6) / 3600))
        except NoNetwork as error:
            without.append(error)
        again = ["--resume", str(folder)]
    assert without
    assert all("the start network is not at its end" in str(error) for error in without)
    assert {error.exit_code for error in without} == {5}
    assert digest(out) == whole
    assert not list((folder / "checkpoints").iterdir())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kills_in_the_middle_of_a_promoted_network(tmp_path):
    options = ["--stages", "2,1", "--epochs", "1", "--start-epochs", "2", "--promote-epochs", "300", "--workers", "1"]
    whole = digest(run(*options, "--output", str(tmp_path / "whole"))[0])
    folder, again = tmp_path / "run", [*options, "--output", str(tmp_path / "run")]
    for _ in range(2):
        before = {path: path.stat().st_mtime for path in folder.glob("checkpoints/*.npz")}
        process = start(*again)
        wait_for(
            lambda b=before: {path: path.stat().st_mtime for path in folder.glob("checkpoints/*.npz")} != b, process
        )
        process.kill()
        process.communicate()
        again = ["--resume", str(folder)]
    assert digest(run(*again)[0]) == whole
