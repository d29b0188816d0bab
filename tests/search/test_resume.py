"""A search that ends at any moment goes on as if it had not."""

import os
import random
import shutil
import signal
import time
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from searching import SURROGATE, TRAINED, digest, here, rows, run, start, wait_for

from eas_tf.errors import EASError, RunBusy, RunDamaged, SearchFailed
from eas_tf.runs.directory import RunDirectory
from eas_tf.runs.record import Record


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()


def resume_after_kills(folder, arguments, moments, *, networks=0):
    """The output of a search that is killed at each of these moments.

    Seconds after it has become the owner, and has finished so many networks more than the one before.
    """
    again = [*arguments, "--output", str(folder)]
    owner = folder / "owner.json"
    for moment in moments:
        before = rows(folder)
        process = start(*again)
        wait_for(lambda p=process: owner.exists() and f'"pid": {p.pid},' in owner.read_text(), process)
        enough = len(before) + networks
        wait_for(lambda n=enough: len(rows(folder)) >= n, process)
        time.sleep(moment)
        assert process.poll() is None, "it has ended before it was killed: take a longer search"
        kill(process)
        after = rows(folder)
        assert all(after[number] == row for number, row in before.items())
        print(f"killed after {moment:.2f} s with {len(after)} networks")
        again = ["--resume", str(folder)] if (folder / "run.sqlite").exists() else again
    before = rows(folder)
    out, _ = run(*again)
    assert all(rows(folder)[number] == row for number, row in before.items())
    return out


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted surrogate search in two stages, with restarts from the best."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, digest(here(*SURROGATE, "--output", str(folder)))


@pytest.mark.slow
def test_ctrl_c_ends_after_the_running_children_and_says_how_to_go_on(tmp_path):
    folder = tmp_path / "run"
    process = start(*TRAINED, "--agent", "random", "--output", str(folder))
    wait_for(lambda: len(rows(folder)) >= 3, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Finishing the children" in err
    assert f"--resume {folder}" in err
    assert "Traceback" not in err
    assert 3 <= len(rows(folder)) <= 6
    assert "Best networks" in out
    assert not [path for path in folder.iterdir() if path.name.startswith("workers-")]
    assert rows(folder, "run")[1][6] == "interrupted"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("seed", "agent"), [(0, []), (1, []), (2, ["--agent", "evolution"])])
def test_ten_kills_at_random_moments(tmp_path, seed, agent):
    """Five of a surrogate search, which writes most of its time, and five of a real one."""
    rng = random.Random(seed)
    longer = [*SURROGATE, "--stages", "400,400", *agent]
    expected = digest(here(*longer, "--output", str(tmp_path / "whole")))
    out = resume_after_kills(tmp_path / "a", longer, [rng.uniform(0, 1.5) for _ in range(5)])
    assert digest(out) == expected
    longer = [*TRAINED, "--networks", "80", *agent]  # more than a fast machine finishes before the last kill
    expected = digest(run(*longer, "--output", str(tmp_path / "whole2"))[0])
    out = resume_after_kills(tmp_path / "b", longer, [rng.uniform(0, 2) for _ in range(5)], networks=1)
    assert digest(out) == expected


def test_the_same_seed_goes_the_same_way_and_another_one_another(whole, tmp_path):
    same, other = (here(*SURROGATE, "--seed", seed, "--output", str(tmp_path / seed)) for seed in "01")
    assert digest(same) == whole[1]
    assert digest(other) != whole[1]


@pytest.mark.slow
def test_the_second_ctrl_c_ends_at_once(tmp_path):
    folder = tmp_path / "run"
    process = start("--networks", "11", "--epochs", "4000", "--output", str(folder))
    wait_for(lambda: len(rows(folder)) >= 1, process)
    process.send_signal(signal.SIGTERM)
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    begin = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - begin < 15
    assert process.returncode == 130
    assert f"--resume {folder}" in err
    assert "Traceback" not in err
    assert len(rows(folder)) == 1


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def copy(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "run")
    return tmp_path / "run"


