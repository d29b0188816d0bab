"""Children that are worse than their siblings were end early, and all decisions come from earlier batches."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from families import DIGITS, RECIPE, request, trained_family, without_seconds

from eas_tf.architecture import Net2Deeper, Net2Wider
from eas_tf.errors import InvalidConfiguration
from eas_tf.evaluation import Result
from eas_tf.evaluation.cache import ResultCache
from eas_tf.evaluation.child import ChildTrainer
from eas_tf.evaluation.engine import InlineEngine
from eas_tf.evaluation.stopping import keeps_up, median_floors
from eas_tf.evaluation.train import TrainEvaluator
from eas_tf.runs.record import Network, Record, Run
from eas_tf.training.trainer import Trainer

sys.path.append(str(Path(__file__).parents[2] / "scripts"))
import compare_stopping

LONGER = replace(RECIPE, epochs=3)
SIBLINGS = [Net2Wider(0, width) for width in (8, 9, 10, 11, 12)]


def test_floors_are_the_medians_of_running_averages():
    """After one epoch the averages are 1 to 5 tenths, after two 3, 3, 3, 3 and 7 tenths."""
    curves = [(0.1, 0.5, 0.9), (0.2, 0.4, 0.9), (0.3, 0.3, 0.9), (0.4, 0.2, 0.9), (0.5, 0.9, 0.9)]
    assert median_floors(curves) == pytest.approx((0.3, 0.3))
    assert median_floors(curves[:4]) == ()


def test_a_child_stops_when_its_best_so_far_is_strictly_worse():
    floors = (0.5, 0.6)
    assert keeps_up([0.5], floors)
    assert not keeps_up([0.49], floors)
    assert keeps_up([0.6, 0.1], floors)
    assert not keeps_up([0.59, 0.1], floors)
    assert keeps_up([0.0, 0.0, 0.0], floors)
    assert keeps_up([0.0], ())


@pytest.fixture(scope="module")
def trainer():
    return Trainer(DIGITS)


@pytest.fixture(scope="module")
def family(trainer, tmp_path_factory):
    return trained_family(tmp_path_factory.mktemp("family"), LONGER, trainer)[0]


@pytest.fixture(scope="module")
def engine(trainer):
    return InlineEngine(ChildTrainer(trainer, DIGITS))


def train(engine, family, asked):
    return next(iter(engine.run(family, [asked])))[1]


def test_to_be_watched_changes_nothing(family, engine):
    asked = request(family, SIBLINGS[0])
    unwatched, watched = train(engine, family, asked), train(engine, family, replace(asked, floors=()))
    assert unwatched.graph.digest == watched.graph.digest
    assert unwatched.result.curve == ()
    assert len(watched.result.curve) == 3
    assert watched.result.curve[-1] == watched.result.accuracy == unwatched.result.accuracy
    assert not watched.result.stopped


@pytest.mark.parametrize(("floors", "epochs"), [((1.1, 1.1), 1), ((0.0, 1.1), 2), ((0.0, 0.0), 3)])
def test_a_child_has_the_network_and_accuracy_of_its_last_epoch(family, engine, trainer, floors, epochs):
    child = train(engine, family, replace(request(family, SIBLINGS[0]), floors=floors))
    watched = train(engine, family, replace(request(family, SIBLINGS[0]), floors=()))
    assert child.result.curve == watched.result.curve[:epochs]
    assert child.result.accuracy == child.result.curve[-1]
    assert child.result.stopped == (epochs < 3)
    assert trainer.evaluate(child.graph) == (child.result.accuracy, child.result.loss)


def test_floors_come_from_earlier_calls_only(family, engine, tmp_path):
    """Five siblings that an earlier run has seen reach 100 % at once: nobody keeps up."""
    cache = ResultCache(tmp_path / "results.sqlite")
    perfect = Result(accuracy=1.0, loss=0.0, seconds=1.0, curve=(1.0, 1.0, 1.0))
    asked = [request(family, sibling) for sibling in SIBLINGS]
    for each in asked:
        cache.put(family, replace(each, floors=()), perfect)
    evaluator = TrainEvaluator(family, engine, validation_images=359, stopping="median", cache=cache)
    other = request(family, Net2Deeper(1, 1, 3))
    first = list(evaluator.evaluate([*asked, other]))
    assert [result.reused for result in first] == [True] * 5 + [False]
    assert not first[-1].stopped
    (second,) = evaluator.evaluate([request(family, Net2Deeper(0, 1, 3))])
    assert second.stopped
    assert len(second.curve) == 1
    # What ended early is kept with the floors that it missed, and is no answer to another question.
    asked = request(family, Net2Deeper(0, 1, 3))
    kept = cache.get(family, replace(asked, floors=median_floors([perfect.curve] * 5)))
    assert without_seconds(kept) == without_seconds(second)
    assert cache.get(family, asked) is cache.get(family, replace(asked, floors=())) is None


def test_off_looks_at_nothing(family, engine):
    (result,) = TrainEvaluator(family, engine, validation_images=359).evaluate([request(family, SIBLINGS[1])])
    assert result.curve == ()


def record(folder, curves):
    folder.mkdir()
    run = Record.create(folder / "run.sqlite", Run(config="{}", versions="{}", fingerprint="", created=""))
    for number, curve in enumerate(curves):
        row = Network(
            id=number, kind="child" if number else "start", stage=1, batch=(number + 4) // 5,
            parent=0 if number else None, transformations=f"wider(0,{number})", seed=0, architecture="SM(10)",
            parameters=1, multiply_adds=1, epochs=3, accuracy=curve[-1] if curve else 0.5, score=0.5, loss=None,
            seconds=1.0, curve=str(list(curve)),
        )  # fmt: skip
        run.add(row, seconds=1.0)
    run.close()
    return str(folder)


def test_a_recorded_search_is_replayed(tmp_path, capsys):
    """The sixth child misses the first floor and would have been the best, the seventh misses the second floor."""
    good, late, poor, fine = (0.5, 0.6, 0.7), (0.4, 0.8, 0.9), (0.5, 0.5, 0.6), (0.5, 0.7, 0.8)
    curves = [(), *[good] * 5, late, poor, fine]
    folder = tmp_path / "a#b%41?"
    assert compare_stopping.main([record(folder, curves)]) == 0
    assert list(tmp_path.iterdir()) == [folder]
    line, total = capsys.readouterr().out.splitlines()
    assert "2 of 8 children end early, 12 % of the epochs are saved; best 90.00 % without the rule, 80.00 %" in line
    assert "in 1 of 1 searches the best accuracy changes, by 10.00 points" in total


def test_a_search_without_curves_is_refused(tmp_path):
    with pytest.raises(InvalidConfiguration, match="--stopping watch"):
        compare_stopping.main([record(tmp_path / "run", [(), (), ()])])
    with pytest.raises(InvalidConfiguration, match="is no run directory"):
        compare_stopping.main([str(tmp_path / "nothing")])
