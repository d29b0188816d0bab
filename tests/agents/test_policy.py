from itertools import product

import controller_reference as reference
import numpy as np
import pytest

from eas_tf.agents.policy import Policy, Samples
from eas_tf.agents.spaces import Sizes

N = 2000


@pytest.fixture(scope="module")
def sizes():
    return Sizes(max_layers=6, radix=(3, 4), kinds={"deepen": (3, 4, 2), "widen": ()})


@pytest.fixture(scope="module")
def policy(sizes):
    """A policy with larger weights than a fresh one, so that its distributions are far from uniform."""
    policy = Policy(sizes, rng=np.random.default_rng(0))
    for variable in policy.trainable_variables:
        variable.assign(variable * 3.0)
    return policy


TOKENS = np.array([[4, 9, 5, 11, 0, 0]], np.int32)


def score(policy, tokens, places=None, triples=None, layers=None, choices=None):
    """Log-probabilities and entropies of either kind of decision."""
    width = tokens.shape[1]
    deepen, widen = _nothing(width)
    if places is None:
        widen = Samples(tokens, np.asarray(layers, bool), np.asarray(choices, np.int8))
    else:
        deepen = Samples(tokens, np.asarray(places, bool), np.asarray(triples, np.int64))
    return [np.array(part) for part in policy.score((deepen, widen))]


def _nothing(width):
    tokens = np.zeros((0, width), np.int32)
    places = np.zeros((0, 3, 4, 2), bool)
    return Samples(tokens, places, np.zeros((0, 3), np.int64)), Samples(
        tokens, tokens.astype(bool), tokens.astype(np.int8)
    )


def test_the_paper_controller_has_about_76_000_parameters():
    """Known answer, from the sizes in the paper and its code, for a vocabulary of V tokens.

    Embedding 16 V; encoder 2 * 4 * 50 * (16 + 50 + 1) = 26,800; Net2Wider 100 + 1; Net2Deeper's LSTM
    4 * 100 * (16 + 100 + 1) = 46,800, its classifiers (5 + 10 + 3) * 101 = 1,818, its inputs (1 + 5 + 10) * 16 = 256.
    Together 75,775 + 16 V: 75,999 with 14 tokens, 80,383 with the 6 * 12 * 4 = 288 that three fields could form.
    """
    for radix, expected in (((14,), 75_999), ((6, 12, 4), 80_383)):
        policy = Policy(
            Sizes(max_layers=50, radix=radix, kinds={"deepen": (5, 10, 3), "widen": ()}), rng=np.random.default_rng(0)
        )
        assert policy.count_params() == sum(np.prod(v.shape) for v in policy.trainable_variables) == expected
        assert 75_000 < expected < 81_000


def test_probabilities_of_all_legal_triples_are_those_of_the_reference_and_sum_to_1(policy, case):
    weights, _ = reference.weights_of(policy)
    for legal in (np.ones((3, 4, 2), bool), *case.some_legal(np.random.default_rng(1), 6)):
        triples = reference.triples(legal)
        n = len(triples)
        log_p, entropy = score(policy, np.repeat(TOKENS, n, 0), np.repeat(legal[None], n, 0), triples)
        expected = [reference.deepening(weights, TOKENS[0], legal, triple) for triple in triples]
        np.testing.assert_allclose(log_p, [p for p, _ in expected], atol=2e-5)
        np.testing.assert_allclose(entropy, [e for _, e in expected], atol=2e-5)
        assert np.exp(log_p).sum() == pytest.approx(1.0, abs=1e-5)


def test_probabilities_of_all_choices_of_layers_are_those_of_the_reference_and_sum_to_1(policy):
    weights, _ = reference.weights_of(policy)
    for legal in ([1, 1, 1, 1, 0, 0], [0, 1, 0, 1, 0, 0], [0] * 6):
        choices = np.array(list(product(*[(0, 1) if allowed else (0,) for allowed in legal])))
        n = len(choices)
        log_p, entropy = score(policy, np.repeat(TOKENS, n, 0), layers=np.repeat([legal], n, 0), choices=choices)
        expected = [reference.widening(weights, TOKENS[0], legal, choice) for choice in choices]
        np.testing.assert_allclose(log_p, [p for p, _ in expected], atol=2e-5)
        np.testing.assert_allclose(entropy, [e for _, e in expected], atol=2e-5)
        assert np.exp(log_p).sum() == pytest.approx(1.0, abs=1e-5)


