import pickle
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import plain_networks

from eas_tf.architecture import SPACES, Conv, Dense, Net2Deeper, Net2Wider, PlainCNN, parse_move
from eas_tf.errors import IllegalTransformation

TABLE_1 = PlainCNN.parse(SPACES["paper"].start)
INDICES = st.integers(0, 999_999_999)
TRANSFORMATIONS = st.one_of(
    st.builds(Net2Wider, INDICES, INDICES),
    st.builds(Net2Deeper, INDICES, INDICES, st.none() | INDICES),
)


@given(TRANSFORMATIONS)
def test_parse_is_the_inverse_of_str(transformation):
    assert parse_move(str(transformation)) == transformation


@pytest.mark.parametrize(
    ("text", "transformation"),
    [
        ("wider(4,96)", Net2Wider(4, 96)),
        ("deeper(1,0,5)", Net2Deeper(1, 0, 5)),
        ("deeper(4,1,-)", Net2Deeper(4, 1, None)),
        ("deeper(4,1,0)", Net2Deeper(4, 1, 0)),
    ],
)
def test_str_is_the_inverse_of_parse(text, transformation):
    assert parse_move(text) == transformation
    assert str(transformation) == text


MALFORMED = [
    "",
    " ",
    "wider",
    "wider()",
    "wider(4)",
    "wider(4,96,1)",
    "wider(4,-)",
    "wider(-4,96)",
    "wider(4,+96)",
    "wider(4,96.0)",
    "wider(4,96)x",
    "wider(4,96)\n",
    "xwider(4,96)",
    " wider(4,96)",
    "wider(4, 96)",
    "wider (4,96)",
    "Wider(4,96)",
    "wider(4,96),wider(4,128)",
    "wider(4,9999999999)",
    "wider(\u0664,96)",
    "wider(4,\uff19\uff16)",
    "wider(4,1_0)",
    "deeper(1,0)",
    "deeper(1,0,)",
    "deeper(1,0,--)",
    "deeper(1,0,-3)",
    "deeper(1,0,None)",
    "deeper(1,-,3)",
    "deeper(1,0,\u0663)",
    "deeper(1,0,3",
    "deeper(1,0,3))",
    "deeper(1,0,3)\x00",
    "../../x",
    "w" * 10**6,
    "wider(" + "9" * 10**6 + ",1)",
    "wider(4,96)" * 10**5,
]


@pytest.mark.parametrize("text", MALFORMED, ids=[repr(text[:30]) for text in MALFORMED])
def test_a_malformed_string_is_refused(text):
    with pytest.raises(IllegalTransformation) as refusal:
        parse_move(text)
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 400


@given(st.one_of(st.text(), st.text(alphabet="wideprx(),0123456789-\n\u0664")))
def test_any_text_is_either_refused_or_read_completely(text):
    try:
        transformation = parse_move(text)
    except IllegalTransformation:
        return
    assert text.isascii()
    assert len(text) >= len(str(transformation))


def test_widening_changes_one_layer_and_the_parameters_around_it():
    """C32 -> 64 of Table 1: 9*16*32 + 2*32 = 4,672 more in it, 9*32*64 = 18,432 more in the C64 that reads it."""
    child = Net2Wider(2, 64).apply(TABLE_1)
    assert str(child) == str(TABLE_1).replace("C(32,3,1)", "C(64,3,1)")
    assert child.parameter_count == 133_530 + 4_672 + 18_432
    assert str(Net2Wider(8, 300).apply(TABLE_1)) == str(TABLE_1).replace("FC(256)", "FC(300)")


def test_widening_keeps_kernel_and_stride():
    network = PlainCNN.parse("C(16,5,2), SM(10)")
    assert Net2Wider(0, 17).apply(network).layers[0] == Conv(17, 5, 2)


@pytest.mark.parametrize(
    ("layer", "width"),
    [(0, 16), (0, 15), (0, 0), (0, -1), (8, 256), (1, 32), (9, 20), (10, 32), (99, 32), (-1, 32), (-10, 32)],
)
def test_an_impossible_widening_is_refused(layer, width):
    with pytest.raises(IllegalTransformation):
        Net2Wider(layer, width).apply(TABLE_1)


