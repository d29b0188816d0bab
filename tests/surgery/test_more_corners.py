"""What a second reader of the tutorial broke: each is exact now, or refused in one clear line."""

import functools

import keras
import numpy as np
import pytest
from trained_graphs import randomise

from eas_tf.errors import EASError, InvalidConfiguration, InvalidData, UnsupportedLayer
from eas_tf.surgery import Rule, deepen, deepenable, grow, output_difference, register_rule, widen, widenable

layers = keras.layers
BATCH = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")


def model_of(make, shape=(6,), **options):
    inputs = keras.Input(shape, **options)
    return randomise(keras.Model(inputs, layers.Dense(2, name="out")(make(inputs))), np.random.default_rng(1))


def dense(units=5, name="d", activation="relu"):
    return layers.Dense(units, activation=activation, name=name)


@keras.saving.register_keras_serializable("more_corners")
class RandomFourierFeatures(layers.Layer):
    """Draws numbers from an initialiser that are none of its weights."""

    def __init__(self, units, seed=0, **options):
        super().__init__(**options)
        self.units, self.seed = units, seed
        self.init = keras.initializers.RandomNormal(seed=seed)

    def build(self, shape):
        self.projection = self.init((shape[-1], self.units))
        self.b = self.add_weight(shape=(self.units,), name="b")

    def call(self, x):
        return keras.ops.cos(keras.ops.matmul(x, self.projection)) + self.b

    def get_config(self):
        return {**super().get_config(), "units": self.units, "seed": self.seed}


def test_an_initialiser_that_draws_something_else_than_weights_still_draws():
    model = model_of(lambda x: dense()(RandomFourierFeatures(8)(x)))
    assert output_difference(model, widen(model, "d", 8, rng=0), BATCH) < 1e-5


def test_initialisers_are_kept_in_layers_made_of_layers():
    attention = layers.MultiHeadAttention(2, 3, name="attention")
    model = model_of(lambda x: layers.Flatten()(attention(dense()(x), x)), (4, 6))
    inner = widen(model, "out", 4, rng=0) if "out" in widenable(model) else grow(model, [])
    query = inner.get_layer("attention").query_dense
    assert isinstance(query.kernel_initializer, keras.initializers.GlorotUniform)


@pytest.mark.parametrize("scale", [np.arange(1.0, 6.0), keras.ops.arange(1.0, 6.0)], ids=["numpy", "tensor"])
def test_arrays_in_a_configuration_are_repeated(scale):
    model = model_of(lambda x: layers.Rescaling(scale, offset=scale)(dense()(x)))
    assert output_difference(model, widen(model, "d", 8, rng=0), BATCH) < 1e-5


def test_an_array_as_initialiser_that_no_longer_fits_is_dropped_so_that_the_file_loads(tmp_path):
    table = np.random.default_rng(0).normal(size=(20, 8))
    inputs = keras.Input((5,), dtype="int32")
    constant = keras.initializers.Constant
    x = layers.Embedding(20, 8, embeddings_initializer=constant(table), name="words")(inputs)
    x = layers.Conv1D(6, 3, kernel_initializer=constant(np.ones((3, 8, 6))))(x)
    model = keras.Model(
        inputs, layers.Dense(2, kernel_initializer=constant(np.ones((6, 2))))(layers.Flatten()(x[:, 0]))
    )
    wider = widen(model, "words", 12, rng=0)
    wider.save(tmp_path / "wider.keras")
    words = np.random.default_rng(0).integers(20, size=(4, 5))
    assert output_difference(model, keras.models.load_model(tmp_path / "wider.keras"), words) < 1e-5
    assert isinstance(wider.layers[-1].kernel_initializer, constant)


