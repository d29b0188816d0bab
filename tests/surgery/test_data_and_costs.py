"""Data in any form that `fit` takes, what a new layer costs, and errors that are one short line."""

import keras
import numpy as np
import pytest
from trained_graphs import randomise

from eas_tf.errors import EASError, IllegalTransformation, InvalidConfiguration, InvalidData, UnsupportedLayer
from eas_tf.surgery import Deepen, deepen, deepenable, deepening_costs, grow, output_difference, widen

layers = keras.layers
RNG = np.random.default_rng(0)
A, B = (RNG.normal(size=(16, size)).astype("float32") for size in (8, 3))


def inputs():
    return keras.Input((8,), name="a"), keras.Input((3,), name="b")


def model_of(structure, a, b):
    x = layers.Dense(5)(layers.Concatenate()([a, b]))
    x = layers.ReLU(name="r")(layers.BatchNormalization(name="norm")(x))
    return randomise(keras.Model(structure, layers.Dense(2)(x)), np.random.default_rng(1))


a, b = inputs()
STRUCTURES = {"list": [a, b], "tuple": (a, b), "dictionary": {"a": a, "b": b}, "other keys": {"y": a, "x": b}}
STRUCTURES |= {"nested": {"y": [a], "x": {"z": b}}, "other order": [b, a]}
BY_NAME = {"a": A, "b": B}
FORMS = {
    "list": [[A, B], BY_NAME, (A, B), {"b": B, "a": A}, {**BY_NAME, "unused": A}],
    "tuple": [(A, B), BY_NAME, [A, B]],
    "dictionary": [BY_NAME, {"b": B, "a": A}, {**BY_NAME, "unused": A}, {"a": keras.ops.convert_to_tensor(A), "b": B}],
    "other keys": [{"y": A, "x": B}, {"x": B, "y": A}],
    "nested": [{"y": [A], "x": {"z": B}}],
    "other order": [[B, A], BY_NAME],
}


@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict")
@pytest.mark.parametrize("name", STRUCTURES)
def test_data_of_several_inputs(name):
    model = model_of(STRUCTURES[name], a, b)
    expected = None
    for form in FORMS[name]:
        deeper = deepen(model, "r", data=form)
        statistics = deeper.get_layer("r_deeper_bn").get_weights()
        expected = statistics if expected is None else expected
        assert all(map(np.array_equal, statistics, expected))
        assert (
            output_difference(model, deeper, form if not isinstance(form, dict) or "unused" not in form else BY_NAME)
            < 1e-6
        )


@pytest.mark.parametrize(
    "form", [A, [A], (A,), {"a": A}, keras.ops.convert_to_tensor(A), A.astype("float64")], ids=type
)
@pytest.mark.parametrize("sequential", [True, False])
def test_data_of_one_input(form, sequential):
    stack = [layers.Dense(5), layers.BatchNormalization(), layers.ReLU(name="r"), layers.Dense(2)]
    model = keras.Sequential([keras.Input((8,), name="a"), *stack])
    if not sequential:
        model = keras.Model(model.inputs[0], model.outputs[0])
    deeper = deepen(model, "r", data=form)
    assert output_difference(model, deeper, A) < 1e-6


@pytest.mark.parametrize("shape", [(16,), (16, 1)])
def test_a_last_axis_of_one_may_be_left_out(shape):
    taken = keras.Input((1,), name="a")
    x = layers.ReLU(name="r")(layers.BatchNormalization()(layers.Dense(5)(taken)))
    model = keras.Model(taken, layers.Dense(2)(x))
    assert "r_deeper" in [layer.name for layer in deepen(model, "r", data=A[:, 0].reshape(shape)).layers]


@pytest.mark.parametrize(
    "data", [{"a": A}, {"a": A, "c": B}, [A], [B, A], {"a": B, "b": A}, {"a": A, "b": B[:4]}, {}, [[A, B], A]]
)
@pytest.mark.parametrize("name", ["list", "dictionary"])
def test_data_that_do_not_fit_are_refused_in_one_line(name, data):
    with pytest.raises(InvalidData, match=r"arrays \[n, 8\], \[n, 3\]") as caught:
        deepen(model_of(STRUCTURES[name], a, b), "r", data=data)
    assert "\n" not in str(caught.value)


