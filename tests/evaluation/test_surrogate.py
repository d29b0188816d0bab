"""The closed form: a known best network, non-trivial in depth, width and kernel."""

from dataclasses import replace
from math import exp

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import INPUT_SHAPES, PLAIN_SPACES, legal_deepenings, legal_widenings, plain_networks

from eas_tf.architecture import SPACES, Conv, Dense, PlainCNN, Pool
from eas_tf.architecture.plain.optimum import DEPTHS
from eas_tf.errors import InvalidArchitecture
from eas_tf.evaluation import Request, SurrogateEvaluator
from eas_tf.evaluation.surrogate import BEST, WORST

PAPER = SPACES["paper"]
TABLE_1 = PlainCNN.parse(PAPER.start)
every_space = pytest.mark.parametrize("space", PLAIN_SPACES.values(), ids=PLAIN_SPACES)


def start(space):
    return space.start_network((8, 8, 1) if space.name == "digits" else (32, 32, 3), 10)


def neighbours(space, network):
    """Every network one move away with the same pools: a layer added, removed, on another rung, with another kernel."""
    yield from (move.apply(network) for move in legal_deepenings(network, space))
    for index, layer in enumerate(network.layers):
        variants = []
        if isinstance(layer, Conv | Dense):
            rungs = space.units if isinstance(layer, Dense) else space.filters
            variants += [(), *((layer.with_width(width),) for width in rungs)]
        if isinstance(layer, Conv):
            variants += [(Conv(layer.filters, kernel),) for kernel in space.kernels]
        for variant in variants:
            child = (*network.layers[:index], *variant, *network.layers[index + 1 :])
            try:
                candidate = PlainCNN(child, network.input_shape)
                space.check(candidate)
            except InvalidArchitecture:
                continue
            if candidate != network:
                yield candidate


@every_space
def test_the_optimum_reaches_the_best_exactly_and_lies_in_the_space(space):
    surrogate = SurrogateEvaluator(space)
    optimum = surrogate.optimum(start(space))
    space.check(optimum)
    assert surrogate.accuracy(optimum) == BEST
    assert [len(block) for block in optimum.blocks[:-1]] == [2, 3, 2, 3][: len(optimum.blocks) - 1]
    assert len(optimum.blocks[-1]) == 1


def test_the_optimum_of_the_paper_space_by_hand():
    """Four blocks of 2, 3, 2 and 3 convolutions, with kernels 3, 5, 1 and 3.

    Block b of 4 stands on rung number 10 * (4 + b) // 7 of 11, counted from 0: 5, 7, 8 and 10, which are 192, 320, 384
    and 512 filters.
    """
    expected = (
        "C(192,3,1), C(192,3,1), P(2,2,MAX), C(320,5,1), C(320,5,1), C(320,5,1), P(2,2,MAX), C(384,1,1), C(384,1,1), "
        "P(2,2,MAX), C(512,3,1), C(512,3,1), C(512,3,1), P(4,4,AVG), FC(1024), SM(10)"
    )
    assert str(SurrogateEvaluator(PAPER).optimum(TABLE_1)) == expected


def test_the_accuracy_of_table_1_by_hand():
    """Depths 1, 1, 1, 1 against 2, 3, 2, 3 and one fully connected layer against one: 1 + 4 + 1 + 4 = 10.

    Rungs reached 1, 2, 3 and 5 against 6, 8, 9 and 11 of 11, and 3 against 9 of 9: squares of differences 25, 36, 36
    and 36 over 121, and 36 over 81, on average (133 / 121 + 36 / 81) / 5. Kernels 3 against 3, 5, 1, 3: half are other.
    """
    distance = 10 / 6 + 3 * (133 / 121 + 36 / 81) / 5 + 1 / 2
    assert SurrogateEvaluator(PAPER).accuracy(TABLE_1) == pytest.approx(0.10 + 0.85 * exp(-distance))


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(sorted(PLAIN_SPACES)), st.data())
def test_no_network_beats_the_optimum(name, data):
    space = SPACES[name]
    network = data.draw(plain_networks(space, data.draw(st.sampled_from(INPUT_SHAPES))))
    surrogate = SurrogateEvaluator(space)
    assert WORST <= surrogate.accuracy(network) <= BEST
    assert surrogate.accuracy(surrogate.optimum(network)) == BEST
    if surrogate.accuracy(network) == BEST:
        assert rungs(space, network) == rungs(space, surrogate.optimum(network))