def test_nothing_is_inserted_at_the_outputs_of_a_compiled_model():
    inputs = keras.Input((6,))
    model = keras.Model(inputs, [dense(2, "a")(inputs), dense(3, "b", None)(dense(4, "c")(inputs))])
    assert set(deepenable(model)) == {"a", "c"}
    model.compile("sgd", loss={"a": "mse", "b": "mae"})
    assert deepenable(model) == ["c"]
    with pytest.raises(EASError, match="'a': it is an output of a compiled model"):
        deepen(model, "a")
    targets = {"a": np.ones((16, 2)), "b": np.ones((16, 3))}
    deepen(model, "c").fit(BATCH, targets, verbose=0)


@pytest.mark.parametrize("dropout", [layers.Dropout, layers.AlphaDropout])
def test_the_shape_of_noise_grows(dropout):
    model = model_of(lambda x: layers.Flatten()(dropout(0.2, noise_shape=(None, 1, 5))(dense()(x))), (8, 6))
    wider = widen(model, "d", 8, rng=0)
    wider.compile("sgd", "mse")
    wider.fit(np.ones((4, 8, 6)), np.ones((4, 2)), verbose=0)


def broken(value):
    model = model_of(dense())
    model.set_weights([np.full_like(weight, value) for weight in model.get_weights()])
    return model


def test_a_broken_model_is_never_called_the_same():
    model = model_of(dense())
    for value in (np.nan, np.inf):
        assert output_difference(model, broken(value), BATCH) == np.inf
        assert output_difference(broken(value), model, BATCH) == np.inf
    with pytest.raises(InvalidConfiguration, match="no finite value"):
        output_difference(broken(np.nan), broken(np.nan), BATCH)
    with pytest.raises(InvalidConfiguration, match="no finite value"):
        output_difference(model, model, BATCH[:0])


@pytest.mark.parametrize("other", [None, "model.keras", [1], keras.Model])
def test_only_models_are_compared(other):
    with pytest.raises(InvalidConfiguration, match="compares two Keras models"):
        output_difference(model_of(dense()), other, BATCH)


@pytest.mark.parametrize("inputs", [None, "text", BATCH[:, :3], {"other": BATCH}, [[1.0] * 6]], ids=str)
def test_inputs_that_do_not_fit_are_named(inputs):
    model = model_of(dense())
    with pytest.raises(InvalidData, match="must be a batch as") as caught:
        output_difference(model, model, inputs)
    assert "\n" not in str(caught.value)


IMAGE = np.zeros((8, 8, 1), "float32")


@pytest.mark.parametrize(
    "data",
    [
        IMAGE,
        IMAGE[None].tolist(),
        [],
        IMAGE[None, :6],
        [IMAGE[None]] * 2,
        IMAGE[:0][None],
        np.array([["a"]]),
        iter([IMAGE]),
    ],
    ids=["one image", "lists", "empty", "other shape", "two inputs", "no image", "text", "iterator"],
)
def test_data_that_are_no_batch_are_refused(data):
    conv = layers.Conv2D(4, 3, padding="same")
    model = model_of(
        lambda x: layers.GlobalAveragePooling2D()(layers.ReLU(name="r")(layers.BatchNormalization()(conv(x)))),
        (8, 8, 1),
    )
    with pytest.raises(InvalidData, match=r"arrays \[n, 8, 8, 1\]") as caught:
        deepen(model, "r", data=data)
    assert "\n" not in str(caught.value)


def test_inputs_of_unequal_lengths_are_refused():
    inputs = [keras.Input((6,)), keras.Input((6,))]
    x = layers.ReLU(name="r")(layers.BatchNormalization()(layers.Add()([layers.Dense(4)(each) for each in inputs])))
    model = keras.Model(inputs, layers.Dense(2)(x))
    with pytest.raises(InvalidData, match=r"Received: \[\(16, 6\), \(4, 6\)\]"):
        deepen(model, "r", data=[BATCH, BATCH[:4]])
    assert "r_deeper" in [layer.name for layer in deepen(model, "r", data=[BATCH, BATCH]).layers]