@pytest.mark.parametrize(
    ("transformation", "index", "layer", "parameters"),
    [
        (Net2Deeper(0, 1, 3), 1, Conv(16, 3), 9 * 16 * 16 + 32),
        (Net2Deeper(1, 0, 5), 2, Conv(16, 5), 25 * 16 * 16 + 32),
        (Net2Deeper(1, 1, 1), 3, Conv(32, 1), 32 * 32 + 64),
        (Net2Deeper(3, 1, 7), 7, Conv(128, 7), 49 * 128 * 128 + 256),
        (Net2Deeper(4, 0, None), 8, Dense(128), 128 * 128 + 256),
        (Net2Deeper(4, 1, None), 9, Dense(256), 256 * 256 + 512),
    ],
)
def test_deepening_inserts_a_layer_as_wide_as_what_reaches_it(transformation, index, layer, parameters):
    child = transformation.apply(TABLE_1)
    assert transformation.index_in(TABLE_1) == index
    assert child.layers[index] == layer
    assert (*child.layers[:index], *child.layers[index + 1 :]) == TABLE_1.layers
    assert child.parameter_count == TABLE_1.parameter_count + parameters


def test_deepening_after_flattening_has_a_unit_for_every_position():
    """A 32x32 image pooled by 8 is 4x4; 16 positions of 3 channels are 48 features."""
    network = PlainCNN.parse("C(3,3,1), P(8,8,MAX), FC(64), SM(10)")
    assert str(Net2Deeper(1, 0, None).apply(network)) == "C(3,3,1), P(8,8,MAX), FC(48), FC(64), SM(10)"


def test_deepening_without_a_last_pool_or_a_fully_connected_layer():
    network = PlainCNN.parse("C(2,3,1), SM(10)", (2, 3, 1))
    assert str(Net2Deeper(0, 1, 3).apply(network)) == "C(2,3,1), C(2,3,1), SM(10)"
    assert str(Net2Deeper(1, 0, None).apply(network)) == "C(2,3,1), FC(12), SM(10)"


@pytest.mark.parametrize(
    ("block", "position", "kernel"),
    [
        (0, 0, 3),
        (0, 2, 3),
        (0, -1, 3),
        (-1, 0, None),
        (5, 0, None),
        (0, 1, None),
        (0, 1, 2),
        (0, 1, 0),
        (4, 0, 3),
        (4, 1, 1),
        (4, 1, 0),
        (4, 2, None),
    ],
)
def test_an_impossible_deepening_is_refused(block, position, kernel):
    with pytest.raises(IllegalTransformation):
        Net2Deeper(block, position, kernel).apply(TABLE_1)


@settings(deadline=None, max_examples=80)
@given(
    plain_networks(SPACES["digits"], (8, 8, 1)),
    st.one_of(
        st.builds(Net2Wider, st.integers(-2, 20), st.integers(-1, 200)),
        st.builds(Net2Deeper, st.integers(-1, 4), st.integers(-1, 6), st.none() | st.integers(0, 9)),
    ),
)
def test_any_transformation_grows_the_network_or_is_refused(parent, transformation):
    before = str(parent), parent.parameter_count, parent.shapes
    try:
        child = transformation.apply(parent)
    except IllegalTransformation as refusal:
        assert f"Received: {transformation}" in str(refusal)  # noqa: PT017 - either outcome is right
    else:
        assert child != parent
        assert child.parameter_count > parent.parameter_count
        assert child.shapes[-1] == parent.shapes[-1]
        assert PlainCNN.parse(str(child), child.input_shape) == child
    assert (str(parent), parent.parameter_count, parent.shapes) == before


def test_a_layer_that_was_inserted_can_be_widened():
    child = Net2Wider(1, 64).apply(Net2Deeper(0, 1, 5).apply(TABLE_1))
    assert child.layers[:2] == (Conv(16, 3), Conv(64, 5))


@pytest.mark.parametrize("transformation", [Net2Wider(2, 64), Net2Deeper(1, 0, 3), Net2Deeper(4, 0, None)])
def test_transformations_are_immutable_hashable_values(transformation):
    twin = pickle.loads(pickle.dumps(transformation))
    assert len({transformation, twin}) == 1
    for name in transformation.__slots__:
        with pytest.raises(FrozenInstanceError):
            setattr(transformation, name, 1)
