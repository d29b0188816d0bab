from dataclasses import replace

import numpy as np
import pytest

from eas_tf import data
from eas_tf.architecture import Net2Deeper, Net2Wider, PlainCNN, space_named
from eas_tf.errors import InvalidData
from eas_tf.evaluation import Request
from eas_tf.evaluation.fit import check_fits
from eas_tf.evaluation.train import TrainEvaluator, cached_start, train_start
from eas_tf.surgery import load_network
from eas_tf.training.recipe import RATE_FROM_SCRATCH, Recipe
from eas_tf.training.trainer import Trainer

RECIPE = Recipe(epochs=1, batch=64)
SCRATCH = replace(RECIPE, epochs=4, learning_rate=RATE_FROM_SCRATCH)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def trainer(digits):
    return Trainer(digits)


@pytest.fixture(scope="module")
def architecture(digits):
    return space_named("digits").start_network(digits.input_shape, digits.classes)


@pytest.fixture(scope="module")
def start(trainer, digits, architecture):
    return train_start(trainer, digits, architecture, SCRATCH, seed=0)


def request(evaluator, architecture, *transformations, seed=0):
    child = architecture
    for transformation in transformations:
        child = transformation.apply(child)
    return Request(parent=evaluator.parent, transformations=transformations, architecture=child, seed=seed)


def test_children_inherit_and_results_come_in_order(trainer, digits, architecture, start):
    seen = []
    evaluator = TrainEvaluator(
        trainer, digits, RECIPE, architecture, start.graph, on_result=lambda *result: seen.append(result)
    )
    requests = [
        request(evaluator, architecture, Net2Wider(0, 8)),
        request(evaluator, architecture, Net2Deeper(1, 1, 3), Net2Wider(3, 12)),
    ]
    results = list(evaluator.evaluate(requests))
    assert [r for r, _, _ in seen] == requests
    assert [result for _, result, _ in seen] == results
    for asked, result, graph in seen:
        assert result.failure is None
        assert graph.to_keras().count_params() > 0
        assert str(asked.architecture).count(" C(") + 1 == sum(node.layer == "Conv2D" for node in graph.nodes)
        # After one epoch at a fifth of the rate a child has kept what its parent knew.
        assert result.accuracy > start.accuracy - 0.1
    assert start.accuracy > 0.4


def test_the_seed_of_a_request_decides_its_result(trainer, digits, architecture, start):
    evaluator = TrainEvaluator(trainer, digits, RECIPE, architecture, start.graph)
    requests = [request(evaluator, architecture, Net2Wider(0, 8), seed=seed) for seed in (1, 1, 2)]
    first, again, other = (replace(result, seconds=0.0) for result in evaluator.evaluate(requests))
    assert first == again
    assert first != other


def test_a_child_that_diverges_is_a_result_and_the_next_one_is_trained(trainer, digits, architecture, start):
    recipe = replace(RECIPE, learning_rate=1e30)
    diverging = TrainEvaluator(trainer, digits, recipe, architecture, start.graph)
    results = list(diverging.evaluate([request(diverging, architecture, Net2Wider(0, 8), seed=s) for s in (0, 1)]))
    assert len(results) == 2
    for result in results:
        assert result.accuracy == 0.0
        assert result.failure.startswith("TrainingDiverged: ")


def test_the_start_network_is_trained_once_and_kept_by_content(trainer, digits, architecture, tmp_path):
    cache = tmp_path / "networks"
    first = cached_start(trainer, digits, architecture, RECIPE, seed=0, cache=cache)
    (kept,) = cache.iterdir()
    written = kept.stat().st_mtime_ns
    again = cached_start(trainer, digits, architecture, RECIPE, seed=0, cache=cache)
    assert first.digest == again.digest == load_network(kept).digest
    assert kept.stat().st_mtime_ns == written
    cached_start(trainer, digits, architecture, RECIPE, seed=1, cache=cache)
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize(("string", "shape"), [("C(4,3,1), SM(10)", (8, 8, 3)), ("C(4,3,1), SM(9)", (8, 8, 1))])
def test_a_network_for_other_images_or_classes_is_refused(digits, string, shape):
    with pytest.raises(InvalidData, match="digits has images of"):
        check_fits(PlainCNN.parse(string, shape), digits)


def test_validation_images_are_counted(trainer, digits, architecture, start):
    evaluator = TrainEvaluator(trainer, digits, RECIPE, architecture, start.graph)
    assert evaluator.validation_images == len(digits.x_val) == 359
    assert evaluator.parent == start.graph.digest
    assert np.isfinite(start.loss)
