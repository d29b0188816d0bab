"""Chains of transformations carried out on trained plain networks, against `lower(child)`."""

from functools import cache
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import TINY, descendant, plain_networks, random_chain, transformation_chains, widen_together
from trained_graphs import (
    calibrated,
    check_same,
    difference,
    images,
    logits,
    random_parent,
    randomised,
    with_any_moments,
)

from eas_tf.architecture import SPACES, Net2Deeper, Net2Wider, PlainCNN
from eas_tf.errors import IllegalTransformation
from eas_tf.surgery import LayerGraph, initialise, lower, measure_moments, transform

#: On 32x32x3 images. Apart from Table 1's network they flatten maps larger than 1x1.
PARENTS = {
    "table_1": SPACES["paper"].start,
    "flattens_4x4": "C(16,3,1), P(2,2,MAX), C(32,3,1), P(2,2,MAX), C(64,3,1), P(2,2,MAX), FC(64), SM(10)",
    "flattens_2x2_without_fc": "C(20,5,1), C(16,1,1), P(3,3,AVG), C(24,3,1), P(5,4,MAX), SM(7)",
    "overlapping_pools": "C(16,3,1), P(4,4,MAX), C(32,3,1), P(3,2,AVG), C(16,3,1), P(2,1,MAX), FC(100), FC(64), SM(2)",
    "ends_in_a_convolution": "C(16,3,2), P(2,2,MAX), C(12,3,1), SM(10)",
}


BATCH = images(np.random.default_rng(7))


def trained(architecture, batch, seed=0):
    return measure_moments(randomised(lower(architecture), np.random.default_rng(seed)), batch)


@cache
def trained_parent(name):
    """Architecture, graph, and its logits on `BATCH`."""
    architecture = PlainCNN.parse(PARENTS[name])
    graph = trained(architecture, BATCH)
    return architecture, graph, logits(graph, BATCH)


@pytest.fixture(scope="module", params=PARENTS)
def parent(request):
    return trained_parent(request.param)


def check(parent, chain, seed=0, batch=BATCH):
    """The child's graph, after checking structure and function."""
    architecture, graph, before = parent
    grown = transform(graph, architecture, chain, rng=np.random.default_rng(seed))
    check_same(grown, lower(descendant(architecture, chain)))
    assert difference(before, logits(grown, batch)) <= 1e-5
    return grown


@pytest.mark.parametrize("seed", range(5))
def test_nine_random_masked_transformations_keep_the_function(parent, seed):
    rng = np.random.default_rng(seed)
    chain = random_chain(parent[0], SPACES["paper"], rng, 9)
    assert len(chain) >= 9
    check(parent, chain, seed)


@pytest.mark.parametrize(("space", "shape"), [("digits", (8, 8, 1)), ("toy", (32, 32, 3))])
def test_the_small_spaces(space, shape):
    rng = np.random.default_rng(0)
    architecture, batch = SPACES[space].start_network(shape, 10), images(rng, 4, shape)
    graph = trained(architecture, batch)
    chain = random_chain(architecture, SPACES[space], rng, 9)
    check((architecture, graph, logits(graph, batch)), chain, batch=batch)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("chains", [25, pytest.param(2000, marks=pytest.mark.slow)])
def test_the_graph_never_disagrees_with_the_string(chains):
    """Any network and chain of the tiny space: structure, names and parts."""

    @settings(max_examples=chains, deadline=None)
    @given(st.data())
    def check_chain(data):
        shape = data.draw(st.sampled_from([(16, 16, 3), (9, 13, 2)]))
        architecture = data.draw(plain_networks(TINY, shape))
        chain = data.draw(transformation_chains(architecture, TINY, 4))
        graph = with_any_moments(lower(architecture))
        mode = data.draw(st.sampled_from(["shares", "noise"]))
        grown = transform(graph, architecture, chain, rng=np.random.default_rng(0), symmetry_breaking=mode)
        check_same(grown, lower(descendant(architecture, chain)))

    check_chain()


