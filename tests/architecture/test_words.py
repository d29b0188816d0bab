"""Transformations of DenseNets in words; those of plain networks are in tests/report/test_page.py."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import DENSENET_SPACES, densenets_in_spaces, transformation_chains

from eas_tf.architecture import in_words

START = DENSENET_SPACES["densenet-digits"].start


@pytest.mark.parametrize(
    ("done", "words"),
    [
        ("wider(1,6)", ["widen layer 2 from 4 to 6 new channels"]),
        ("wider(0,9) wider(3,9)", ["widen layer 1 from 8 to 9 filters", "widen layer 4 from 8 to 9 filters"]),
        ("deeper(0,0,-) wider(2,6)", ["insert a dense layer after layer 2", "widen layer 3 from 4 to 6 new channels"]),
        ("deeper(1,1,-)", ["insert a dense layer after layer 6"]),
        ("wider(1,6) deeper(0,0,3)", ["widen layer 2 from 4 to 6 new channels", "deeper(0,0,3)"]),
        ("wider(99,6)", ["wider(99,6)"]),
        ("deeper(5,0,-)", ["deeper(5,0,-)"]),
    ],
)
def test_transformations_of_a_densenet_in_words(done, words):
    assert in_words(START, done) == words


@settings(deadline=None, max_examples=30)
@given(densenets_in_spaces(), st.data())
def test_every_chain_has_words(case, data):
    architecture, space = case
    chain = data.draw(transformation_chains(architecture, space, length=4))
    words = in_words(str(architecture), " ".join(map(str, chain)))
    assert len(words) == len(chain)
    assert all(phrase.startswith(("widen layer ", "insert a dense layer")) for phrase in words)


@pytest.mark.parametrize("architecture", ["", "ResNet: C(8,3,1)", "nonsense"])
def test_what_cannot_be_read_is_left_as_it_is(architecture):
    assert in_words(architecture, "wider(1,6) x") == ["wider(1,6)", "x"]
