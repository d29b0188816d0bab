"""Files of a run that are not as they were written: named, and never loaded as if they were."""

import io
import random
import shutil
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from eas_tf.errors import InvalidConfiguration, RunDamaged
from eas_tf.runs.directory import RunDirectory
from eas_tf.runs.progress import Progress
from eas_tf.runs.record import Network, Record, Run
from eas_tf.search.driver import search
from eas_tf.search.networks import digest_of
from eas_tf.search.plan import Plan
from eas_tf.search.resuming import read_config

ROW = Network(
    id=0, kind="child", stage=1, batch=1, parent=0, transformations="", seed=0, architecture="SM(10)", parameters=1,
    multiply_adds=1, epochs=1, accuracy=0.5, score=0.5, loss=None, seconds=1.0,
)  # fmt: skip


def here(*arguments):
    printed = io.StringIO()
    plan = Plan.of(read_config(arguments))
    search(plan, Progress(plan.networks, Console(file=printed)))
    return printed.getvalue()


def digest(out):
    return out[out.index("decisions and results: ") :].splitlines()[0]


@pytest.fixture(scope="module")
def surrogate(tmp_path_factory):
    """A search that is not at its end yet, and what one prints that is."""
    folder = tmp_path_factory.mktemp("surrogate")
    options = "--engine", "surrogate", "--stages", "30,20"
    whole = here(*options, "--output", str(folder / "whole"))
    here(*options, "--max-networks", "40", "--output", str(folder / "run"))
    return folder / "run", digest(whole)


@pytest.fixture
def run(surrogate, tmp_path):
    shutil.copytree(surrogate[0], tmp_path / "run")
    return tmp_path / "run"


def damaged(content, rng):
    """A byte with another value, at a random place, or the end left out."""
    place = rng.randrange(len(content))
    if rng.random() < 2 / 3:
        return content[:place] + bytes([content[place] ^ (1 << rng.randrange(8))]) + content[place + 1 :]
    return content[:place]


def rows(path):
    with closing(Record(path)) as record:
        return record.run(), record.networks(), record.batches()


def test_a_damaged_record_is_refused_by_name_or_the_damage_changes_nothing(run):
    """150 times: two thirds flipped bits, one third truncated."""
    path, rng, refused = run / "run.sqlite", random.Random(0), []
    content, expected = path.read_bytes(), rows(path)
    for _ in range(150):
        path.write_bytes(damaged(content, rng))
        for log in run.glob("run.sqlite-*"):
            log.unlink()
        try:
            assert rows(path) == expected
        except (RunDamaged, InvalidConfiguration) as error:
            refused.append(str(error))
    assert len(refused) > 75
    assert all(str(path) in message for message in refused)


def test_a_row_with_another_number_is_noticed_although_sqlite_finds_nothing_wrong(run):
    database = sqlite3.connect(run / "run.sqlite")
    with database:
        database.execute("UPDATE network SET accuracy = 0.99 WHERE id = 7")
    database.close()
    with pytest.raises(RunDamaged, match="row 7 of table network"):
        here("--resume", str(run), "--max-networks", "50")


def test_a_missing_row_is_noticed(run):
    database = sqlite3.connect(run / "run.sqlite")
    with database:
        database.execute("DELETE FROM network WHERE id = 7")
    database.close()
    with pytest.raises(RunDamaged, match=r"\(41, \d\).*instead of \(42, \d\)"):
        here("--resume", str(run), "--max-networks", "50")


def test_a_record_of_another_version_is_refused_by_name(run):
    database = sqlite3.connect(run / "run.sqlite")
    database.execute("PRAGMA user_version = 1")
    database.close()
    with pytest.raises(InvalidConfiguration, match="is a record of version 1, and this is eas_tf with version 3"):
        here("--resume", str(run), "--max-networks", "50")


def test_a_record_of_other_options_is_refused_by_name(run):
    with closing(Record(run / "run.sqlite", writable=True)) as record:
        record.update(config=record.run().config.replace('"patience"', '"impatience"'))
    with pytest.raises(InvalidConfiguration, match="another version of eas_tf: other options: impatience, patience"):
        here("--resume", str(run), "--max-networks", "50")


