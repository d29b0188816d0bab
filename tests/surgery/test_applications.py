"""Surgery on real architectures: a random twenty of each operation on networks of keras.applications."""

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


#: The longest, which are run among the longer tests.
SLOW = {"DenseNet121", "InceptionV3", "Xception", "EfficientNetB0", "MobileNetV2", "MobileNetV3Small"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in check_applications.NETWORKS]
)
def test_a_random_twenty_of_each_operation(name):
    """All in one chain; each by itself is what scripts/check_applications.py does."""
    rng = np.random.default_rng(len(name))
    model, side = check_applications.network(name, rng), check_applications.NETWORKS[name]
    images = rng.normal(size=(2, side, side, 3)).astype("float32")
    graph, wide, deep = LayerGraph.from_keras(model), widenable(model), deepenable(model)
    assert len(wide) > 12
    assert "predictions" not in wide
    steps = [Deepen(after, 1) for after in rng.permutation(deep)[:20]]
    deepened = grow(model, steps, data=images)
    assert len(deepened.layers) > len(model.layers) or not deep
    assert output_difference(model, deepened, images) <= check_applications.LIMIT
    for layer in rng.permutation(list(wide))[:20]:
        # A layer that is tied to an earlier one has been widened with it.
        if channel_count(graph[layer]) == wide[layer]:
            graph = widen_graph(graph, layer, wide[layer] + -(-wide[layer] // 2), rng=rng)
    assert output_difference(model, graph.to_keras(), images) <= check_applications.LIMIT
    keras.utils.clear_session()