def flattened(side=48):
    stack = [keras.Input((side, side, 3)), layers.Conv2D(16, 3, activation="relu", name="conv"), layers.MaxPooling2D()]
    return keras.Sequential(
        [*stack, layers.Flatten(name="flat"), layers.Dense(8, activation="relu", name="d"), layers.Dense(2)]
    )


def test_a_layer_that_would_grow_the_model_a_thousandfold_has_to_be_asked_for():
    model = flattened()
    features = 23 * 23 * 16
    cost = features * features + features
    assert "flat" not in deepenable(model)
    assert deepening_costs(model) == {"conv": 2320, "max_pooling2d": 2320, "flat": cost, "d": 72} | {
        name: 2320 for name in deepening_costs(model) if "pooling" in name
    }
    with pytest.raises(
        IllegalTransformation, match=f"{cost:,} parameters, and the model has 68,186. .*={cost};"
    ) as caught:
        deepen(model, "flat")
    assert "\n" not in str(caught.value)
    with pytest.raises(IllegalTransformation, match="max_parameters"):
        grow(model, [Deepen("conv"), Deepen("flat")], max_parameters=cost - 1)


def test_the_limit_can_be_lifted_and_lowered():
    model = flattened(30)
    cost = deepening_costs(model)["flat"]
    assert cost > 4_000_000
    assert deepen(model, "flat", max_parameters=cost).count_params() == model.count_params() + cost
    with pytest.raises(IllegalTransformation, match="after 'd' would have 72 parameters"):
        deepen(model, "d", max_parameters=71)
    assert deepening_costs(model, kernel_size=1)["conv"] == 16 * 17
    for wrong in (-1, 1.5, "10", True):
        with pytest.raises(InvalidConfiguration, match="max_parameters is a whole number"):
            deepen(model, "d", max_parameters=wrong)


def test_costs_are_what_the_model_grows_by():
    model = model_of([a, b], a, b)
    ((place, cost),) = deepening_costs(model).items()
    assert deepen(model, place, data=[A, B]).count_params() - model.count_params() == cost


class Factor(layers.Layer):
    """Gives more than its `__init__` takes."""

    def __init__(self, factor, **options):
        super().__init__(**options)
        self.factor = factor

    def call(self, x):
        return x * self.factor

    def get_config(self):
        return {**super().get_config(), "factor": self.factor, "squared": self.factor**2}


class Secret(layers.Layer):
    """Has no configuration."""

    def __init__(self, function, **options):
        super().__init__(**options)
        self.function = function

    def call(self, x):
        return self.function(x)


class Unregistered(layers.Layer):
    """Is made of a layer of a class that Keras does not know."""

    def __init__(self, inner, **options):
        super().__init__(**options)
        self.inner = inner

    def call(self, x):
        return self.inner(x)

    def get_config(self):
        return {**super().get_config(), "inner": keras.saving.serialize_keras_object(self.inner)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "inner": keras.saving.deserialize_keras_object(config["inner"])})


class Forgetful(layers.Layer):
    """Forgets its width."""

    def __init__(self, width=4, **options):
        super().__init__(**options)
        self.width = width

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.width), name="kernel")

    def call(self, x):
        return keras.ops.matmul(x, self.kernel)

    def get_config(self):
        return super().get_config() | {"width": 4}


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (lambda: Factor(2.0, name="odd"), "squared"),
        (lambda: Secret(lambda x: x, name="odd"), "non-serializable argument"),
        (lambda: Unregistered(Factor(1.0), name="odd"), "Factor"),
        (lambda: Forgetful(7, name="odd"), r"\(8, 7\)"),
    ],
    ids=["too much", "nothing", "unregistered", "too little"],
)
def test_what_cannot_be_built_again_is_told_in_one_short_line_with_keras_reason(layer, reason):
    model = keras.Sequential(
        [keras.Input((8,)), layer(), layers.Dense(6, activation="relu", name="h"), layers.Dense(2)]
    )
    with pytest.raises(UnsupportedLayer, match=reason) as caught:
        widen(model, "h", 9, rng=0)
    message = str(caught.value)
    assert "'odd'" in message
    assert "\n" not in message
    assert len(message) <= 300


