"""Children of one parent: what they inherit, what fails, what is trained once."""

import hashlib
import json
import random
import sqlite3
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from families import ARCHITECTURE, DIGITS, RECIPE, request, trained_family, without_seconds

from eas_tf.architecture import Net2Deeper, Net2Wider, PlainCNN
from eas_tf.errors import InvalidConfiguration, InvalidData, Stopped
from eas_tf.evaluation import Result
from eas_tf.evaluation.cache import ResultCache
from eas_tf.evaluation.child import ChildTrainer
from eas_tf.evaluation.engines import InlineEngine
from eas_tf.evaluation.families import Families
from eas_tf.evaluation.fit import check_fits
from eas_tf.evaluation.start import start_family, train_start
from eas_tf.evaluation.train import TrainEvaluator
from eas_tf.surgery import load_network, save_network
from eas_tf.training.recipe import RATE_FROM_SCRATCH
from eas_tf.training.trainer import Trainer

WIDER, DEEPER = Net2Wider(0, 8), Net2Deeper(1, 1, 3)


@pytest.fixture(scope="module")
def trainer():
    return Trainer(DIGITS)


@pytest.fixture(scope="module")
def engine(trainer):
    return InlineEngine(ChildTrainer(trainer, DIGITS))


@pytest.fixture(scope="module")
def family_and_start(trainer, tmp_path_factory):
    return trained_family(tmp_path_factory.mktemp("family"), trainer=trainer)


@pytest.fixture(scope="module")
def family(family_and_start):
    return family_and_start[0]


def evaluator_of(family, engine, **options):
    return TrainEvaluator(Families([family]), engine, validation_images=len(DIGITS.x_val), **options)


def test_children_inherit_and_results_come_in_order(family_and_start, engine):
    (family, start), seen = family_and_start, []
    evaluator = evaluator_of(family, engine, on_child=lambda *told: seen.append(told))
    requests = [request(family, WIDER), request(family, DEEPER, Net2Wider(3, 12))]
    results = list(evaluator.evaluate(requests))
    assert [(number, asked) for number, asked, *_ in seen] == list(enumerate(requests))
    assert [child.result for *_, child in seen] == results
    for _, asked, child in seen:
        result, graph = child.result, child.graph
        assert result.failure is None
        assert graph.to_keras().count_params() > 0
        assert str(asked.architecture).count(" C(") + 1 == sum(node.layer == "Conv2D" for node in graph.nodes)
        # After one epoch at a fifth of the rate a child has kept what its parent knew.
        assert result.accuracy > start.accuracy - 0.1
    assert start.accuracy > 0.4