FLAT, CONV_LAST = "flattens_4x4", "ends_in_a_convolution"
CHAINS = {
    "fc right after flattening 4x4x64": (FLAT, [Net2Deeper(3, 0, None)]),
    "that one widened": (FLAT, [Net2Deeper(3, 0, None), Net2Wider(6, 1100), Net2Deeper(3, 1, None)]),
    "the flattened map widened before": (FLAT, [Net2Wider(4, 70), Net2Deeper(3, 0, None)]),
    "the flattened map widened after": (FLAT, [Net2Deeper(3, 0, None), Net2Wider(4, 70)]),
    "the flattened map widened twice": (FLAT, [Net2Wider(4, 70), Net2Deeper(3, 0, None), Net2Wider(4, 75)]),
    "a convolution right before flattening": (CONV_LAST, [Net2Deeper(1, 1, 3), Net2Wider(3, 15), Net2Wider(2, 17)]),
    "fc after a convolution": (CONV_LAST, [Net2Deeper(2, 0, None), Net2Deeper(1, 1, 5), Net2Wider(3, 13)]),
    "at a block's start": ("table_1", [Net2Deeper(1, 0, 3), Net2Wider(2, 20), Net2Wider(0, 18)]),
    "inserted, widened, deepened again": (
        "table_1",
        [Net2Deeper(0, 1, 5), Net2Wider(1, 24), Net2Deeper(0, 2, 3), Net2Wider(2, 32), Net2Wider(1, 40)],
    ),
    "widen then deepen": (
        "table_1",
        [Net2Wider(0, 32), Net2Wider(8, 300), Net2Deeper(0, 1, 3), Net2Deeper(4, 1, None)],
    ),
    "deepen then widen": (
        "table_1",
        [Net2Deeper(0, 1, 3), Net2Deeper(4, 1, None), Net2Wider(0, 32), Net2Wider(9, 300)],
    ),
    "one channel more": ("table_1", [Net2Wider(0, 17)]),
    "nothing": ("table_1", []),
}


@pytest.mark.parametrize("case", CHAINS)
def test_chosen_chains(case):
    name, chain = CHAINS[case]
    grown = check(trained_parent(name), chain)
    if name == FLAT:
        check_moments(grown)


def check_moments(grown):
    """Those that the child inherited are those that would be measured on it, layer by layer."""
    measured = measure_moments(grown, BATCH)
    for node in grown.nodes[1:]:
        scale = np.sqrt(measured[node.name].moments.variance.max()) + np.abs(measured[node.name].moments.mean).max()
        ours, theirs = node.moments, measured[node.name].moments
        np.testing.assert_allclose(ours.mean, theirs.mean, rtol=0, atol=1e-5 * scale)
        np.testing.assert_allclose(ours.variance, theirs.variance, rtol=0, atol=1e-5 * scale**2)


def test_moments_stay_true_over_random_chains(parent):
    architecture, graph, _ = parent
    chain = random_chain(architecture, SPACES["paper"], np.random.default_rng(11), 5)
    check_moments(transform(graph, architecture, chain, rng=np.random.default_rng(0)))


@pytest.mark.parametrize("symmetry_breaking", ["shares", "noise"])
def test_the_parent_is_not_changed(parent, symmetry_breaking):
    """Its arrays cannot be written to (`randomised`), and its digest is computed anew."""
    architecture, graph, _ = parent
    digest = LayerGraph(graph.nodes, graph.outputs).digest
    moments = [node.moments.mean.copy() for node in graph.nodes[1:]]
    chain = random_chain(architecture, SPACES["paper"], np.random.default_rng(3), 9)
    transform(graph, architecture, chain, rng=np.random.default_rng(0), symmetry_breaking=symmetry_breaking)
    assert LayerGraph(graph.nodes, graph.outputs).digest == digest
    for node, mean in zip(graph.nodes[1:], moments, strict=True):
        np.testing.assert_array_equal(node.moments.mean, mean)


@pytest.mark.parametrize("symmetry_breaking", ["shares", "noise"])
def test_a_child_is_its_parent_its_transformations_and_its_seed(parent, symmetry_breaking):
    architecture, graph, _ = parent
    chain = random_chain(architecture, SPACES["paper"], np.random.default_rng(4), 9)
    first, second, other = (
        transform(
            graph, architecture, chain, rng=np.random.default_rng(seed), symmetry_breaking=symmetry_breaking
        ).digest
        for seed in (1, 1, 2)
    )
    assert first == second != other


def test_noise_mode_changes_the_function_a_little(parent):
    architecture, graph, before = parent
    chain = random_chain(architecture, SPACES["paper"], np.random.default_rng(5), 9)
    grown = transform(graph, architecture, chain, rng=np.random.default_rng(0), symmetry_breaking="noise")
    check_same(grown, lower(descendant(architecture, chain)))
    assert 1e-4 < difference(before, logits(grown, BATCH)) < 0.3


@pytest.mark.parametrize(
    "chain",
    [
        widen_together(SPACES["paper"], SPACES["paper"].start_network((32, 32, 3), 10), [0, 2, 4, 6, 8]),
        [Net2Deeper(0, 1, 3), Net2Deeper(1, 1, 3), Net2Deeper(2, 1, 5), Net2Deeper(3, 1, 1), Net2Deeper(4, 1, None)],
        [Net2Wider(0, 32), Net2Deeper(0, 1, 3), Net2Wider(1, 48), Net2Deeper(1, 0, 3), Net2Wider(10, 320)],
    ],
    ids=["widen", "deepen", "both"],
)
def test_training_mode_on_the_images_of_the_moments(chain):
    """Where the parent's moving statistics are those of the batch, nothing is left to differ."""
    rng = np.random.default_rng(0)
    architecture, many = PlainCNN.parse(PARENTS["table_1"]), images(rng, 32)
    graph = measure_moments(calibrated(randomised(lower(architecture), rng), many, rng), many)
    grown = transform(graph, architecture, chain, rng=rng)
    assert difference(logits(graph, many, training=True), logits(grown, many, training=True)) <= 1e-4