class Ones(keras.initializers.Initializer):
    """An initialiser that is registered nowhere."""

    def __call__(self, shape, dtype=None, **_):
        return keras.ops.ones(shape, dtype)


class Small(keras.regularizers.Regularizer):
    """A regulariser that is registered nowhere, and whose configuration is not all of it."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        return self.factor * keras.ops.sum(keras.ops.abs(x))

    def get_config(self):
        return {}


class OwnDense(layers.Dense):
    """A subclass is handed its parts as they are too."""


@pytest.mark.parametrize("kind", [layers.Dense, OwnDense])
def test_parts_of_the_users_own_are_handed_on_as_they_are(kind):
    h = kind(6, activation="relu", name="h", kernel_initializer=Ones(), bias_regularizer=Small(3.0))
    model = keras.Sequential([keras.Input((8,)), h, layers.Dense(4, activation="relu", name="g"), layers.Dense(2)])
    wider = widen(model, "g", 9, rng=0)
    assert isinstance(wider.get_layer("h").kernel_initializer, Ones)
    assert wider.get_layer("h").bias_regularizer.factor == 3.0
    assert output_difference(model, wider, A) < 1e-6
    if kind is layers.Dense:
        assert widen(model, "h", 9, rng=0).get_layer("h").kernel.shape == (8, 9)


def test_groups_that_cut_across_each_other_grow_together():
    """Two grouped convolutions, of two and of three groups, read the same six channels."""
    images = keras.Input((4, 4, 2))
    x = layers.Conv2D(6, 1, activation="relu", name="c")(images)
    heads = [layers.Conv2D(6, 3, groups=groups, name=f"of_{groups}")(x) for groups in (2, 3)]
    model = randomise(keras.Model(images, layers.Flatten()(layers.Concatenate()(heads))), np.random.default_rng(1))
    batch = RNG.normal(size=(4, 4, 4, 2))
    for seed in range(5):
        assert output_difference(model, widen(model, "c", 12, rng=seed), batch) < 1e-6
    with pytest.raises(EASError, match="grow by multiples of 6"):
        widen(model, "c", 9, rng=0)


class Bare(layers.Layer):
    """Has a configuration without the flags that Keras's layers have."""

    def __init__(self, units=4, **options):
        super().__init__(**options)
        self.units = units

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units), name="kernel")

    def call(self, x):
        return keras.ops.relu(keras.ops.matmul(x, self.kernel))

    def get_config(self):
        return {"units": self.units}


@pytest.mark.parametrize("frozen", ["bare", "g", "inner"])
def test_what_is_frozen_stays_frozen(frozen):
    taken, inputs = keras.Input((5,)), keras.Input((8,))
    inner = keras.Model(taken, layers.BatchNormalization(name="n")(layers.Dense(4, name="g")(taken)), name="inner")
    model = keras.Model(inputs, layers.Dense(2, name="out")(inner(Bare(5, name="bare")(inputs))))
    (inner if frozen == "g" else model).get_layer(frozen).trainable = False
    names = [variable.path.partition("/")[2] for variable in model.trainable_variables]
    grown = widen(model, "inner/g", 7, rng=0)
    assert len(grown.trainable_variables) == len(names)
    assert grown.get_layer("bare").trainable == (frozen != "bare")
    assert grown.get_layer("inner").get_layer("g").trainable == (frozen == "bare")


class Near(keras.regularizers.Regularizer):
    """Draws a kernel towards another layer's."""

    def __init__(self, other):
        self.other = other

    def __call__(self, weight):
        return keras.ops.sum(keras.ops.square(weight - self.other.kernel))

    def get_config(self):
        return {}


def test_a_regulariser_that_uses_another_layer_is_refused_by_name():
    taken, code = keras.Input((6,)), layers.Dense(6, activation="relu", name="code")
    x = layers.Dense(6, name="near", kernel_regularizer=Near(code))(code(taken))
    with pytest.raises(UnsupportedLayer, match="argument of 'near' uses the weights of 'code'"):
        grow(keras.Model(taken, x), [])
