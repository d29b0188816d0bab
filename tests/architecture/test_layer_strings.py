import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import INPUT_SHAPES, plain_networks, search_spaces

from eas_tf.architecture import SPACES, Conv, Dense, PlainCNN, Pool, Softmax, parse_architecture
from eas_tf.architecture.notation import MAX_LAYERS
from eas_tf.errors import InvalidArchitecture

MILLION = 10**6


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_parse_is_the_inverse_of_str(data):
    network = data.draw(plain_networks(data.draw(search_spaces), data.draw(st.sampled_from(INPUT_SHAPES))))
    again = PlainCNN.parse(str(network), network.input_shape)
    assert again == network
    assert str(again) == str(network)


@pytest.mark.parametrize("space", SPACES.values(), ids=lambda space: space.name)
def test_str_is_the_inverse_of_parse_on_the_start_networks(space):
    start = str(space.start_network((32, 32, 3), 10))
    assert str(parse_architecture(start)) == start


def test_each_notation_becomes_its_layer():
    network = PlainCNN.parse("C(16,5,2), P(3,2,MAX), C(8,1,1), P(2,1,AVG), FC(64), SM(7)", (40, 20, 1))
    assert network.layers == (Conv(16, 5, 2), Pool(3, 2, "MAX"), Conv(8, 1), Pool(2, 1, "AVG"), Dense(64), Softmax(7))
    assert network.input_shape == (40, 20, 1)


@pytest.mark.parametrize(
    "text",
    [
        "C(16,3,1),P(2,2,MAX),FC(8),SM(10)",
        "  C(16,3,1) ,\tP(2,2,MAX)\n,\n\nFC(8) , SM(10)\n",
        "C(16, 3, 1), P( 2,2 , MAX ), FC( 8 ), SM(10 )",
    ],
)
def test_white_space_between_layers_and_numbers_is_free(text):
    assert str(PlainCNN.parse(text)) == "C(16,3,1), P(2,2,MAX), FC(8), SM(10)"


def test_a_string_may_have_the_largest_number_of_layers_and_no_more():
    longest = ", ".join(["C(1,1,1)"] * (MAX_LAYERS - 1) + ["SM(1)"])
    assert len(PlainCNN.parse(longest).layers) == MAX_LAYERS
    with pytest.raises(InvalidArchitecture, match=f"at most {MAX_LAYERS} layers"):
        PlainCNN.parse("C(1,1,1), " + longest)


