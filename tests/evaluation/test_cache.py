"""A cache of results that is locked, may not be written, or is another program's file."""

import re
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from obstacles import forbid, locked

from eas_tf.architecture import space_named
from eas_tf.errors import InvalidConfiguration, StorageFailed
from eas_tf.evaluation import Request, Result, SurrogateEvaluator
from eas_tf.evaluation.cache import ResultCache
from eas_tf.evaluation.child import Family
from eas_tf.evaluation.engine import LookupEngine
from eas_tf.evaluation.families import Families
from eas_tf.evaluation.train import TrainEvaluator
from eas_tf.training.recipe import Recipe

SPACE = space_named("digits")
START = SPACE.start_network((8, 8, 1), 10)
FAMILY = Family(parent=Path("start.keras"), digest="0" * 64, architecture=START, data="1" * 64, recipe=Recipe())
ASKED = Request(parent=str(START), transformations=(), architecture=START, seed=0)
RESULT = Result(accuracy=0.5, loss=1.0, seconds=2.0)


@pytest.mark.parametrize("how", ["IMMEDIATE", "EXCLUSIVE", "DEFERRED"])
def test_another_programs_lock_is_waited_for(tmp_path, how):
    path = tmp_path / "results.sqlite"
    ResultCache(path).close()
    with locked(path, 1, how), closing(ResultCache(path)) as cache:
        cache.put(FAMILY, ASKED, RESULT)
        assert cache.get(FAMILY, ASKED) == RESULT


@pytest.mark.parametrize("work", ["open", "get", "put"])
def test_what_stays_locked_is_told_so_and_not_called_full_or_damaged(tmp_path, monkeypatch, work):
    monkeypatch.setattr("eas_tf.storing.PATIENCE", 0.5)
    path = tmp_path / "results.sqlite"
    with closing(ResultCache(path)) as cache:
        works = {
            "open": lambda: ResultCache(path),
            "get": lambda: cache.get(FAMILY, ASKED),
            "put": lambda: cache.put(FAMILY, ASKED, RESULT),
        }
        with locked(path, 600, "EXCLUSIVE"), pytest.raises(StorageFailed, match="is locked by another program") as told:
            works[work]()
        assert not re.search("damaged|room|[Dd]elete|Name another", str(told.value))
        works[work]()


def test_a_child_is_the_searchs_before_it_is_the_caches(tmp_path, monkeypatch):
    """So that a cache that fails costs no child."""
    monkeypatch.setattr("eas_tf.storing.PATIENCE", 0.5)
    told, path = [], tmp_path / "results.sqlite"
    with closing(ResultCache(path)) as cache:
        evaluator = TrainEvaluator(
            Families([FAMILY]),
            LookupEngine(SurrogateEvaluator(SPACE)),
            validation_images=1,
            cache=cache,
            on_child=lambda *child: told.append(child),
        )
        with locked(path, 600), pytest.raises(StorageFailed):
            list(evaluator.evaluate([ASKED]))
    assert len(told) == 1


def test_many_write_into_one_cache(tmp_path):
    def write(worker):
        with closing(ResultCache(tmp_path / "results.sqlite")) as cache:
            for number in range(20):
                asked = Request(parent=str(START), transformations=(), architecture=START, seed=100 * worker + number)
                cache.put(FAMILY, asked, RESULT)

    workers = [threading.Thread(target=write, args=[worker]) for worker in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with closing(sqlite3.connect(tmp_path / "results.sqlite")) as database:
        assert database.execute("SELECT count(*) FROM result").fetchone() == (60,)


def test_a_cache_with_a_write_ahead_log_is_one_without(tmp_path):
    path = tmp_path / "results.sqlite"
    with closing(ResultCache(path)) as cache:
        cache.put(FAMILY, ASKED, RESULT)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode=WAL")
    with closing(ResultCache(path)) as cache:
        assert cache.get(FAMILY, ASKED) == RESULT
        assert [each.name for each in tmp_path.iterdir()] == ["results.sqlite"]


def test_a_cache_that_may_not_be_written_is_refused_before_anything_is_trained(tmp_path):
    """Because of the file, or of the folder: where SQLite keeps a journal while it writes."""
    paths = [tmp_path / name / "results.sqlite" for name in ("file", "folder")]
    for path in paths:
        ResultCache(path).close()
    prefix = forbid(tmp_path)
    paths[0].parent.chmod(0o755)
    paths[1].chmod(0o644)
    program = f"""
import pathlib
from eas_tf.errors import exit_code
from eas_tf.evaluation.cache import ResultCache
for path in {list(map(str, paths))!r}:
    assert exit_code(lambda: ResultCache(pathlib.Path(path))) == 2
"""
    command = [*prefix, sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    tmp_path.chmod(0o755)
    assert result.stderr.splitlines()[-2:] == [
        f"error: {path} cannot be written: Permission denied. Name another file." for path in paths
    ]


@pytest.mark.parametrize("content", [b"a picture, perhaps" * 60, b"", None])
def test_nobody_is_advised_to_delete_what_may_be_something_else(tmp_path, content):
    path = tmp_path / "other.sqlite"
    if content is None:
        with closing(sqlite3.connect(path)) as database:
            database.execute("CREATE TABLE result (name TEXT)")
    elif content:
        path.write_bytes(content)
    else:
        path.mkdir()
    with pytest.raises(InvalidConfiguration, match="Name another file") as told:
        ResultCache(path)
    assert "elete" not in str(told.value)
