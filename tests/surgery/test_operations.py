"""The public operations on a user's own models: what they keep, what they need, and what they refuse."""

import keras
import numpy as np
import pytest
from trained_graphs import images, randomise, sequential_model

from eas_tf.errors import IllegalTransformation, InvalidConfiguration, UnsupportedLayer
from eas_tf.surgery import (
    Deepen,
    PerChannel,
    Rule,
    Widen,
    deepen,
    deepenable,
    explain,
    grow,
    output_difference,
    register_rule,
    widen,
    widenable,
)

layers = keras.layers


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def residual_model(rng, **options):
    """Two residual blocks with squeeze and excitation, and a head: `stem`, `end_1` and `end_2` are tied together."""
    inputs = keras.Input((8, 6, 3), name="images")
    x = layers.Conv2D(6, 3, padding="same", use_bias=False, name="stem", **options)(inputs)
    x = layers.ReLU(name="stem_relu")(layers.BatchNormalization(name="stem_bn")(x))
    for number in (1, 2):
        y = layers.Conv2D(4, 3, padding="same", activation="relu", name=f"inner_{number}")(x)
        y = layers.BatchNormalization(name=f"bn_{number}")(layers.Conv2D(6, 3, padding="same", name=f"end_{number}")(y))
        gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"squeeze_{number}")(y)
        gate = layers.Conv2D(6, 1, activation="sigmoid", name=f"gate_{number}")(gate)
        y = layers.Multiply(name=f"excite_{number}")([y, gate])
        x = layers.Activation("relu", name=f"out_{number}")(layers.Add(name=f"add_{number}")([x, y]))
    x = layers.GlobalAveragePooling2D(name="vector")(x)
    x = layers.Dense(5, activation="relu", name="hidden")(x)
    return randomise(keras.Model(inputs, layers.Dense(3, activation="softmax", name="classes")(x)), rng)


TIED = ["stem", "end_1", "gate_1", "end_2", "gate_2"]


def test_what_can_be_widened_and_deepened_is_known_before_trying(rng):
    model = residual_model(rng)
    assert widenable(model) == dict.fromkeys(TIED, 6) | {"inner_1": 4, "inner_2": 4, "hidden": 5}
    assert deepenable(model) == ["stem_relu", "inner_1", "out_1", "inner_2", "out_2", "vector", "hidden"]


@pytest.mark.parametrize("layer", TIED)
def test_all_layers_that_meet_in_residual_joins_widen_together(rng, layer):
    model, batch = residual_model(rng), images(rng, shape=(8, 6, 3))
    wider = widen(model, layer, 10, rng=3)
    assert output_difference(model, wider, batch) <= 1e-5
    assert {name: wider.get_layer(name).filters for name in TIED} == dict.fromkeys(TIED, 10)
    assert widenable(wider) == widenable(model) | dict.fromkeys(TIED, 10)
    assert [each.name for each in wider.layers] == [each.name for each in model.layers]


@pytest.mark.parametrize("after", ["stem_relu", "inner_1", "out_1", "vector", "hidden"])
def test_a_new_layer_is_the_identity_and_has_batch_norm_where_there_is_one_above(rng, after):
    model, batch = residual_model(rng), images(rng, shape=(8, 6, 3))
    deeper = deepen(model, after, data=batch)
    assert output_difference(model, deeper, batch) <= 1e-5
    new = [each.name for each in deeper.layers if each.name not in {old.name for old in model.layers}]
    with_norm = after in ("stem_relu", "out_1", "vector")
    assert new == [f"{after}_deeper", *[f"{after}_deeper_bn"] * with_norm, f"{after}_deeper_relu"]
    assert deeper.get_layer(new[0]).use_bias != with_norm


def test_data_are_needed_only_where_the_new_layer_has_batch_norm(rng):
    model = residual_model(rng)
    assert "inner_1_deeper" in [each.name for each in deepen(model, "inner_1").layers]
    with pytest.raises(IllegalTransformation, match=r"after 'out_1' has batch norm, as 'stem_bn' .* give data"):
        deepen(model, "out_1")


def test_steps_may_name_what_earlier_ones_inserted(rng):
    model, batch = residual_model(rng), images(rng, shape=(8, 6, 3))
    steps = [Deepen("out_1"), Widen("out_1_deeper", 9), Deepen("out_1_deeper_relu", 1), Widen("end_2", 11)]
    steps += [Deepen("out_1"), Widen("hidden", 8)]
    grown = grow(model, steps, data=batch, rng=np.random.default_rng(1))
    assert output_difference(model, grown, batch) <= 1e-5
    assert {"out_1_deeper", "out_1_deeper_relu_deeper", "out_1_deeper_2"} <= {each.name for each in grown.layers}


