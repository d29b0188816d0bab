"""Networks as tokens."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import INPUT_SHAPES, networks_in_spaces, plain_networks

from eas_tf.architecture import SPACES, Conv, Dense, PlainCNN, Pool, Softmax
from eas_tf.architecture.plain.space import KINDS
from eas_tf.envs.encoding import Encoder, token_limits
from eas_tf.envs.episode import observation_space
from eas_tf.envs.transition import Process, initial, observation

PAPER = SPACES["paper"]


def test_the_tokens_of_table_1():
    """Kind, rungs reached, kernel: counted by hand.

    The filters climb 16, 32, 64, 96, 128, ...: 16 has reached one rung, 32 two, 64 three, 128 five. The units climb
    64, 128, 256: three. The kernels are 1, 3, 5, so kernel 3 is the second.
    """
    expected = np.zeros((50, 3), np.int32)
    expected[:10] = [(1, 1, 2), (2, 0, 0), (1, 2, 2), (2, 0, 0), (1, 3, 2), (2, 0, 0), (1, 5, 2), (3, 0, 0), (4, 3, 0),
                     (5, 0, 0)]  # fmt: skip
    tokens = Encoder(PAPER)(PlainCNN.parse(PAPER.start))
    np.testing.assert_array_equal(tokens, expected)
    assert tokens.dtype == np.int32
    np.testing.assert_array_equal(token_limits(PAPER), [5, 11, 3])


@pytest.mark.parametrize(
    ("string", "layer", "token"),
    [
        ("C(15,1,1), SM(10)", 0, (1, 0, 1)),
        ("C(16,5,1), SM(10)", 0, (1, 1, 3)),
        ("C(31,3,1), SM(10)", 0, (1, 1, 2)),
        ("C(32,3,1), SM(10)", 0, (1, 2, 2)),
        ("C(512,3,1), SM(10)", 0, (1, 11, 2)),
        ("C(16,3,1), P(3,2,AVG), SM(10)", 1, (3, 0, 0)),
        ("C(16,3,1), FC(63), SM(10)", 1, (4, 0, 0)),
        ("C(16,3,1), FC(320), SM(10)", 1, (4, 3, 0)),
        ("C(16,3,1), FC(1024), SM(10)", 1, (4, 9, 0)),
        ("C(16,3,1), FC(64), SM(3)", 2, (5, 0, 0)),
    ],
)
def test_known_tokens(string, layer, token):
    """A width between two rungs has reached the lower one; one below the first has reached none."""
    assert tuple(Encoder(PAPER)(PlainCNN.parse(string))[layer]) == token


@settings(deadline=None, max_examples=60)
@given(networks_in_spaces())
def test_tokens_lie_in_the_observation_space_and_are_padded_with_zeros(case):
    architecture, space = case
    process = Process(space=space, start=architecture)
    seen = observation(process, initial(process), space.decision(initial(process)))
    assert observation_space(process).contains(seen)
    layers = seen["layers"]
    assert layers.shape == (space.max_layers, 3)
    assert not layers[len(architecture.layers) :].any()
    expected = [{Conv: 1, Dense: 4, Softmax: 5}.get(type(layer)) for layer in architecture.layers]
    for token, layer, kind in zip(layers, architecture.layers, expected, strict=False):
        if isinstance(layer, Pool):
            kind = {"MAX": 2, "AVG": 3}[layer.kind]
        assert token[0] == kind
        assert token[1] == sum(rung <= width for rung in rungs(space, layer) for width in [widths(layer)])
        assert token[2] == (space.kernels.index(layer.kernel) + 1 if isinstance(layer, Conv) else 0)
    assert (layers <= token_limits(space)).all()


def rungs(space, layer):
    return {Conv: space.filters, Dense: space.units}.get(type(layer), ())


def widths(layer):
    return layer.filters if isinstance(layer, Conv) else layer.units if isinstance(layer, Dense) else 0


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from(INPUT_SHAPES).flatmap(lambda shape: plain_networks(PAPER, shape)), min_size=2))
def test_an_encoder_remembers_nothing_that_changes_the_next_network(networks):
    kept = Encoder(PAPER)
    for network in networks:
        np.testing.assert_array_equal(kept(network), Encoder(PAPER)(network))
    first, second = kept(networks[0]), kept(networks[0])
    assert not np.shares_memory(first, second)


def test_kinds_are_named():
    assert KINDS == ("padding", "convolution", "maximum pool", "average pool", "fully connected", "softmax")