def test_the_way_back_that_is_told_goes_back(run, surrogate):
    (run / "run.sqlite").write_bytes((run / "run.sqlite").read_bytes()[:5000])
    with pytest.raises(RunDamaged) as caught:
        here("--resume", str(run), "--max-networks", "50")
    copy = run / "run.copy.sqlite"
    assert f"move {copy} to {run / 'run.sqlite'}" in str(caught.value)
    copy.replace(run / "run.sqlite")
    assert digest(here("--resume", str(run), "--max-networks", "50")) == surrogate[1]


def test_damaged_agent_states_are_never_loaded(run):
    """150 times."""
    rng = random.Random(1)
    with RunDirectory(run) as directory:
        batch = [batch for batch in directory.record.batches() if batch.state][-1]
        path, state = run / batch.state, directory.read_state(batch)
        content = path.read_bytes()
        for _ in range(150):
            path.write_bytes(damaged(content, rng))
            assert directory.read_state(batch) is None
        path.write_bytes(content)
        assert all(np.array_equal(state[name], array) for name, array in directory.read_state(batch).items())


@pytest.mark.parametrize("lost", [1, 2])
def test_a_lost_agent_state_is_named_and_learned_again_from_the_record(run, surrogate, lost):
    states = sorted(run.glob("agent-*.npz"), key=lambda path: -int(path.stem[6:]))
    assert len(states) == 2
    for path in states[:lost]:
        path.write_bytes(path.read_bytes()[:-9])
    out = here("--resume", str(run), "--max-networks", "50")
    assert digest(out) == surrogate[1]
    for path in states[:lost]:
        assert f"{path} is damaged" in out


TRAINED = [
    *("--epochs", "1", "--start-epochs", "2", "--deepen-steps", "1", "--widen-steps", "1"),
    *("--engine", "inline", "--agent", "random"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A real search in two stages, before the last network of the second."""
    folder = tmp_path_factory.mktemp("trained")
    options = *TRAINED, "--stages", "2,2", "--promote-epochs", "1"
    here(*options, "--max-networks", "3", "--output", str(folder / "run"))
    shutil.copytree(folder / "run", folder / "whole")
    whole = here("--resume", str(folder / "whole"), "--max-networks", "4")
    return folder / "run", digest(whole)


def test_lost_and_damaged_weights_are_trained_again_to_the_last_bit(trained, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained[0], folder)
    with closing(Record(folder / "run.sqlite")) as record:
        (promoted,) = [network.id for network in record.networks() if network.kind == "promoted"]
        parent = record.networks()[promoted].parent
    weights = folder / "weights" / f"{promoted}.keras"
    before = digest_of(weights)
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    for path in {folder / "weights" / f"{parent}.keras", folder / "start.keras", folder / "best.keras"}:
        path.unlink(missing_ok=True)
    out = here("--resume", str(folder), "--max-networks", "4")
    assert f"network {promoted} is trained again: {weights} is damaged" in out
    assert digest(out) == trained[1]
    assert digest_of(weights) == before
    assert (folder / "best.keras").exists()


@pytest.mark.parametrize("times", [12, pytest.param(150, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_damaged_weights_have_another_digest_or_none(trained, tmp_path, times):
    """A flipped bit may be in what no network is made of, such as the date."""
    content, path, rng = (trained[0] / "start.keras").read_bytes(), tmp_path / "start.keras", random.Random(2)
    expected, noticed = digest_of(trained[0] / "start.keras"), 0
    for _ in range(times):
        path.write_bytes(damaged(content, rng))
        found = digest_of(path)
        assert found in (expected, None)
        noticed += found is None
    assert noticed > times / 2


def test_a_record_is_read_while_another_process_writes(tmp_path):
    """A reader sees a moment, not rows of one and counts of another."""
    path, seen = tmp_path / "run.sqlite", []
    with closing(Record.create(path, Run(config="{}", versions="{}", fingerprint="", created=""))) as record:
        stop = threading.Event()

        def read():
            while not stop.is_set():
                with closing(Record(path)) as reader:
                    seen.append(len(reader.networks()))

        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(read)
            number = 0
            while number < 400 or len(seen) <= 10:  # a search that never pauses leaves a reader little time
                record.add(replace(ROW, id=number), seconds=1.0)
                number += 1
            stop.set()
            reading.result()
    assert seen == sorted(seen)