def test_the_same_seed_gives_the_same_model_and_a_number_is_a_seed(rng):
    model = residual_model(rng)
    kernels = [widen(model, "stem", 9, rng=seed).get_weights() for seed in (4, np.random.default_rng(4), 5)]
    assert all(np.array_equal(a, b) for a, b in zip(kernels[0], kernels[1], strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(kernels[0], kernels[2], strict=True))


def test_explain_names_what_is_tied_and_why(rng):
    model = residual_model(rng)
    lines = explain(model, "end_1").split("\n")
    assert lines[0] == "end_1 (Conv2D, 6 channels) can be widened."
    assert "tied to it, and gets the same replicas: stem, gate_1, end_2, gate_2" in lines[1]
    assert "ties them together: excite_1, add_1, excite_2, add_2" in lines[2]
    assert "stem_bn" in lines[3]
    assert "squeeze_1" in lines[3]
    assert "inner_1, gate_1, inner_2, gate_2, hidden" in lines[4]
    assert "classes (Dense, 3 channels) cannot be widened" in explain(model, "classes")


def test_configuration_names_and_flags_survive(rng):
    options = {"kernel_regularizer": keras.regularizers.L2(0.25), "kernel_constraint": keras.constraints.MaxNorm(3)}
    model = residual_model(rng, **options)
    model.get_layer("stem_bn").trainable = False
    model.compile(keras.optimizers.Adam(0.125), loss="mse", metrics=["mae"])
    grown = grow(model, [Widen("stem", 8), Deepen("out_2")], data=images(rng, shape=(8, 6, 3)), rng=0)
    assert grown.get_layer("stem").kernel_regularizer.l2 == 0.25
    assert grown.get_layer("stem").kernel_constraint.max_value == 3
    assert not grown.get_layer("stem_bn").trainable
    assert grown.name == model.name
    assert type(grown.optimizer) is keras.optimizers.Adam
    assert float(grown.optimizer.learning_rate) == 0.125
    assert grown.fit(images(rng, shape=(8, 6, 3)), np.zeros((4, 3)), verbose=0).history["mae"]


@pytest.mark.parametrize(("policy", "limit"), [("mixed_float16", 5e-3), ("mixed_bfloat16", 4e-2), ("bfloat16", 4e-2)])
def test_dtype_policies_survive_and_the_outputs_agree_as_far_as_they_go(rng, policy, limit):
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model, batch = residual_model(rng), images(rng, shape=(8, 6, 3))
    finally:
        keras.config.set_dtype_policy(previous)
    grown = grow(model, [Widen("end_1", 9), Deepen("inner_1"), Deepen("out_1")], data=batch, rng=0)
    assert output_difference(model, grown, batch) <= limit
    for name in ("stem", "inner_1_deeper", "out_1_deeper_bn", "out_1_deeper_relu"):
        assert grown.get_layer(name).dtype_policy.name == policy
    assert grown.get_layer("end_1").kernel.dtype == model.get_layer("end_1").kernel.dtype


def test_models_within_models_stay_so(rng):
    backbone = residual_model(rng)
    backbone = keras.Model(backbone.inputs, backbone.get_layer("vector").output, name="backbone")
    inputs = keras.Input((8, 6, 3))
    head = keras.Sequential([keras.Input((6,)), layers.Dense(4, name="last")], name="head")
    model = keras.Model(inputs, head(backbone(inputs)))
    model.get_layer("backbone").trainable = False
    batch = images(rng, shape=(8, 6, 3))
    assert set(widenable(model)) == {f"backbone/{name}" for name in [*TIED, "inner_1", "inner_2"]}
    steps = [Widen("backbone/end_2", 9), Deepen("backbone/out_1"), Widen("backbone/out_1_deeper", 12)]
    grown = grow(model, steps, data=batch, rng=0)
    assert output_difference(model, grown, batch) <= 1e-5
    assert [each.name for each in grown.layers[1:]] == ["backbone", "head"]
    assert grown.get_layer("head").get_layer("last").kernel.shape == (12, 4)
    assert not grown.get_layer("backbone").trainable
    assert "out_1_deeper_bn" in [each.name for each in grown.get_layer("backbone").layers]


def test_a_sequential_model_stays_sequential(rng):
    model, batch = sequential_model(rng), images(rng, shape=(8, 6, 3))
    grown = grow(model, [Widen("separable", 9), Deepen("pool"), Widen("hidden", 8)], data=batch, rng=0)
    assert type(grown) is keras.Sequential
    assert output_difference(model, grown, batch) <= 1e-5


def test_several_inputs_and_outputs(rng):
    first, second = keras.Input((8, 6, 3), name="first"), keras.Input((4,), name="second")
    x = layers.GlobalMaxPooling2D()(layers.Conv2D(5, 3, activation="relu", name="conv")(first))
    y = layers.Dense(5, activation="relu", name="dense")(second)
    z = layers.Dense(6, activation="relu", name="both")(layers.Concatenate()([x, y]))
    outputs = {"a": layers.Dense(2, name="a")(z), "b": layers.Dense(3, name="b")(layers.Average()([x, y]))}
    model = randomise(keras.Model({"first": first, "second": second}, outputs), rng)
    batch = {"first": images(rng, shape=(8, 6, 3)), "second": images(rng, shape=(4,))}
    grown = grow(model, [Widen("dense", 9), Deepen("conv"), Deepen("both"), Widen("both", 7)], data=batch, rng=0)
    assert set(grown(batch)) == {"a", "b"}
    assert output_difference(model, grown, batch) <= 1e-5


def test_groups_grow_by_as_many_channels_each(rng):
    inputs = keras.Input((6, 5, 4))
    x = layers.Conv2D(8, 1, name="before")(inputs)
    x = layers.Conv2D(12, 3, groups=4, name="grouped")(x)
    model = randomise(keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x))), rng)
    batch = images(rng, shape=(6, 5, 4))
    for layer, old in (("before", 8), ("grouped", 12)):
        assert "by 4 or multiples" in explain(model, layer)
        assert output_difference(model, widen(model, layer, old + 4, rng=1), batch) <= 1e-5
        with pytest.raises(IllegalTransformation, match=f"grow by multiples of 4. Received: {old + 3}"):
            widen(model, layer, old + 3, rng=1)


