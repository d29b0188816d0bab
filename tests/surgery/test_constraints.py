"""Constraints act after a training step, and the function must still be there."""

import keras
import numpy as np
import pytest

from eas_tf.errors import EASError
from eas_tf.surgery import deepen, deepenable, explain, output_difference, widen, widenable

layers, constraints = keras.layers, keras.constraints
BATCH = np.random.default_rng(0).normal(size=(16, 8)).astype("float32")


def halves_large(weight):
    """A function as a constraint: no sum of squares over the inputs is more than one half."""
    norms = keras.ops.sqrt(keras.ops.sum(keras.ops.square(weight), 0, keepdims=True))
    return keras.ops.where(norms > 0.5, weight * 0.5 / norms, weight)


class OnlyFirstRows(constraints.Constraint):
    """Lets the first six inputs through, and sets all others to zero."""

    def __call__(self, weight):
        rows = keras.ops.reshape(keras.ops.arange(weight.shape[0]), (-1, *[1] * (len(weight.shape) - 1)))
        return keras.ops.where(rows < 6, weight, keras.ops.zeros_like(weight))


def trained(model):
    """The model after a step at rate zero, in which its constraints have acted and no moving statistics moved."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 1.0
    model.compile(keras.optimizers.SGD(0.0), "mse", run_eagerly=True)
    model.fit(model_batch(model), np.zeros((16, *model.output_shape[1:])), verbose=0)
    return model


def model_batch(model):
    words = model.inputs[0].dtype == "int32"
    return np.random.default_rng(1).integers(9, size=(16, 5)) if words else BATCH


def dense(**options):
    """The constraint is on what comes behind `h`."""
    keras.utils.set_random_seed(0)
    out = layers.Dense(2, name="out", **options)
    return trained(keras.Sequential([keras.Input((8,)), layers.Dense(6, activation="relu", name="h"), out]))


def maker(**options):
    """The constraint is on `h` itself."""
    keras.utils.set_random_seed(0)
    h = layers.Dense(6, activation="relu", name="h", **options)
    return trained(keras.Sequential([keras.Input((8,)), h, layers.Dense(2, name="out")]))


def convolution(**options):
    keras.utils.set_random_seed(0)
    images = [keras.Input((8,)), layers.Reshape((2, 2, 2))]
    h = [layers.Conv2D(6, 1, activation="relu", name="h"), layers.SeparableConv2D(3, 2, padding="same", **options)]
    return trained(keras.Sequential([*images, *h, layers.Flatten(), layers.Dense(2)]))


def embedding(**options):
    keras.utils.set_random_seed(0)
    words = [keras.Input((5,), dtype="int32"), layers.Embedding(9, 6, name="h", **options)]
    return trained(keras.Sequential([*words, layers.Flatten(), layers.Dense(2)]))


def norm(**options):
    keras.utils.set_random_seed(0)
    stack = [keras.Input((8,)), layers.Dense(6, name="h"), layers.BatchNormalization(name="norm", **options)]
    return trained(keras.Sequential([*stack, layers.ReLU(name="r"), layers.Dense(2)]))


EXACT = [
    (dense, {"kernel_constraint": constraints.MaxNorm(1.0)}),
    (dense, {"kernel_constraint": constraints.NonNeg(), "bias_constraint": constraints.UnitNorm()}),
    (dense, {"kernel_constraint": halves_large}),
    (maker, {"kernel_constraint": constraints.UnitNorm(axis=0)}),
    (maker, {"kernel_constraint": constraints.MinMaxNorm(0.5, 1.0, axis=0)}),
    (maker, {"kernel_constraint": OnlyFirstRows()}),
    (embedding, {"embeddings_constraint": constraints.UnitNorm(axis=0)}),
    (norm, {"gamma_constraint": constraints.NonNeg()}),
    (convolution, {"pointwise_constraint": constraints.NonNeg()}),
    (convolution, {"depthwise_constraint": constraints.MaxNorm(0.5, axis=[0, 1])}),
]
BROKEN = [
    (dense, {"kernel_constraint": constraints.UnitNorm(axis=0)}),
    (dense, {"kernel_constraint": constraints.UnitNorm(axis=1)}),
    (dense, {"kernel_constraint": constraints.MinMaxNorm(0.9, 1.0)}),
    (dense, {"kernel_constraint": OnlyFirstRows()}),
    (maker, {"kernel_constraint": constraints.UnitNorm(axis=1)}),
    (maker, {"bias_constraint": constraints.UnitNorm()}),
    (embedding, {"embeddings_constraint": constraints.UnitNorm(axis=1)}),
    (norm, {"gamma_constraint": constraints.UnitNorm()}),
    (convolution, {"pointwise_constraint": constraints.UnitNorm(axis=2)}),
]


def named(case):
    make, options = case
    kind = next(iter(options.values()))
    return f"{make.__name__} {getattr(kind, '__name__', type(kind).__name__)}"


@pytest.mark.parametrize("case", EXACT, ids=named)
def test_constraints_that_leave_the_function_alone(case):
    make, options = case
    model = make(**options)
    assert "h" in widenable(model)
    batch = model_batch(model)
    for width in (7, 40):
        wider = widen(model, "h", width, rng=width)
        assert output_difference(model, wider, batch) < 1e-6
        assert output_difference(model, trained(wider), batch) < 1e-5


@pytest.mark.parametrize("case", BROKEN, ids=named)
def test_constraints_that_would_change_the_function_are_named(case):
    make, options = case
    model = make(**options)
    if "bias_constraint" in options:
        model.get_layer("h").bias.assign(np.full(6, 6**-0.5))
    assert "h" not in widenable(model)
    with pytest.raises(
        EASError, match=r"'h' cannot be widened to 12: the constraint \w+ of '\w+' would change"
    ) as caught:
        widen(model, "h", 12, rng=0)
    assert "\n" not in str(caught.value)
    assert "cannot be widened: the constraint" in explain(model, "h")


def test_what_a_constraint_allows_is_widened_though_more_would_not_be():
    """With norms of 1, of which at least 0.5 must stay, a few replicas are fine and very many are not."""
    model = dense(kernel_constraint=constraints.MinMaxNorm(0.5, 1.0))
    out = model.get_layer("out")
    out.kernel.assign(out.kernel / np.linalg.norm(out.get_weights()[0], axis=0))
    assert "h" not in widenable(model)
    wider = widen(model, "h", 7, rng=0)
    assert output_difference(model, trained(wider), BATCH) < 1e-6
    with pytest.raises(EASError, match="the constraint MinMaxNorm of 'out'"):
        widen(model, "h", 600, rng=0)
    assert "cannot be widened by much: the constraint" in explain(model, "h")


@pytest.mark.parametrize("constraint", [constraints.UnitNorm(), constraints.NonNeg(), constraints.MaxNorm(0.1)])
def test_an_inserted_batch_norm_has_no_constraints(constraint):
    """Its gains and offsets have to undo its statistics."""
    model = norm(gamma_constraint=constraint, beta_constraint=constraint)
    deeper = deepen(model, "r", data=BATCH)
    assert output_difference(model, trained(deeper), BATCH) < 1e-6
    assert deepenable(model) == ["r"]


def test_constraints_of_frozen_layers_never_act():
    model = dense(kernel_constraint=constraints.UnitNorm(axis=0))
    model.get_layer("out").trainable = False
    assert widenable(model) == {"h": 6}
    wider = widen(model, "h", 12, rng=0)
    assert not wider.get_layer("out").trainable
    assert output_difference(model, trained(wider), BATCH) < 1e-6


class Mask(constraints.Constraint):
    """Prunes a kernel of one shape."""

    def __init__(self, mask):
        self.mask = mask

    def __call__(self, weight):
        return weight * self.mask


def test_a_constraint_that_takes_one_shape_only_is_named():
    h = layers.Dense(6, activation="relu", name="h", kernel_constraint=Mask(np.ones((8, 6), "float32")))
    model = keras.Sequential([keras.Input((8,)), h, layers.Dense(5, activation="relu", name="g"), layers.Dense(2)])
    assert widenable(model) == {"g": 5}
    assert output_difference(model, widen(model, "g", 7, rng=0), BATCH) < 1e-6
    with pytest.raises(EASError, match="the constraint Mask of 'h' does not take its new shape") as caught:
        widen(model, "h", 9, rng=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("policy", ["bfloat16", "float16", "mixed_float16"])
def test_constraints_in_half_precision(policy):
    options = {"dtype": policy, "kernel_constraint": constraints.MaxNorm(3.0)}
    h = layers.Dense(6, activation="relu", name="h", **options)
    model = keras.Sequential([keras.Input((8,)), h, layers.Dense(2, name="out", **options)])
    assert widenable(model) == {"h": 6}
    assert output_difference(model, widen(model, "h", 9, rng=0), BATCH) < 0.05