# The position is where the first thing begins that cannot stand there: a layer, or what stands instead of a comma.
MALFORMED = [
    # nothing, or no layer
    ("", 0),
    ("   ", 3),
    ("hello", 0),
    ("../../x", 0),
    ("C(16,3,1), ../../x", 11),
    ("%s%n", 0),
    # parentheses
    ("C", 0),
    ("C(16,3,1", 0),
    ("C 16,3,1", 0),
    ("C16,3,1)", 0),
    ("C((16,3,1), SM(10)", 0),
    ("C(16,3,1)), SM(10)", 9),
    ("(16,3,1), SM(10)", 0),
    ("C[16,3,1], SM(10)", 0),
    ("C(16,3,1), SM(10", 11),
    ("C(16,3,C(1)), SM(10)", 0),
    # number of arguments
    ("C(), SM(10)", 0),
    ("C(16,3), SM(10)", 0),
    ("C(16,3,1,1), SM(10)", 0),
    ("C(16,,1), SM(10)", 0),
    ("C(16,3,1,), SM(10)", 0),
    ("C(16,3,1), P(2,2), SM(10)", 11),
    ("C(16,3,1), FC(), SM(10)", 11),
    ("C(16,3,1), FC(8,8), SM(10)", 11),
    # not a plain number
    ("C(sixteen,3,1), SM(10)", 0),
    ("C(-16,3,1), SM(10)", 0),
    ("C(+16,3,1), SM(10)", 0),
    ("C(16.0,3,1), SM(10)", 0),
    ("C(1e2,3,1), SM(10)", 0),
    ("C(0x10,3,1), SM(10)", 0),
    ("C(1_6,3,1), SM(10)", 0),
    ("C(1 6,3,1), SM(10)", 0),
    ("C(16,3,1), SM(1\n0)", 11),
    ("C(\u0661\u0666,3,1), SM(10)", 0),
    ("C(\uff11\uff16,3,1), SM(10)", 0),
    ("C(\u00b2,3,1), SM(10)", 0),
    ("C(16,3,1), SM(1\u0660)", 11),
    ("C(nan,3,1), SM(10)", 0),
    ("C(16,3,1), FC(inf), SM(10)", 11),
    # out of range
    ("C(0,3,1), SM(10)", 0),
    ("C(16,0,1), SM(10)", 0),
    ("C(16,3,0), SM(10)", 0),
    ("C(65537,3,1), SM(10)", 0),
    ("C(16,32,1), SM(10)", 0),
    ("C(999999999,3,1), SM(10)", 0),
    ("C(9999999999,3,1), SM(10)", 0),
    ("C(16,3,1), P(0,2,MAX), SM(10)", 11),
    ("C(16,3,1), P(2,0,MAX), SM(10)", 11),
    ("C(16,3,1), FC(0), SM(10)", 11),
    ("C(16,3,1), SM(0)", 11),
    # names
    ("c(16,3,1), SM(10)", 0),
    ("Conv(16,3,1), SM(10)", 0),
    ("\u0421(16,3,1), SM(10)", 0),
    ("C(16,3,1), P(2,2,max), SM(10)", 11),
    ("C(16,3,1), P(2,2,MIN), SM(10)", 11),
    ("C(16,3,1), P(2,2,2), SM(10)", 11),
    ("C(16,3,1), P(2,2,MA X), SM(10)", 11),
    # commas
    (", C(16,3,1), SM(10)", 0),
    ("C(16,3,1),, SM(10)", 10),
    ("C(16,3,1), SM(10),", 18),
    ("C(16,3,1), SM(10), ", 19),
    ("C(16,3,1) SM(10)", 9),
    ("C(16,3,1); SM(10)", 9),
    ("C(16,3,1), SM(10) trailing", 17),
    ("C(16,3,1), SM(10)\x00", 17),
    # control characters
    ("\x00C(16,3,1), SM(10)", 0),
    ("C(16,3,1),\x1b[31m SM(10)", 10),
    ("C\n(16,3,1), SM(10)", 0),
    ("C(16\x00,3,1), SM(10)", 0),
    ("\u202eC(16,3,1), SM(10)", 0),
    ("\x1cC(16,3,1), SM(10)", 0),
    ("C(16,3,1)\x0b, SM(10)", 9),
    ("C(16,\x1f3,1), SM(10)", 0),
    ("C(16,3,1), SM(10)\x85", 17),
    ("C(16,3,1),\u2028SM(10)", 10),
    # what is meant for other programs
    ("<script>alert(1)</script>", 0),
    ("C(16,3,1), <script>", 11),
    ("'; DROP TABLE network; --", 0),
    ("$(touch x)", 0),
    ("/etc/passwd", 0),
    ("C(16,3,1), /etc/passwd", 11),
    ("__import__('os')", 0),
    ("\ud800", 0),
    ("x" * 300, 0),
    ("C(16,3,1), " + "x" * 300, 11),
    # order
    ("FC(8), C(16,3,1), SM(10)", 0),
    ("P(2,2,MAX), C(16,3,1), SM(10)", 0),
    ("SM(10)", 0),
    ("C(16,3,1), FC(8), C(16,3,1), SM(10)", 18),
    ("C(16,3,1), FC(8), P(2,2,MAX), SM(10)", 18),
    ("C(16,3,1), P(2,2,MAX), P(2,2,MAX), SM(10)", 23),
    ("C(16,3,1), SM(10), SM(10)", 19),
    ("C(16,3,1), SM(10), FC(8)", 19),
    ("C(16,3,1), SM(10), C(16,3,1), SM(10)", 19),
    ("C(16,3,1)", 9),
    ("C(16,3,1), FC(8)", 16),
    # a million characters
    ("A" * MILLION, 0),
    ("(" * MILLION, 0),
    (")" * MILLION, 0),
    ("C(" * (MILLION // 2), 0),
    ("," * MILLION, 0),
    (" " * MILLION, MILLION),
    ("C(" + "9" * MILLION + ",3,1), SM(10)", 0),
    ("C(16,3,1)" + " " * MILLION + "x", 9),
]


@pytest.mark.parametrize(("text", "position"), MALFORMED, ids=[repr(text[:40]) for text, _ in MALFORMED])
def test_a_malformed_string_is_refused_with_its_position(text, position):
    with pytest.raises(InvalidArchitecture, match=rf"^At position {position} of the layer string: ") as refusal:
        PlainCNN.parse(text)
    assert_is_one_short_line(str(refusal.value))


@pytest.mark.parametrize("text", ["C(16,3,1), " * (MILLION // 11), "C(16,3,1),P(1,1,MAX)," * (MILLION // 21)])
def test_a_string_of_very_many_layers_is_refused_early(text):
    with pytest.raises(InvalidArchitecture, match=f"at most {MAX_LAYERS} layers") as refusal:
        PlainCNN.parse(text)
    assert_is_one_short_line(str(refusal.value))


@settings(deadline=None, max_examples=80)
@given(st.one_of(st.text(), st.text(alphabet="CPFSM(),0123456789 -.MAXVG\n\x00\u0661\u0421")))
@example("C(16,3,1), SM(10), SM(10)")
@example("C(\u0661,3,1), SM(10)")
def test_any_text_is_either_refused_or_read_completely(text):
    assert_is_refused_or_read_completely(text)


@settings(deadline=None, max_examples=80)
@given(plain_networks(SPACES["toy"]).map(str), st.data())
def test_a_string_with_one_edit_is_either_refused_or_read_completely(text, data):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 8)))
    insertions = st.sampled_from(["SM(10)", ", SM(3)", "FC(8), ", "0", ")", ","])
    inserted = data.draw(st.one_of(st.text(max_size=3), insertions))
    assert_is_refused_or_read_completely(text[:start] + inserted + text[end:])


def assert_is_refused_or_read_completely(text):
    try:
        network = PlainCNN.parse(text)
    except InvalidArchitecture as refusal:
        assert_is_one_short_line(str(refusal))
    else:
        without_leading_zeros = re.sub(r"(?<![0-9])0+(?=[0-9])", "", "".join(text.split()))
        assert str(network).replace(" ", "") == without_leading_zeros


def assert_is_one_short_line(message):
    assert message.isprintable()
    assert len(message) < 400