@pytest.mark.parametrize("first", [lambda: layers.Embedding(20, 8, mask_zero=True), None], ids=["embedding", "masking"])
def test_sequential_models_with_masks(first):
    head = [keras.Input((None,)), first()] if first else [keras.Input((None, 3)), layers.Masking()]
    model = keras.Sequential([*head, layers.LSTM(4), dense(), layers.Dense(2)])
    batch = np.random.default_rng(0).integers(3, size=(4, 7) if first else (4, 7, 3))
    randomise(model, np.random.default_rng(0))
    for grown in (grow(model, []), widen(model, "d", 8, rng=0), deepen(model, "d")):
        assert output_difference(model, grown, batch) < 1e-5
    nested = model_of(model, (None,) if first else (None, 3))
    assert output_difference(nested, widen(nested, f"{model.name}/d", 8, rng=0), batch) < 1e-5


def test_channels_pass_a_masking_whose_mask_is_used():
    model = model_of(lambda x: layers.LSTM(4)(layers.Masking()(dense()(x))), (7, 6))
    batch = np.random.default_rng(0).normal(size=(4, 7, 6))
    model.get_layer("d").bias.assign(np.full(5, -1.0))
    assert "d" not in widenable(model)  # an LSTM is behind it
    model = model_of(lambda x: layers.LSTM(4)(layers.Dense(3)(layers.Masking()(dense()(x)))), (7, 6))
    assert widenable(model)["d"] == 5
    assert output_difference(model, widen(model, "d", 8, rng=0), batch) < 1e-5


class NoConfig(layers.Layer):
    def __init__(self, array, **options):  # noqa: ARG002 - it is not kept, which is the point
        super().__init__(**options)

    def call(self, x):
        return x * 2.0


@pytest.mark.parametrize(
    "layer",
    [
        lambda: NoConfig(np.ones(3), name="odd"),
        lambda: layers.Activation(functools.partial(keras.activations.relu, negative_slope=0.2), name="odd"),
    ],
    ids=["no configuration", "partial"],
)
@pytest.mark.parametrize("operation", [widenable, deepenable, lambda model: widen(model, "d", 8, rng=0)])
def test_a_layer_without_a_configuration_is_named(layer, operation):
    model = model_of(lambda x: layer()(dense()(x)))
    with pytest.raises(UnsupportedLayer, match=r"Layer .odd., a .*has no configuration") as caught:
        operation(model)
    assert "\n" not in str(caught.value)


class Halved(layers.Layer):
    def call(self, x):
        return x / 2


@pytest.mark.parametrize("method", ["channels", "rewrite"])
def test_a_rule_that_returns_nothing_is_named(method):
    broken_rule = type(
        "Broken", (Rule,), {"channels": lambda *a: a[2][0], "rewrite": lambda *a: a[1], method: lambda *_: None}
    )
    register_rule(Halved, broken_rule())
    model = model_of(lambda x: layers.Dense(3)(Halved(name="halved")(dense()(x))))
    with pytest.raises(UnsupportedLayer, match=f"The rule of 'halved', a Halved, is wrong: its {method} must return"):
        widen(model, "d", 8, rng=0)


def my_metric(y_true, y_pred):
    return keras.ops.mean(keras.ops.abs(y_true - y_pred))


@pytest.mark.filterwarnings("error")
def test_compilation_with_a_function_as_metric_survives():
    model = model_of(dense())
    wrapped = keras.metrics.MeanMetricWrapper(my_metric, name="wrapped")
    model.compile("sgd", "mse", metrics=[my_metric], weighted_metrics=[wrapped])
    wider = widen(model, "d", 8, rng=0)
    assert set(wider.evaluate(BATCH, np.ones((16, 2)), verbose=0, return_dict=True)) == {"loss", "my_metric", "wrapped"}


def test_messages_stay_in_one_line_whatever_was_received():
    with pytest.raises(EASError) as caught:
        widenable(np.zeros((40, 40)))
    assert len(str(caught.value)) < 250
    assert "\n" not in str(caught.value)