def test_a_part_of_what_enters_a_grouped_convolution_cannot_grow():
    inputs = keras.Input((6, 5, 4))
    parts = [layers.Conv2D(4, 1, name=name)(inputs) for name in ("left", "right")]
    x = layers.Conv2D(4, 3, groups=2, name="grouped")(layers.Concatenate()(parts))
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    assert set(widenable(model)) == {"grouped"}
    with pytest.raises(IllegalTransformation, match="groups of 'grouped' would get unequal numbers"):
        widen(model, "left", 6, rng=0)


def test_arithmetic_on_tensors_is_followed(rng):
    inputs = keras.Input((8, 6, 3))
    x = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    x = keras.ops.relu(1 - x * 0.5 + layers.Conv2D(4, 3, padding="same", name="branch")(x))
    gate = keras.ops.relu6(layers.Conv2D(4, 1, name="gate")(x) + 3.0) * (1 / 6)
    x = layers.GlobalAveragePooling2D()(x / (1.0 + keras.ops.absolute(gate)))
    model = randomise(keras.Model(inputs, layers.Dense(3)(x)), rng)
    batch = images(rng, shape=(8, 6, 3))
    assert widenable(model) == {"stem": 4, "branch": 4, "gate": 4}
    (relu,) = [operation.name for operation in model.operations if type(operation).__name__ == "Relu"]
    grown = grow(model, [Widen("gate", 7), Deepen(relu, 1)], rng=0, data=batch)
    assert output_difference(model, grown, batch) <= 1e-5
    assert {grown.get_layer(name).filters for name in ("stem", "branch", "gate")} == {7}


def test_arithmetic_with_arrays_is_exact(rng):
    inputs = keras.Input((5,))
    x = layers.Dense(4, name="d")(inputs) * rng.normal(size=4).astype("float32")
    model = keras.Model(inputs, layers.Dense(3)(x))
    assert output_difference(model, widen(model, "d", 6, rng=0), rng.normal(size=(8, 5))) < 1e-6


class Halve(layers.Layer):
    def call(self, inputs):
        return inputs / 2


def test_a_registered_rule_lets_channels_pass(rng):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="d"), Halve(name="halve"), layers.Dense(2)])
    with pytest.raises(UnsupportedLayer, match=r"'halve', a Halve layer; .*register_rule"):
        widen(model, "d", 5, rng=0)
    register_rule(Halve, PerChannel(keeps_sign=True))
    try:
        assert output_difference(model, widen(model, "d", 5, rng=0), images(rng, shape=(4,))) <= 1e-5
    finally:
        register_rule(Halve, Rule())


def test_a_rule_is_an_instance_for_a_layer_class():
    for arguments in ((Halve(), PerChannel()), (Halve, PerChannel), (dict, PerChannel())):
        with pytest.raises(InvalidConfiguration, match="Received"):
            register_rule(*arguments)