def test_the_seed_of_a_request_decides_its_result(family, engine):
    first, again, other = (
        without_seconds(next(evaluator_of(family, engine).evaluate([request(family, WIDER, seed=seed)])))
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_equal_children_are_trained_once_in_a_batch_and_later(family, engine):
    seen = []
    evaluator = evaluator_of(family, engine, on_child=lambda *told: seen.append(told))
    asked = [request(family, WIDER, seed=1), request(family, DEEPER), request(family, WIDER, seed=2)]
    results = [*evaluator.evaluate(asked), *evaluator.evaluate([request(family, WIDER, seed=3)])]
    assert [result.reused for result in results] == [False, False, True, True]
    assert results[2] == results[3] == replace(results[0], seconds=0.0, reused=True)
    assert sorted(number for number, *_ in seen) == [0, 0, 1, 2]
    assert [child.graph is None for *_, child in sorted(seen[:3], key=lambda told: told[0])] == [False, False, True]


def test_what_was_told_of_before_is_recalled_and_not_told_again(family, engine):
    asked, seen = [request(family, WIDER, seed=1), request(family, DEEPER)], []
    (earlier,) = evaluator_of(family, engine).evaluate(asked[:1])
    evaluator = evaluator_of(
        family,
        engine,
        on_child=lambda number, *_: seen.append(number),
        recall=lambda number, asked: replace(earlier, seconds=99.0) if (number, asked.seed) == (0, 1) else None,
    )
    first, second = evaluator.evaluate(asked)
    assert first == replace(earlier, seconds=99.0)
    assert seen == [1]
    # Like any other, a recalled child is not trained again under another seed.
    (again,) = evaluator.evaluate([request(family, WIDER, seed=7)])
    assert again == replace(earlier, seconds=0.0, reused=True)
    assert not second.reused


def test_children_that_may_not_start_end_the_evaluation_after_those_that_have_started(family, engine):
    seen = []

    class One:
        """Room for one child."""

        def may_start(self):
            return not seen

        def started(self):
            pass

        def must_end(self):
            return False

    evaluator = evaluator_of(family, engine, on_child=lambda number, *_: seen.append(number), admission=One())
    with pytest.raises(Stopped, match="1 children of 2"):
        list(evaluator.evaluate([request(family, WIDER), request(family, DEEPER)]))
    assert seen == [0]


def test_another_recipe_is_another_child(family, engine):
    longer = replace(RECIPE, epochs=2)
    results = list(
        evaluator_of(family, engine).evaluate([request(family, WIDER), request(family, WIDER, recipe=longer)])
    )
    assert not results[1].reused
    assert results[0].loss != results[1].loss


def test_results_are_found_again_over_runs_by_all_they_depend_on(family, engine, tmp_path):
    cache = ResultCache(tmp_path / "deep" / "results.sqlite")
    asked = [request(family, WIDER, seed=5)]
    (first,) = evaluator_of(family, engine, cache=cache).evaluate(asked)
    cache.close()
    cache = ResultCache(tmp_path / "deep" / "results.sqlite")
    (again,) = evaluator_of(family, engine, cache=cache).evaluate(asked)
    assert again == replace(first, seconds=0.0, reused=True)
    others = [
        (family, request(family, WIDER, seed=6)),
        (family, request(family, Net2Wider(0, 12), seed=5)),
        (replace(family, recipe=replace(RECIPE, learning_rate=0.01)), asked[0]),
        (replace(family, data="other images"), asked[0]),
        (replace(family, symmetry_breaking="noise"), asked[0]),
        (replace(family, digest="another parent"), asked[0]),
    ]
    assert all(cache.get(*other) is None for other in others)
    assert cache.get(family, asked[0]).seconds == first.seconds > 0


def test_a_cache_knows_classes_and_does_not_take_what_an_earlier_version_wrote(family, engine, tmp_path):
    path, asked = tmp_path / "results.sqlite", request(family, WIDER, seed=5)
    cache = ResultCache(path)
    (first,) = evaluator_of(family, engine, cache=cache).evaluate([asked])
    assert sum(right for right, _ in first.found) / len(DIGITS.y_val) == first.accuracy == first.value("accuracy")
    assert cache.get(family, asked).value("balanced_accuracy") == first.value("balanced_accuracy") != first.accuracy
    assert cache.get(replace(family, recipe=replace(RECIPE, metric="balanced_accuracy")), asked) is None
    with closing(sqlite3.connect(path)) as database, database:
        (text, told) = database.execute("SELECT request, result FROM result").fetchone()
        before = {name: value for name, value in json.loads(text).items() if name != "fields"}
        text, told = json.dumps(before, sort_keys=True), {**json.loads(told)}
        del told["found"]
        told = json.dumps(told)
        row = [hashlib.sha256(each.encode()).hexdigest() for each in (text, text + told)]
        database.execute(
            "UPDATE result SET key = ?, request = ?, result = ?, checksum = ?", [row[0], text, told, row[1]]
        )
    assert cache.get(family, asked) is None


def test_what_failed_is_not_kept_over_runs(family, engine, tmp_path):
    cache = ResultCache(tmp_path / "results.sqlite")
    diverging = request(family, WIDER, recipe=replace(RECIPE, learning_rate=1e30))
    evaluator = evaluator_of(family, engine, cache=cache)
    results = [next(evaluator.evaluate([diverging])) for _ in range(2)]
    assert all(result.failure.startswith("TrainingDiverged: ") for result in results)
    assert cache.get(family, diverging) is None


def test_a_damaged_cache_is_told_of_or_the_damage_changes_nothing(family, tmp_path):
    """200 flipped bits, and 50 truncations."""
    path, rng = tmp_path / "results.sqlite", random.Random(0)
    asked = [request(family, Net2Wider(0, 5 + number)) for number in range(20)]
    cache = ResultCache(path)
    for number, each in enumerate(asked):
        cache.put(family, each, Result(accuracy=number / 20, loss=0.5, seconds=1.0, curve=(0.25, number / 20)))
    kept = [cache.get(family, each) for each in asked]
    assert [result.accuracy for result in kept] == [number / 20 for number in range(20)]
    cache.close()
    content, refused = path.read_bytes(), 0
    for turn in range(250):
        place, damaged = rng.randrange(len(content)), bytearray(content)
        damaged[place] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged if turn < 200 else content[:place])
        try:
            cache = ResultCache(path)
            found = [cache.get(family, each) for each in asked]
            cache.close()
        except InvalidConfiguration:
            refused += 1
        else:
            assert all(result in (None, before) for result, before in zip(found, kept, strict=True))
    assert refused > 50  # The rest was in parts of the file that hold nothing.


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to be read as one" * 20, None])
def test_a_cache_that_is_something_else_is_refused(tmp_path, content):
    path = tmp_path / "results.sqlite"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(InvalidConfiguration, match=r"cannot be .*Name another file"):
        ResultCache(path)
    assert content is None or path.read_bytes() == content