@pytest.mark.parametrize(
    ("chain", "named"),
    [
        ([Net2Wider(1, 32)], "can be widened. Received: wider"),
        ([Net2Wider(0, 16)], "more than the 16 that it has"),
        ([Net2Deeper(0, 1, 3), Net2Deeper(0, 0, 3)], "before the first convolution"),
        ([Net2Wider(0, 32), Net2Wider(0, 24)], "more than the 32 that it has"),
        ([Net2Deeper(4, 0, 3)], "no kernel in the fully connected block"),
    ],
)
def test_illegal_transformations_are_refused(chain, named):
    architecture = PlainCNN.parse(PARENTS["table_1"])
    with pytest.raises(IllegalTransformation, match=named):
        transform(with_any_moments(lower(architecture)), architecture, chain, rng=np.random.default_rng(0))


def test_deepening_without_moments_is_refused():
    architecture = PlainCNN.parse(PARENTS["table_1"])
    with pytest.raises(IllegalTransformation, match="measure them first"):
        transform(lower(architecture), architecture, [Net2Deeper(1, 1, 3)], rng=np.random.default_rng(0))


def plain(text):
    """`C192,3 P2 FC192 SM10`, the notation of `reference/eas.md`, as a network."""
    rewritten = {"C": "C({},1)", "P": "P({0},{0},MAX)", "F": "FC({})", "S": "SM({})"}
    layers = [rewritten[token[0]].format(token.lstrip("CPFSM")) for token in text.split()]
    return PlainCNN.parse(", ".join(layers))


EARLY_13 = "C192,3 C128,5 C96,5 C96,3 P2 C192,3 C256,5 C128,5 P2 C192,5 C128,3 C96,5 P2 C192,3 FC192 SM10"
EARLY_18 = (
    "C192,3 C128,5 C256,3 C128,5 C128,3 P2 C256,3 C384,5 C256,3 C256,5 P2 C384,5 C384,3 C256,3 C256,5 P2 "
    "C384,3 C256,3 FC1024 FC256 SM10"
)


@pytest.mark.parametrize(
    ("architecture", "count", "digits"),
    [
        (SPACES["paper"].start_network((32, 32, 3), 10), 133_530, 0),
        (SPACES["toy"].start_network((32, 32, 3), 10), 710, 0),
        (plain(EARLY_13), 5_127_818, 0),
        (plain(EARLY_18), 19_700_000, 4),
    ],
)
def test_keras_counts_the_parameters_of_the_known_networks_as_we_do(architecture, count, digits):
    """Table 1's network, the toy start, 5.13 M and 19.70 M of the two early networks (to the printed digits)."""
    assert round(architecture.parameter_count, -digits) == count
    model = lower(architecture).to_keras()
    assert sum(prod(variable.shape) for variable in model.trainable_variables) == architecture.parameter_count


@pytest.mark.parametrize("seed", range(3))
def test_keras_counts_the_parameters_of_random_networks_as_we_do(seed):
    architecture = random_parent(np.random.default_rng(seed))
    graph = lower(architecture)
    model = graph.to_keras()
    assert sum(prod(variable.shape) for variable in model.trainable_variables) == architecture.parameter_count
    for node in graph.nodes:
        assert model.get_layer(node.name).output.shape[1:] == node.shape


def test_lowered_networks_normalise_images():
    """(x - mean) / std per channel, within the network."""
    architecture = PlainCNN.parse("C(2,1,1), SM(2)", (2, 2, 3))
    graph = lower(architecture, mean=(1, 2, 3), std=(2, 4, 5)).until("normalise")
    raw = np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3)
    model = graph.to_keras()
    np.testing.assert_allclose(np.asarray(model(raw)), (raw - [1, 2, 3]) / [2, 4, 5], rtol=1e-6)


def test_initial_kernels_have_the_variance_of_he_et_al():
    """2 / inputs: 2 / (9 * 64) before the second convolution; all else is what `lower` gave."""
    architecture = PlainCNN.parse("C(64,3,1), C(128,3,1), P(32,32,AVG), FC(256), SM(10)")
    graph = initialise(lower(architecture), rng=np.random.default_rng(0))
    for name, inputs in (("conv_1", 27), ("conv_2", 576), ("dense_1", 128), ("logits", 256)):
        kernel = graph[name].weights[0]
        assert kernel.var() == pytest.approx(2 / inputs, rel=5 * np.sqrt(2 / kernel.size))
        assert kernel.dtype == np.float32
    assert not graph["logits"].weights[1].any()
    assert graph.structure() == lower(architecture).structure()
    assert graph.digest == initialise(lower(architecture), rng=np.random.default_rng(0)).digest
    assert graph.digest != initialise(lower(architecture), rng=np.random.default_rng(1)).digest
