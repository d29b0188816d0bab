"""Constants among the inputs of merge layers and operations, in every position."""

import keras
import numpy as np
import pytest
from trained_graphs import randomise

from eas_tf.errors import EASError
from eas_tf.surgery import deepen, deepenable, output_difference, widen, widenable

layers, ops = keras.layers, keras.ops
RNG = np.random.default_rng(0)
BATCH = RNG.normal(size=(6, 8)).astype("float32")
MIXED = np.array([-1.0, 2.0, -3.0, 4.0], "float32")
CONSTANTS = {
    "row": lambda: ops.convert_to_tensor(MIXED[None]),
    "array": lambda: MIXED[None],
    "number": lambda: ops.convert_to_tensor([[-2.0]]),
    "positive row": lambda: ops.convert_to_tensor(abs(MIXED)[None]),
}
MERGES = [layers.Add, layers.Subtract, layers.Multiply, layers.Average, layers.Maximum, layers.Minimum]
OPERATIONS = [ops.add, ops.subtract, ops.multiply, ops.divide, ops.maximum, ops.minimum]


def model_of(join):
    """A layer `d` of four channels whose values a join takes, with what follows."""
    inputs = keras.Input((8,))
    joined = join(layers.Dense(4, activation="relu", name="d")(inputs))
    return randomise(keras.Model(inputs, layers.Dense(2, name="out")(joined)), np.random.default_rng(1))


def check(model, batch=BATCH, expected=("d",)):
    """All that is listed is exact, and `d` is listed."""
    assert set(widenable(model)) == set(expected)
    for name, width in widenable(model).items():
        assert output_difference(model, widen(model, name, 2 * width + 1, rng=0), batch) < 1e-6
    for place in deepenable(model):
        assert output_difference(model, deepen(model, place), batch) < 1e-6


@pytest.mark.parametrize("constant", CONSTANTS.values(), ids=CONSTANTS)
@pytest.mark.parametrize("merge", MERGES)
def test_merge_layers(merge, constant):
    """Keras takes no constant in the first place."""
    given = constant()
    model = model_of(lambda x: merge(name="joined")([x, given]))
    check(model)
    negative = np.any(ops.convert_to_numpy(given) < 0) and merge is not layers.Maximum
    assert ("joined" in deepenable(model)) == (merge is not layers.Subtract and not negative)


@pytest.mark.parametrize("first", [True, False], ids=["constant first", "constant last"])
@pytest.mark.parametrize("constant", [*CONSTANTS.values(), lambda: MIXED, lambda: -2.5])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_operations(operation, constant, first):
    given = constant()
    if first and operation is ops.divide:
        check(model_of(lambda x: operation(given, x + 1.0)))
    else:
        check(model_of(lambda x: operation(given, x) if first else operation(x, given)))


@pytest.mark.parametrize("position", [1, 2])
def test_constants_beside_channels(position):
    """Their own channels stay what they are, in their place."""

    def join(x):
        parts = [x, layers.Dense(3, name="e")(x)]
        parts.insert(position, ops.convert_to_tensor(MIXED[None] - 1))
        return layers.Concatenate(name="joined")(parts)

    check(model_of(join), BATCH[:1], ("d", "e"))
    assert "joined" not in deepenable(model_of(join))


def test_constants_behind_positions():
    """Concatenated along an axis of positions, they have the channels of what they lie beside."""
    row = ops.convert_to_tensor(MIXED[None, None])

    def join(x):
        x = layers.Reshape((1, 4))(x)
        x = layers.Concatenate(axis=1, name="joined")([x, row])
        return layers.Flatten()(layers.Conv1D(3, 2, padding="same", name="conv")(x))

    check(model_of(join), BATCH[:1], ("d", "conv"))


def test_three_inputs_of_which_one_is_a_constant():
    def join(x):
        return layers.Add()([x, ops.convert_to_tensor(MIXED[None]), layers.Dense(4, name="e")(x)])

    check(model_of(join), expected=("d", "e"))


def test_inputs_by_keyword():
    check(model_of(lambda x: layers.Add()(inputs=[x, ops.convert_to_tensor(MIXED[None])])))
    check(model_of(lambda x: layers.Concatenate()(inputs=[x, ops.convert_to_tensor(MIXED[None])])), BATCH[:1])
    check(model_of(lambda x: ops.add(x2=x, x1=MIXED)))


def test_a_constant_that_has_all_the_channels():
    """A single channel is broadcast to the constant's, and cannot be repeated."""
    inputs = keras.Input((8,))
    x = layers.Add(name="joined")([layers.Dense(1, name="d")(inputs), ops.convert_to_tensor(MIXED[None])])
    model = keras.Model(inputs, layers.Dense(2)(x))
    assert widenable(model) == {}
    with pytest.raises(EASError, match="'d' cannot be widened"):
        widen(model, "d", 3, rng=0)


def test_constants_that_no_rule_knows_are_refused_before_anything_is_built():
    attention = layers.Dot(axes=1, name="dot")
    model = model_of(lambda x: attention([x, ops.convert_to_tensor(np.tile(MIXED, (6, 1)))]))
    assert widenable(model) == {}
    with pytest.raises(EASError, match="'dot'"):
        widen(model, "d", 6, rng=0)


def test_a_tensor_without_channels_is_not_met_by_channels():
    """`x + s` with `s` of shape [n] lays the batch beside the channels, which fits for one batch size only."""
    inputs = keras.Input((8,), batch_size=4)
    x = layers.Dense(4, activation="relu", name="d")(inputs)
    model = keras.Model(inputs, layers.Dense(2)(x + ops.max(layers.Dense(3, name="s")(inputs), axis=-1)))
    assert widenable(model) == {}


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (4,)])
def test_variables_of_the_users_stay_variables(shape):
    """Values may be assigned to them after surgery, so both models go on using them."""
    variable = keras.Variable(np.full(shape, 3.0), trainable=False)
    model = model_of(lambda x: ops.relu(x * variable))
    assert set(widenable(model)) == ({"d"} if shape != (4,) else set())
    assert all("multiply" not in place for place in deepenable(model))
    children = [widen(model, name, 9, rng=0) for name in widenable(model)] + [deepen(model, "d")]
    variable.assign(np.full(shape, -2.0))
    for child in children:
        assert output_difference(model, child, BATCH) < 1e-6


def test_large_constants_count_in_the_digest():
    from eas_tf.surgery import LayerGraph

    rows = np.zeros((2, 1, 3000), "float32")
    rows[1, 0, 1500] = 1
    graphs = [
        LayerGraph.from_keras(
            keras.Model(i, layers.Add(name="a")([layers.Dense(3000, name="d", kernel_initializer="ones")(i), row]))
        )
        for i, row in zip([keras.Input((2,), name="i"), keras.Input((2,), name="i")], rows, strict=True)
    ]
    assert graphs[0].digest != graphs[1].digest