def test_one_process_owns_a_run(copy):
    """That another one may go on when the owner was killed, the kills above show."""
    with RunDirectory(copy):
        for arguments in (["--resume", str(copy)], ["--output", str(copy)]):
            with pytest.raises(RunBusy, match=f"is in use by process {os.getpid()}"):
                here(*arguments)
    with pytest.raises(EASError, match="holds a run already"):
        here("--output", str(copy))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "is finished"),
        (["--seed", "3"], "`seed` 3 (it has 0)"),
        (["--epochs", "9", "--agent", "reinforce"], "`epochs` 9 (it has 4), `agent` reinforce (it has random)"),
        (["--engine", "pool"], "`engine` pool (it has surrogate)"),
        (["--extend"], "`extend` adds networks"),
        (["--extend", "--stages", "19,33"], "`extend` adds networks"),
        (["--stages", "20,30"], "`extend` adds networks"),
        (["--output", "elsewhere"], "leave `output`"),
        (["--extend", "--networks", "99"], "has `stages` 20,13: add to it by longer `stages`, not by `networks`"),
        (["--extend", "--stages", "20,13,5", "--promote-epochs", "1"], "`promote_epochs` 1 (it has 20)"),
    ],
)
def test_a_resume_that_contradicts_the_run_is_refused_in_one_line(copy, arguments, message):
    before = contents(copy)
    with pytest.raises(EASError) as caught:
        here("--resume", str(copy), *arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert contents(copy) == before


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 5}, r"network 3 would now have seed \d+ \(it has 5\)\. Has"),
        ({"transformations": ""}, r"network 3 would now have transformations '.+' \(it has ''\)\. Has"),
        ({"parent": 2, "seed": 5}, r"would now have parent 0 \(it has 2\), seed \d+ \(it has 5\)\. Has"),
    ],
)
def test_a_run_that_cannot_go_on_exactly_is_told_what_differs(tmp_path, changed, message):
    """Where the seed alone differed, the same transformations of the same network were said to."""
    folder = tmp_path / "run"
    here(*SURROGATE, "--max-networks", "5", "--output", str(folder))
    with closing(Record(folder / "run.sqlite")) as record:
        network = record.networks()[3]
        record.forget([3])
        record.add(replace(network, **changed), seconds=0.0)
    with pytest.raises(RunDamaged, match=message):
        here("--resume", str(folder), "--max-networks", "9")


def test_what_is_no_run_is_refused_in_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    for path, message in (("empty", "is empty"), ("nothing", "is not there")):
        with pytest.raises(EASError, match=message):
            here("--resume", str(tmp_path / path))
    assert not list((tmp_path / "empty").iterdir())


def test_a_directory_without_a_record_yet_is_free(tmp_path):
    (tmp_path / "owner.json").write_text("{")
    (tmp_path / "lock").touch()
    (tmp_path / "run.partial").touch()
    here(*SURROGATE, "--output", str(tmp_path))
    assert len(rows(tmp_path)) == 35


def test_a_finished_run_is_extended_by_networks_and_stages(copy, whole):
    finished = rows(copy)
    out = here("--resume", str(copy), "--extend", "--stages", "20,20,5", "--max-networks", "44")
    extended = rows(copy)
    assert all(extended[number] == row for number, row in finished.items())
    kinds = [row[1] for row in extended.values()]
    assert kinds.count("child") == 44
    assert kinds.count("promoted") == 2
    assert digest(out) != whole[1]
    here("--resume", str(copy), "--max-networks", "99", "--keep", "2")
    assert [row[1] for row in rows(copy).values()].count("child") == 45


def test_what_happens_between_stages_may_be_said_with_the_second(tmp_path):
    folder = tmp_path / "run"
    here("--engine", "surrogate", "--networks", "11", "--output", str(folder))
    here("--resume", str(folder), "--extend", "--stages", "11,3", "--promote-epochs", "7", "--controller", "reset")
    with closing(Record(folder / "run.sqlite")) as record:
        assert [network.epochs for network in record.networks() if network.kind == "promoted"] == [7]


def test_changed_images_are_refused_and_found_from_another_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng, mine = np.random.default_rng(0), tmp_path / "mine.npz"
    arrays = {"x_train": rng.integers(256, size=(60, 8, 8, 1), dtype=np.uint8), "y_train": np.arange(60) % 3}
    np.savez(mine, **arrays)
    arguments = [*SURROGATE, "--space", "digits", "--batch", "8", "--dataset", "mine.npz"]
    here(*arguments, "--output", str(tmp_path / "run"), "--max-networks", "3")
    monkeypatch.chdir(tmp_path.parent)
    here("--resume", str(tmp_path / "run"), "--max-networks", "5")
    assert len(rows(tmp_path / "run")) == 6
    arrays["x_train"][0] += 1
    np.savez(mine, **arrays)
    with pytest.raises(EASError, match="have changed since"):
        here("--resume", str(tmp_path / "run"), "--max-networks", "9")


def test_budgets_end_a_search_and_are_raised_by_a_resume(tmp_path, whole):
    folder = tmp_path / "run"
    out = here(*SURROGATE, "--patience", "3", "--output", str(folder))
    assert "patience: no new best network in 3 children" in out
    few = len(rows(folder))
    assert few < 33
    out = here("--resume", str(folder), "--patience", "1000", "--max-hours", "1e-9")
    assert "max_hours 1e-09 is used up" in out
    assert len(rows(folder)) == few
    out = here("--resume", str(folder), "--max-hours", "9")
    assert digest(out) == whole[1]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_failing_children_in_a_row_end_a_search_and_three_do_not(tmp_path):
    folder = tmp_path / "run"
    options = "--space", "digits", "--epochs", "1", "--start-epochs", "1", "--output", str(folder)
    with pytest.raises(SearchFailed, match="20 children in a row failed, the last one so: TimeLimit"):
        here("--networks", "40", "--child-seconds", "0.01", *options)
    assert len(rows(folder)) == 21
    few = rows(folder, "network")
    assert {row[15] for number, row in few.items() if number} == {"TimeLimit: it took longer than 0.01 s"}
    # Those that failed stay as they are; after three more the search is still not at its end.
    here("--resume", str(folder), "--max-networks", "23", "--child-seconds", "0.01")
    assert len(rows(folder)) == 24
