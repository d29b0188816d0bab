"""Surgery on random functional models: within rounding, or refused by name."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, event, given, reject, settings
from hypothesis import strategies as st
from random_models import functional_model, stepped

from eas_tf.errors import EASError, IllegalTransformation
from eas_tf.surgery import (
    Deepen,
    LayerGraph,
    Widen,
    deepen,
    deepenable,
    grow,
    output_difference,
    widen,
    widen_graph,
    widenable,
)

# A random model may well take the softmax of a single channel, and drop a mask.
pytestmark = [
    pytest.mark.filterwarnings(r"ignore:[\s\S]*softmax over axis:UserWarning"),
    pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask:UserWarning"),
]
#: Parameters of a new layer: what a place behind a large Flatten costs is another test's.
LARGE = 10**8
UNHURRIED = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def check(data):
    """Widen up to two layers and deepen after one, at random; what cannot be widened is refused by its name."""
    model, batch = functional_model(data.draw)
    before = model.get_weights()
    wide, deep, steps = widenable(model), deepenable(model), []
    graph = LayerGraph.from_keras(model)
    for name in data.draw(st.lists(st.sampled_from(list(wide)), min_size=1, max_size=3, unique=True)) if wide else []:
        units = wide[name] + data.draw(st.integers(1, 2 * wide[name]))
        try:
            graph = widen_graph(graph, name, units, rng=np.random.default_rng(0))
            steps.append(Widen(name, units))
        except IllegalTransformation as error:
            assert "grow by multiples of" in str(error) or "more than the" in str(error)  # noqa: PT017 - either outcome is right
            event("a width that the ties forbid")
    if deep:
        steps.append(Deepen(data.draw(st.sampled_from(deep)), data.draw(st.sampled_from([1, 3]))))
    if steps:
        grown = grow(model, steps, data=batch, rng=data.draw(st.integers(0, 99)), max_parameters=LARGE)
        assert output_difference(model, grown, batch) <= 1e-5
        after = widenable(grown)
        assert all(after[step.layer] >= step.units for step in steps if isinstance(step, Widen))
    for step in steps:
        event(type(step).__name__)
    refused = data.draw(st.sampled_from([layer.name for layer in model.layers if layer.name not in wide]))
    with pytest.raises(EASError, match=f"'{refused}' cannot be widened"):
        widen(model, refused, 99, rng=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@settings(max_examples=60, **UNHURRIED)
@given(st.data())
def test_random_models_grow_or_refuse(data):
    check(data)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=2000, **UNHURRIED)
@given(st.data())
def test_two_thousand_random_models_grow_or_refuse(data):
    check(data)


#: JAX's batch norm takes the square root of float64 values to 3e-7 only.
EXACT = 1e-10 if keras.backend.backend() == "tensorflow" else 1e-5


def check_all_that_is_listed(data):
    """Widen each layer that is listed, and insert one at each place that is listed: exact, each by itself."""
    try:
        model, batch = functional_model(data.draw, unusual=True)
        model(batch)
    except (AttributeError, TypeError, ValueError, tf.errors.OpError):
        reject()  # Keras builds no such model, or one that it cannot call
    before = model.get_weights()
    for name, units in widenable(model).items():
        wider = widen(model, name, 2 * units, rng=data.draw(st.integers(0, 99)))
        assert output_difference(model, wider, batch) <= EXACT, f"widen {name}"
        # The constraints themselves are only as exact as the 1e-7 that they add to each norm.
        assert output_difference(model, stepped(wider), batch) <= 1e-5, f"widen {name}, then a step"
        event("widened")
    for place in deepenable(model):
        deeper = deepen(model, place, kernel_size=data.draw(st.sampled_from([1, 3])), data=batch, max_parameters=LARGE)
        assert output_difference(model, deeper, batch) <= EXACT, f"deepen {place}"
        assert output_difference(model, stepped(deeper), batch) <= 1e-5, f"deepen {place}, then a step"
        event("deepened")
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.usefixtures("float64")
@settings(max_examples=15, **UNHURRIED)
@given(st.data())
def test_all_that_is_listed_is_exact(data):
    check_all_that_is_listed(data)


@pytest.mark.slow
@pytest.mark.timeout(5400)
@pytest.mark.usefixtures("float64")
@settings(max_examples=1000, **UNHURRIED)
@given(st.data())
def test_all_that_a_thousand_models_list_is_exact(data):
    check_all_that_is_listed(data)
