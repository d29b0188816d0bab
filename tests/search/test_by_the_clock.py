"""A search that plans everything in a number of hours, and ends with them."""

import json
import signal
import time
from contextlib import closing

import keras
import pytest
from searching import run, start, wait_for

from eas_tf.data import load
from eas_tf.errors import InvalidConfiguration
from eas_tf.runs.ranking import ranked
from eas_tf.runs.record import Record
from eas_tf.search import SearchConfig
from eas_tf.search.ending import accuracy
from eas_tf.search.plan import Plan

#: The promise: no later than three percent or ten seconds.
LATE = 10.0


def networks(folder):
    with closing(Record(folder / "run.sqlite")) as record:
        return record.networks(), record.run()


def check_whole(folder, out):
    """There is a network that was trained to its end, which is the best one, and its test accuracy is the last."""
    rows, whole = networks(folder)
    (final,) = [row for row in rows if row.kind == "final"]
    assert whole.ended == "finished"
    assert ranked(rows)[0] == final
    images = load("digits")
    model = keras.models.load_model(folder / "best.keras", compile=False)
    tested = 100 * accuracy(model, images.x_test, images.y_test)
    lines = out.splitlines()
    assert any(line.startswith("best network:") and f"test accuracy {tested:.2f} %" in line for line in lines)
    assert any(line.startswith("start network:") and "test accuracy" in line for line in lines)
    return rows, final


@pytest.mark.parametrize(("engine", "seconds"), [("inline", 25), pytest.param("pool", 60, marks=pytest.mark.slow)])
def test_a_search_ends_with_its_time_and_a_long_last_training(tmp_path, engine, seconds):
    begun = time.monotonic()
    out, _ = run("--hours", str(seconds / 3600), "--engine", engine, "--output", str(tmp_path / "run"))
    assert time.monotonic() - begun < seconds + LATE
    rows, final = check_whole(tmp_path / "run", out)
    others = [row.seconds for row in rows if row is not final]
    assert final.seconds > 1.5 * max(others)
    if seconds < 60:  # which a busy machine spends on two trainings
        return
    assert {row.kind for row in rows} == {"start", "promoted", "child", "final"}
    assert rows[final.parent].batch == max(row.batch for row in rows)
    assert "round 1, until" in out
    assert "to its end, until" in out


@pytest.mark.slow
def test_kills_cost_no_time_and_nothing_that_was_finished(tmp_path):
    folder, hours, worked = tmp_path / "run", str(100 / 3600), 0.0
    again = ["--hours", hours, "--output", str(folder)]
    for kinds in (1, 3):
        begun = time.monotonic()
        process = start(*again)
        wait_for(lambda n=kinds: (folder / "run.sqlite").exists() and len(networks(folder)[0]) >= n, process)
        time.sleep(1.5)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        worked += time.monotonic() - begun
        before = networks(folder)[0]
        again = ["--resume", str(folder)]
    begun = time.monotonic()
    out, _ = run(*again)
    assert worked + time.monotonic() - begun < 100 + LATE
    rows, _ = check_whole(folder, out)
    assert rows[: len(before)] == before
    assert json.loads((folder / "clock.json").read_text())["seconds"] < 100 + LATE
    _, err = run("--resume", str(folder), code=2)
    assert "is finished" in err


@pytest.mark.slow
def test_an_interruption_ends_it_in_order_and_a_resume_keeps_the_promise(tmp_path):
    folder, begun = tmp_path / "run", time.monotonic()
    process = start("--hours", str(45 / 3600), "--output", str(folder))
    wait_for(lambda: (folder / "run.sqlite").exists() and len(networks(folder)[0]) >= 1, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "To go on" in err
    out, _ = run("--resume", str(folder))
    assert time.monotonic() - begun < 45 + LATE
    check_whole(folder, out)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hours": 0.0}, r"`hours` must be positive\. Received: 0"),
        ({"hours": -1.0}, r"`hours` must be positive\. Received: -1"),
        ({"hours": float("nan")}, r"`hours` must be positive\. Received: nan"),
        ({"hours": float("inf")}, r"`hours` must be positive\. Received: inf"),
        ({"hours": 1.0, "stages": "20,10"}, r"`hours` plans .*`stages` belongs to the paper's schedule"),
        ({"hours": 1.0, "networks": 20, "epochs": 3}, r"`networks`, `epochs` belong to the paper's schedule"),
        ({"hours": 1.0, "max_hours": 2.0}, r"`max_hours` belongs to"),
        ({"hours": 1.0, "engine": "surrogate"}, r"`hours` is for `engine` pool or inline\. Received: surrogate"),
    ],
)
def test_two_ways_of_planning_are_not_mixed(options, message):
    with pytest.raises(InvalidConfiguration, match=message):
        SearchConfig(**options)


@pytest.mark.parametrize(("crop_and_flip", "hidden"), [("on", 3), ("off", 0)])
def test_the_last_training_begins_as_from_scratch_and_hides_parts_of_images_that_may_be_changed(crop_and_flip, hidden):
    plan = Plan.of(SearchConfig(hours=1.0, crop_and_flip=crop_and_flip))
    recipe = plan.final_recipe
    assert (recipe.learning_rate, recipe.cutout) == (plan.start_recipe.learning_rate, hidden)
    assert recipe.weight_decay == plan.start_recipe.weight_decay == 5e-4
    assert plan.recipe.cutout == plan.start_recipe.cutout == 0


def test_a_budget_that_is_too_short_is_refused_before_anything_is_written(tmp_path):
    out, err = run("--hours", "0.0001", "--output", str(tmp_path / "run"), code=2)
    assert "is too short: one epoch of the start network takes" in err
    assert "Traceback" not in out + err
    assert not (tmp_path / "run").exists()
