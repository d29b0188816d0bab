"""Surgery on real architectures: a random twenty of each operation on networks of keras.applications, in float64."""

import importlib.util
from pathlib import Path

import keras
import numpy as np
import pytest

from eas_tf.surgery import Deepen, LayerGraph, deepenable, grow, output_difference, widen_graph, widenable
from eas_tf.surgery.rules.rule import channel_count

_PATH = Path(__file__).parents[2] / "scripts" / "check_applications.py"
_SPEC = importlib.util.spec_from_file_location("check_applications", _PATH)
check_applications = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(check_applications)


#: Residual, with gates, and without batch norm. The others are run among the longer tests.
FAST = {"MobileNetV3Small", "VGG16"}


@pytest.fixture(autouse=True)
def cleared():
    yield
    keras.utils.clear_session()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in FAST)) for name in check_applications.NETWORKS]
)
def test_a_random_twenty_of_each_operation(name):
    """All in one chain; each by itself is what scripts/check_applications.py does."""
    rng = np.random.default_rng(len(name))
    model, images = check_applications.network(name, rng)
    shown, wide, deep = images[: check_applications.COMPARED], widenable(model), deepenable(model)
    assert len(wide) > 12
    assert "predictions" not in wide
    grown = grow(model, [Deepen(after, 1) for after in rng.permutation(deep)[:20]], data=images)
    assert len(grown.layers) > len(model.layers) or not deep
    graph = LayerGraph.from_keras(grown)
    for layer in rng.permutation(list(wide))[:20]:
        # A layer that is tied to an earlier one has been widened with it.
        if channel_count(graph[layer]) == wide[layer]:
            graph = widen_graph(graph, layer, check_applications.half_wider(wide[layer]), rng=rng)
    assert output_difference(model, graph.to_keras(), shown) <= check_applications.LIMIT


def test_batch_norms_are_calibrated_on_the_images():
    """So training mode, which normalises by the batch itself, gives the logits of inference."""
    model, images = check_applications.network("MobileNetV2", np.random.default_rng(0))
    expected = check_applications.logits(model, images)
    assert check_applications.difference(expected, np.asarray(model(images, training=True))) < 1e-10
    assert {layer.momentum for layer in model.layers if hasattr(layer, "momentum")} == {0.999}
    assert np.abs(expected - expected[0]).max() > 0.5 * np.abs(expected).max()


def with_random_statistics(model, rng):
    """Moving statistics that have nothing to do with the values, and Keras's kernels: what this check once used."""
    draw = {
        "gamma": lambda shape: rng.uniform(0.7, 1.3, shape),
        "beta": lambda shape: rng.normal(0, 0.1, shape),
        "bias": lambda shape: rng.normal(0, 0.1, shape),
        "moving_mean": lambda shape: rng.normal(0, 0.3, shape),
        "moving_variance": lambda shape: rng.uniform(0.5, 1.5, shape),
    }
    for variable in model.weights:
        if variable.name in draw:
            variable.assign(draw[variable.name](variable.shape))
    return model


def test_a_zeroed_kernel_changes_the_logits_and_did_not_with_random_statistics():
    rng, name = np.random.default_rng(0), "MobileNetV2"
    alive, images = check_applications.network(name, rng)
    blind = with_random_statistics(check_applications.built(name, "float64"), rng)
    noise = rng.normal(size=images.shape)
    changed = []
    for model, batch in ((alive, images), (blind, noise)):
        before = check_applications.logits(model, batch[:2])
        check_applications.zero(model.get_layer("block_5_expand"), slice(None))
        changed.append(check_applications.difference(before, check_applications.logits(model, batch[:2])))
    assert changed[0] > 0.1
    assert changed[1] < 1e-5


@pytest.mark.slow
def test_the_script_prints_a_row(capsys):
    assert check_applications.main(["MobileNet", "1"]) == 0
    *_, row = capsys.readouterr().out.splitlines()
    assert row.startswith("| MobileNet | 3,239,114 | 55 | 1 of 14 | 1 of 33 |")
    assert row.count("|") == len(check_applications.HEADS) + 1


@pytest.mark.parametrize(
    ("difference", "kernel", "faults"), [(1e-13, 0.2, 0), (2e-10, 0.2, 1), (1e-13, 9e-8, 1), (np.nan, np.nan, 2)]
)
def test_the_script_reports_changed_logits_and_faults_that_it_cannot_see(difference, kernel, faults):
    trial = check_applications.Trial(difference=difference, kernel=kernel, channel=0.0, milliseconds=1.0)
    assert len(check_applications.faults(trial)) == faults