def test_a_forced_decision_has_probability_1_and_no_entropy(policy):
    """So it is in the fully connected block, where no kernel is chosen: the mask leaves kernel 0 alone."""
    legal = np.zeros((1, 3, 4, 2), bool)
    legal[0, 1, 2, 0] = True
    log_p, entropy = score(policy, TOKENS, legal, [[1, 2, 0]])
    assert log_p == entropy == 0.0


def test_decisions_of_both_kinds_are_scored_in_one_call_in_their_order(policy):
    other = np.array([[6, 6, 0, 0, 0, 0]], np.int32)
    legal, layers = np.ones((1, 3, 4, 2), bool), other != 0
    triple, choice = [[2, 1, 1]], [[1, 0, 0, 0, 0, 0]]
    both = policy.score([Samples(TOKENS, legal, np.array(triple)), Samples(other, layers, np.array(choice, np.int8))])
    deep, wide = score(policy, TOKENS, legal, triple), score(policy, other, layers=layers, choices=choice)
    np.testing.assert_allclose(both, np.concatenate([deep, wide], axis=1), atol=1e-6)


def test_more_padding_changes_no_probability(policy):
    legal, longer = np.ones((1, 3, 4, 2), bool), np.pad(TOKENS, ((0, 0), (0, 30)))
    np.testing.assert_allclose(
        score(policy, longer, legal, [[2, 1, 1]]), score(policy, TOKENS, legal, [[2, 1, 1]]), atol=1e-6
    )
    layers, choice = np.array([[1, 1, 0, 1, 0, 0]]), np.array([[0, 1, 0, 1, 0, 0]])
    wider = [np.pad(part, ((0, 0), (0, 30))) for part in (layers, choice)]
    np.testing.assert_allclose(
        score(policy, longer, layers=wider[0], choices=wider[1]),
        score(policy, TOKENS, layers=layers, choices=choice),
        atol=1e-6,
    )


def test_triples_are_drawn_as_often_as_their_probability_says(policy):
    legal = np.zeros((3, 4, 2), bool)
    legal[0, 0, 0] = legal[1, 1] = legal[2, :2, 1] = True
    triples, noise = reference.triples(legal), np.random.default_rng(2).random((N, 9), dtype=np.float32)
    drawn = policy.sample("deepen", np.repeat(TOKENS, N, 0), np.repeat(legal[None], N, 0), noise).numpy()
    shares = [(drawn == triple).all(axis=1).mean() for triple in triples]
    log_p, _ = score(policy, np.repeat(TOKENS, len(triples), 0), np.repeat(legal[None], len(triples), 0), triples)
    assert sum(shares) == pytest.approx(1.0)
    np.testing.assert_allclose(shares, np.exp(log_p), atol=5 * 0.5 / N**0.5)


def test_layers_are_widened_as_often_as_their_probability_says(policy):
    layers = np.array([[1, 1, 0, 1, 0, 0]], bool)
    noise = np.random.default_rng(3).random((N, 6), dtype=np.float32)
    drawn = policy.sample("widen", np.repeat(TOKENS, N, 0), np.repeat(layers, N, 0), noise).numpy()
    chances = [
        np.exp(score(policy, TOKENS, layers=np.eye(6)[None, i], choices=np.eye(6)[None, i])[0][0]) for i in range(4)
    ]
    np.testing.assert_allclose(drawn.mean(axis=0), [*chances[:2], 0, chances[3], 0, 0], atol=5 * 0.5 / N**0.5)


@pytest.mark.parametrize("noise", [0.0, 1.0 - 2.0**-24, None])
def test_what_is_masked_is_never_drawn_whatever_the_noise(policy, case, noise):
    rng = np.random.default_rng(4)
    tokens = np.repeat(TOKENS, N, 0)
    draws = [rng.random((N, k), dtype=np.float32) if noise is None else np.full((N, k), noise, "f") for k in (9, 6)]
    places, layers = case.some_legal(rng, N), rng.random((N, 6)) < 0.2
    assert places[np.arange(N), *policy.sample("deepen", tokens, places, draws[0]).numpy().T].all()
    assert not (policy.sample("widen", tokens, layers, draws[1]).numpy() & ~layers).any()