def test_another_programs_database_is_refused_and_left_alone(tmp_path):
    database = sqlite3.connect(tmp_path / "other.sqlite")
    database.execute("CREATE TABLE result (name TEXT)")
    database.close()
    with pytest.raises(InvalidConfiguration, match="cannot be used as a cache of results"):
        ResultCache(tmp_path / "other.sqlite")


def test_a_child_that_diverges_is_a_result_and_the_next_one_is_trained(family, engine):
    diverging = request(family, WIDER, recipe=replace(RECIPE, learning_rate=1e30))
    failed, fine = evaluator_of(family, engine).evaluate([diverging, request(family, WIDER)])
    assert failed.accuracy == 0.0
    assert failed.failure.startswith("TrainingDiverged: ")
    assert fine.failure is None


def test_a_parent_that_has_changed_is_refused(family, trainer, tmp_path):
    path = tmp_path / "parent.keras"
    graph = load_network(family.parent)
    changed = replace(graph.nodes[-2], weights=tuple(weight + 1 for weight in graph.nodes[-2].weights))
    save_network(graph.replaced({changed.name: changed}), path)
    engine = InlineEngine(ChildTrainer(trainer, DIGITS))
    with pytest.raises(InvalidConfiguration, match="has changed"):
        list(engine.run([(replace(family, parent=path), request(family, WIDER))]))


def test_the_start_network_is_trained_once_and_kept_by_content(trainer, tmp_path):
    cache = tmp_path / "networks"
    first = start_family(trainer, DIGITS, ARCHITECTURE, RECIPE, epochs=2, seed=0, cache=cache)
    (kept,) = cache.glob("*.keras")
    written = kept.stat().st_mtime_ns
    assert first == start_family(trainer, DIGITS, ARCHITECTURE, RECIPE, epochs=2, seed=0, cache=cache)
    assert (first.parent, first.digest) == (kept, load_network(kept).digest)
    recipe = replace(RECIPE, epochs=2, learning_rate=RATE_FROM_SCRATCH)
    assert first.digest == train_start(trainer, DIGITS, ARCHITECTURE, recipe, seed=0).graph.digest
    assert kept.stat().st_mtime_ns == written
    others = [{"seed": 1}, {"epochs": 1}, {"recipe": replace(RECIPE, dropout=0.5)}]
    for number, changed in enumerate(others):
        start_family(
            trainer, DIGITS, ARCHITECTURE, **{"recipe": RECIPE, "epochs": 2, "seed": 0, "cache": cache, **changed}
        )
        assert len(list(cache.glob("*.keras"))) == 2 + number


@pytest.mark.parametrize(("string", "shape"), [("C(4,3,1), SM(10)", (8, 8, 3)), ("C(4,3,1), SM(9)", (8, 8, 1))])
def test_a_network_for_other_images_or_classes_is_refused(string, shape):
    with pytest.raises(InvalidData, match="digits has images of"):
        check_fits(PlainCNN.parse(string, shape), DIGITS)


def test_validation_images_are_counted(family_and_start, engine):
    family, start = family_and_start
    evaluator = evaluator_of(family, engine)
    assert evaluator.validation_images == 359
    assert np.isfinite(start.loss)