def no_weights():
    return keras.Sequential([keras.Input((4,)), layers.ReLU(name="stem")], name="empty")


def broken():
    model = residual_model(np.random.default_rng(0))
    kernel = model.get_layer("end_1").kernel
    kernel.assign(kernel * float("nan"))
    return model


@pytest.mark.parametrize(
    ("operate", "error", "named"),
    [
        (lambda model: widen(model, "stemm", 9, rng=0), IllegalTransformation, "no layer 'stemm'. Did you mean 'stem'"),
        (
            lambda model: widen(model, "xyzzy", 9, rng=0),
            IllegalTransformation,
            "no layer 'xyzzy'. Its layers are images",
        ),
        (
            lambda model: widen(model, 3, 9, rng=0),
            IllegalTransformation,
            "given by its name, for example layer.name. Received: 3",
        ),
        (lambda model: widen(model, "stem", 5, rng=0), IllegalTransformation, "more than the 6 channels.* Received: 5"),
        (lambda model: widen(model, "stem", 6, rng=0), IllegalTransformation, "more than the 6 channels.* Received: 6"),
        (lambda model: widen(model, "stem", 9.5, rng=0), IllegalTransformation, "whole number.* Received: 9.5"),
        (lambda model: widen(model, "stem", "9", rng=0), IllegalTransformation, "whole number.* Received: '9'"),
        (
            lambda model: widen(model, "add_1", 9, rng=0),
            IllegalTransformation,
            "'add_1' cannot be widened: it makes no channels .* can be widened are stem, inner_1",
        ),
        (
            lambda model: widen(model, "classes", 9, rng=0),
            IllegalTransformation,
            "'classes' cannot be widened: .*softmax",
        ),
        (lambda model: widen(model, "stem", 9, rng=None), InvalidConfiguration, "give rng"),
        (
            lambda model: widen(model, "stem", 9, rng=0, symmetry_breaking="magic"),
            InvalidConfiguration,
            "Received: 'magic'",
        ),
        (lambda model: deepen(model, "out_11"), IllegalTransformation, "Did you mean 'out_1'"),
        (
            lambda model: deepen(model, "stem"),
            IllegalTransformation,
            "after 'stem': its values may be negative.* can be deepened are stem_relu",
        ),
        (lambda model: deepen(model, "inner_1", kernel_size=2), InvalidConfiguration, "odd number. Received: 2"),
        (lambda model: deepen(model, "inner_1", kernel_size=0), InvalidConfiguration, "odd number. Received: 0"),
        (lambda model: deepen(model, "inner_1", symmetry_breaking="noise"), InvalidConfiguration, "give rng"),
        (
            lambda model: deepen(model, "inner_1", symmetry_breaking="magic", rng=0),
            InvalidConfiguration,
            "Received: 'magic'",
        ),
        (lambda model: grow(model, ["widen"], rng=0), InvalidConfiguration, "A step is .* Received: 'widen'"),
        (lambda model: explain(model, "steem"), IllegalTransformation, "Did you mean 'stem'"),
        (lambda _: widen(no_weights(), "stem", 9, rng=0), IllegalTransformation, "'empty' has no weights"),
        (lambda _: widen(broken(), "stem", 9, rng=0), InvalidConfiguration, "'end_1' are not all finite"),
        (lambda _: deepen(broken(), "inner_1"), InvalidConfiguration, "'end_1' are not all finite"),
        (lambda _: widen("model.keras", "stem", 9, rng=0), UnsupportedLayer, "Received: 'model.keras'"),
    ],
)
def test_bad_input_is_one_clear_error_and_leaves_the_model(operate, error, named):
    model = residual_model(np.random.default_rng(0))
    before = model.get_weights()
    with pytest.raises(error, match=named) as caught:
        operate(model)
    assert "\n" not in str(caught.value)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_differences_of_several_outputs_and_of_broken_ones():
    inputs = keras.Input((2,))
    model = keras.Model(inputs, [layers.Rescaling(1.0)(inputs), layers.Rescaling(2.0)(inputs)])
    other = keras.Model(inputs, [layers.Rescaling(1.0)(inputs), layers.Rescaling(3.0)(inputs)])
    assert output_difference(model, other, np.ones((3, 2))) == pytest.approx(0.5)
    nothing = keras.Model(inputs, [layers.Rescaling(1.0)(inputs), layers.Rescaling(float("nan"))(inputs)])
    assert output_difference(model, nothing, np.ones((3, 2))) == float("inf")
    one = keras.Model(inputs, inputs)
    with pytest.raises(InvalidConfiguration, match="differ in shape"):
        output_difference(model, one, np.ones((3, 2)))
