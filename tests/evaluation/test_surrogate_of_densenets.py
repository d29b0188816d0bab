"""The closed form for DenseNets: a known best network, non-trivial in depth and growth rates."""

from math import exp

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import DENSENET_SPACES, INPUT_SHAPES, densenets, legal_deepenings, legal_widenings

from eas_tf.architecture import DenseLayer, DenseNet
from eas_tf.evaluation import SurrogateEvaluator
from eas_tf.evaluation.surrogate import BEST, WORST

every_space = pytest.mark.parametrize("space", DENSENET_SPACES.values(), ids=DENSENET_SPACES)


def start(space):
    return space.start_network((8, 8, 1) if "digits" in space.name else (32, 32, 3), 10)


@every_space
def test_the_optimum_reaches_the_best_and_lies_in_the_space(space):
    surrogate = SurrogateEvaluator(space)
    optimum = surrogate.optimum(start(space))
    space.check(optimum)
    assert surrogate.accuracy(optimum) == BEST
    assert surrogate.optimum(optimum) == optimum


def test_the_optimum_of_the_paper_s_space_by_hand():
    """Blocks of 15: of 15 * 3/6, 4/6 and 5/6, rounded up, 8, 10 and 13. Rungs 6 * 3/5, 4/5 and 5/5 of 6: 3, 4 and 6."""
    space = DENSENET_SPACES["densenet"]
    expected = "DenseNet-BC: C(80,3,1), 8xD(52), T(160), 10xD(56), T(200), 13xD(64), SM(10)"
    assert str(SurrogateEvaluator(space).optimum(start(space))) == expected


def test_the_accuracy_of_the_paper_s_start_by_hand():
    """Depths 6, 6, 6 against 8, 10, 13; rungs 0, 0, 0 against 3, 4, 6 of 7, a third of the layers each."""
    depth, width = (2 / 8) ** 2 + (4 / 10) ** 2 + (7 / 13) ** 2, (9 + 16 + 36) / 3 / 49
    space = DENSENET_SPACES["densenet"]
    assert SurrogateEvaluator(space).accuracy(start(space)) == pytest.approx(0.10 + 0.85 * exp(-2 * depth - 3 * width))


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([*DENSENET_SPACES.values()]), st.data())
def test_no_network_beats_the_optimum(space, data):
    """What does not count is the stem and the transitions."""
    network = data.draw(
        densenets(space.growth_rates, data.draw(st.sampled_from(INPUT_SHAPES)), blocks=space.max_blocks)
    )
    surrogate = SurrogateEvaluator(space)
    assert WORST <= surrogate.accuracy(network) <= BEST
    assert surrogate.accuracy(surrogate.optimum(network)) == BEST
    assert (surrogate.accuracy(network) == BEST) == (network == surrogate.optimum(network))


@every_space
def test_climbing_the_hill_of_legal_moves_ends_at_the_optimum(space):
    """There is no local optimum on the way, and every network one move beyond it is worse.

    Re-derived stems and transitions are wider than the optimum's: they do not count.
    """
    surrogate = SurrogateEvaluator(space)
    network, moves = start(space), 0
    while surrogate.accuracy(network) < BEST and moves < 300:
        best = max(neighbours(space, network), key=surrogate.accuracy)
        assert surrogate.accuracy(best) > surrogate.accuracy(network)
        network, moves = best, moves + 1
    assert growths(network) == growths(surrogate.optimum(start(space)))
    assert all(surrogate.accuracy(other) < BEST for other in neighbours(space, network))


def neighbours(space, network):
    chosen = [step.layer for step in legal_widenings(network, space)]
    yield from (space.climbed(network, [i]) for i in chosen if isinstance(network.layers[i], DenseLayer))
    yield from (move.apply(network) for move in legal_deepenings(network, space))


def growths(network):
    return [layer.growth if isinstance(layer, DenseLayer) else None for layer in network.layers]


def test_one_block_has_an_optimum_too():
    space = DENSENET_SPACES["densenet-digits"]
    network = DenseNet.parse("DenseNet: C(8,3,1), D(4), SM(10)", (8, 8, 1))
    assert str(space.optimum(network)) == "DenseNet: C(8,3,1), 3xD(16), SM(10)"