def rungs(space, network):
    return [(type(layer), space.rung(layer), getattr(layer, "kernel", None)) for layer in network.layers]


@every_space
def test_climbing_the_hill_ends_at_the_optimum_and_every_neighbour_of_it_is_worse(space):
    """Moves that the environment has not, such as removals, included: there is no local optimum to be caught in."""
    surrogate = SurrogateEvaluator(space)
    network, moves = start(space), 0
    while surrogate.accuracy(network) < BEST:
        best = max(neighbours(space, network), key=surrogate.accuracy)
        assert surrogate.accuracy(best) > surrogate.accuracy(network)
        network, moves = best, moves + 1
        assert moves < 60
    assert network == surrogate.optimum(start(space))
    assert all(surrogate.accuracy(other) < BEST for other in neighbours(space, network))


@every_space
def test_depth_width_and_kernel_count_each_alone(space):
    """Two networks that differ in one of them have different accuracies; what does not count is the pools."""
    surrogate = SurrogateEvaluator(space)
    optimum = surrogate.optimum(start(space))
    first = optimum.layers[0]
    rest, shape = optimum.layers[1:], optimum.input_shape
    other_kernel = next(kernel for kernel in space.kernels if kernel != first.kernel)
    changed = {
        "depth": (first, *optimum.layers),
        "width": (first.with_width(space.filters[0]), *rest),
        "kernel": (Conv(first.filters, other_kernel), *rest),
        "connected depth": (*optimum.layers[:-1], *optimum.layers[-2:]),
        "connected width": (*optimum.layers[:-2], Dense(space.units[0]), optimum.layers[-1]),
        "no connected layer": (*optimum.layers[:-2], optimum.layers[-1]),
    }
    for what, layers in changed.items():
        assert surrogate.accuracy(PlainCNN(layers, shape)) < BEST - 1e-3, what
    flat = tuple(replace(layer, kind="MAX") if isinstance(layer, Pool) else layer for layer in optimum.layers)
    assert surrogate.accuracy(PlainCNN(flat, shape)) == BEST


def test_there_is_something_to_learn_in_one_episode_from_table_1():
    """Insertions and widenings lead both up and down from the start."""
    surrogate = SurrogateEvaluator(PAPER)
    before = surrogate.accuracy(TABLE_1)
    deeper = [surrogate.accuracy(move.apply(TABLE_1)) for move in legal_deepenings(TABLE_1, PAPER)]
    wider = [surrogate.accuracy(move.apply(TABLE_1)) for move in legal_widenings(TABLE_1, PAPER)]
    assert min(deeper) < before < max(deeper)
    assert min(wider) > before
    assert len({round(accuracy, 12) for accuracy in deeper}) >= 5


@settings(deadline=None, max_examples=30)
@given(st.lists(plain_networks(), max_size=4), st.integers(0, 2**31 - 1))
def test_results_are_deterministic_and_in_the_order_asked(networks, seed):
    """Whatever the seed of the request."""
    surrogate = SurrogateEvaluator(PAPER)
    requests = [Request(parent="", transformations=(), architecture=n, seed=seed) for n in networks]
    results = list(surrogate.evaluate(requests))
    assert results == list(SurrogateEvaluator(PAPER).evaluate([replace(r, seed=0) for r in requests]))
    assert [result.accuracy for result in results] == [surrogate.accuracy(network) for network in networks]
    assert all((result.loss, result.seconds, result.failure) == (None, 0.0, None) for result in results)


def test_it_says_what_the_environment_asks_of_an_evaluator():
    surrogate = SurrogateEvaluator(PAPER)
    assert surrogate.validation_images == 5_000
    assert DEPTHS == (2, 3)
