"""DenseNets lowered, grown and trained on."""

from dataclasses import replace
from functools import cache
from math import prod

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import densenets, descendant
from trained_graphs import check_same, difference, frozen, images, logits, randomised, with_any_moments

from eas_tf import data
from eas_tf.architecture import DenseNet, Net2Deeper, Net2Wider, parse_architecture
from eas_tf.errors import IllegalTransformation, InvalidConfiguration, UnsupportedLayer
from eas_tf.evaluation.child import grown, measured
from eas_tf.surgery import (
    ChannelMap,
    LayerGraph,
    initialise,
    load_network,
    lower,
    measure_moments,
    save_network,
    transform,
)
from eas_tf.surgery.graph import VALUES_AT_ONCE
from eas_tf.surgery.remapping import with_channel_map
from eas_tf.training.recipe import RATE_FROM_SCRATCH, Recipe
from eas_tf.training.trainer import Trainer

PARENTS = {
    "DenseNet-BC": "DenseNet-BC: C(8,3,1), 2xD(4), T(9), D(4), D(5), SM(10)",
    "DenseNet": "DenseNet: C(8,3,1), 2xD(4), T(9), D(4), D(5), SM(10)",
    "DenseNet-post": "DenseNet-post: C(8,3,1), 2xD(4), T(9), D(4), D(5), SM(10)",
}


@cache
def digits():
    return data.load("digits")


@cache
def trained_parent(kind):
    """Architecture, graph with moments after three epochs on the digits, images, and its logits on them."""
    architecture, sets = DenseNet.parse(PARENTS[kind], digits().input_shape), digits()
    graph = initialise(lower(architecture, sets.mean, sets.std), rng=np.random.default_rng(0))
    recipe = Recipe(epochs=3, batch=32, learning_rate=RATE_FROM_SCRATCH)
    trained = Trainer(sets).train(graph, recipe, seed=0)
    assert trained.accuracy > 0.6
    batch = sets.x_val[:64].astype(np.float32)
    parent = frozen(measured(trained.graph, sets))
    return architecture, parent, batch, logits(parent, batch)


@pytest.fixture(scope="module", params=PARENTS)
def parent(request):
    return trained_parent(request.param)


def random_chain(architecture, rng, length):
    """Of Net2Wider by 1 to 5 and Net2Deeper, of any layer and in any place."""
    chain = []
    for _ in range(length):
        if rng.random() < 0.5:
            layer = int(rng.choice([i for i, each in enumerate(architecture.layers) if each.width]))
            step = Net2Wider(layer, architecture.layers[layer].width + int(rng.integers(1, 6)))
        else:
            block = int(rng.integers(len(architecture.blocks)))
            step = Net2Deeper(block, int(rng.integers(len(architecture.blocks[block]))), None)
        architecture = step.apply(architecture)
        chain.append(step)
    return chain


def check(parent, chain, seed=0):
    """The child's graph, and its difference in function, after checking structure and names."""
    architecture, graph, batch, before = parent
    child = transform(graph, architecture, chain, rng=np.random.default_rng(seed))
    check_same(child, lower(descendant(architecture, chain), digits().mean, digits().std))
    worst = difference(before, logits(child, batch))
    assert worst <= 1e-5
    return child, worst


@pytest.mark.parametrize(
    ("depth", "growth", "millions"),
    [
        (40, 40, 1.902),
        (100, 12, 0.769),
        pytest.param(250, 24, 15.32, marks=pytest.mark.slow),
        pytest.param(190, 40, 25.62, marks=pytest.mark.slow),
    ],
)
def test_keras_counts_the_parameters_of_published_densenets_as_we_do(depth, growth, millions):
    """Table 2 of Huang et al., and the EAS paper's start network, to the printed digits."""
    architecture = DenseNet.of(depth, growth)
    model = lower(architecture).to_keras()
    assert sum(prod(variable.shape) for variable in model.trainable_variables) == architecture.parameter_count
    assert architecture.parameter_count / 1e6 == pytest.approx(millions, abs=0.0051 if millions > 10 else 0.00051)


def test_no_more_images_at_once_than_fit_into_memory():
    """All values of all layers, which Keras keeps until a call ends."""
    graph = lower(DenseNet.of(40, 40))
    values = sum(prod(layer.output.shape[1:]) for layer in graph.to_keras().layers)
    batch = graph.batch_in_memory(512)
    assert batch * values <= VALUES_AT_ONCE < (batch + 1) * values
    assert batch < 64
    assert lower(DenseNet.of(16, 12, input_shape=(4, 4, 1))).batch_in_memory(512) == 512
    assert lower(DenseNet.of(16, 12, input_shape=(2048, 2048, 3))).batch_in_memory(512) == 1
    # What fits in training fits: a call on half of what a step takes.
    assert lower(DenseNet.of(16, 12, input_shape=(2048, 2048, 3))).batch_in_memory(512, 64) == 32


@pytest.mark.parametrize("kind", PARENTS)
def test_lowered_densenets_are_what_the_string_says(kind):
    architecture = DenseNet.parse(PARENTS[kind], (9, 8, 2))
    graph = lower(architecture)
    model = graph.to_keras()
    assert sum(prod(variable.shape) for variable in model.trainable_variables) == architecture.parameter_count
    for node in graph.nodes:
        assert model.get_layer(node.name).output.shape[1:] == node.shape
    assert LayerGraph.from_keras(model).structure() == graph.structure()


def order(graph, name):
    """The layers of one dense layer."""
    return [node.layer for node in graph.nodes if node.name.startswith(name)]


def test_the_order_within_a_dense_layer():
    """Huang et al., section 3: pre-activation, in BC with a 1x1 convolution first; "post" is convolution first."""
    before, conv, join = ["BatchNormalization", "ReLU"], ["Conv2D"], ["Concatenate"]
    graphs = {kind: lower(DenseNet.parse(text, (8, 8, 1))) for kind, text in PARENTS.items()}
    parts = {role: node.name for role, node in graphs["DenseNet-BC"].parts(2).items()}
    assert (parts["bottleneck_conv"], parts["conv"]) == ("dense_1_2_bottleneck", "dense_1_2")
    assert (parts["bottleneck_norm"], parts["norm"]) == ("dense_1_2_bottleneck_bn", "dense_1_2_bn")
    assert order(graphs["DenseNet-BC"], "dense_1_2") == [*before, *conv, *before, *conv, *join]
    assert order(graphs["DenseNet"], "dense_1_2") == [*before, *conv, *join]
    assert order(graphs["DenseNet-post"], "dense_1_2") == [*conv, *before, *join]
    assert graphs["DenseNet-BC"]["dense_1_2_joined"].inputs == ("dense_1_1_joined", "dense_1_2")
    assert graphs["DenseNet-BC"]["dense_1_1_joined"].inputs == ("conv_1", "dense_1_1")


@pytest.mark.parametrize("seed", range(12))
def test_random_chains_keep_the_function(parent, seed):
    rng = np.random.default_rng(seed)
    check(parent, random_chain(parent[0], rng, int(rng.integers(1, 8))), seed)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("chains", [25, pytest.param(2000, marks=pytest.mark.slow)])
def test_the_graph_never_disagrees_with_the_string(chains):
    """Any DenseNet and chain: structure, names and parts."""

    @settings(max_examples=chains, deadline=None)
    @given(
        densenets([1, 2, 3], (5, 4, 2), blocks=2, length=2),
        st.integers(0, 2**32 - 1),
        st.sampled_from(["shares", "noise"]),
    )
    def check_chain(architecture, seed, mode):
        rng = np.random.default_rng(seed)
        chain = random_chain(architecture, rng, 4)
        grown = transform(with_any_moments(lower(architecture)), architecture, chain, rng=rng, symmetry_breaking=mode)
        check_same(grown, lower(descendant(architecture, chain)))

    check_chain()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", PARENTS)
def test_three_hundred_random_chains_keep_the_function(kind, capsys):
    chosen, worst = trained_parent(kind), 0.0
    for seed in range(100, 400):
        rng = np.random.default_rng(seed)
        worst = max(worst, check(chosen, random_chain(chosen[0], rng, int(rng.integers(1, 10))), seed)[1])
        keras.backend.clear_session()
    with capsys.disabled():
        print(f"\n{kind}: largest relative difference in 300 chains {worst:.1e}")


CHAINS = {
    "the first layer of a block": [Net2Deeper(0, 0, None)],
    "the last layer of a block": [Net2Deeper(0, 1, None)],
    "the last layer of all": [Net2Deeper(1, 1, None)],
    "a copy of a copy": [Net2Deeper(0, 0, None), Net2Deeper(0, 1, None), Net2Deeper(0, 1, None)],
    "widened, then copied": [Net2Wider(1, 9), Net2Deeper(0, 0, None)],
    "copied, then both widened": [Net2Deeper(0, 0, None), Net2Wider(1, 7), Net2Wider(2, 9)],
    "stem and transition": [Net2Wider(0, 11), Net2Wider(3, 12), Net2Deeper(1, 0, None), Net2Wider(0, 12)],
    "nothing": [],
}


@pytest.mark.parametrize("case", CHAINS)
def test_chosen_chains(parent, case):
    child, _ = check(parent, CHAINS[case])
    check_moments(child)


def check_moments(child):
    """Those that the child inherited are those that would be measured on it."""
    truth = measured(child, digits())
    for node in child.nodes:
        if node.moments and truth[node.name].moments:
            ours, theirs = node.moments, truth[node.name].moments
            scale = np.sqrt(theirs.variance.max()) + np.abs(theirs.mean).max()
            np.testing.assert_allclose(ours.mean, theirs.mean, rtol=0, atol=1e-4 * scale)
            np.testing.assert_allclose(ours.variance, theirs.variance, rtol=0, atol=1e-4 * scale**2)


def test_the_statistics_of_a_copys_batch_norm_are_those_of_what_reaches_it():
    """The first batch norm of a copied layer normalises the copied layer's own channels by their moments."""
    architecture, graph, *_ = trained_parent("DenseNet-BC")
    child = transform(graph, architecture, [Net2Deeper(0, 0, None)], rng=np.random.default_rng(0))
    gamma, beta, mean, variance = child["dense_1_2_bottleneck_bn"].weights
    moments = graph["dense_1_1"].moments
    np.testing.assert_allclose(mean[8:], moments.mean, rtol=1e-5)
    np.testing.assert_allclose(variance[8:], moments.variance, rtol=1e-5)
    assert (gamma[8:] == 1).all()
    assert (beta[8:] == 0).all()
    for new, old in zip((gamma, beta, mean, variance), graph["dense_1_1_bottleneck_bn"].weights, strict=True):
        np.testing.assert_array_equal(new[:8], old)
    kernel = child["dense_1_2_bottleneck"].weights[0]
    assert not kernel[:, :, 8:].any()
    np.testing.assert_array_equal(kernel[:, :, :8], graph["dense_1_1_bottleneck"].weights[0])


@pytest.mark.parametrize("symmetry_breaking", ["shares", "noise"])
def test_the_parent_is_not_changed_and_the_seed_decides(parent, symmetry_breaking):
    architecture, graph, *_ = parent
    digest = LayerGraph(graph.nodes, graph.outputs).digest
    chain = random_chain(architecture, np.random.default_rng(5), 6)
    first, again, other = (
        grown(graph, architecture, chain, seed=seed, symmetry_breaking=symmetry_breaking)[0].digest
        for seed in (1, 1, 2)
    )
    assert LayerGraph(graph.nodes, graph.outputs).digest == digest
    assert first == again != other


@pytest.mark.parametrize("chain", [[Net2Wider(1, 9)], [Net2Deeper(0, 0, None)]], ids=["widen", "deepen"])
def test_noise_changes_the_function_a_little(parent, chain):
    architecture, graph, batch, before = parent
    child = transform(graph, architecture, chain, rng=np.random.default_rng(0), symmetry_breaking="noise")
    check_same(child, lower(descendant(architecture, chain), digits().mean, digits().std))
    assert 1e-5 < difference(before, logits(child, batch)) < 0.1


def test_shares_are_equal_with_noise_and_unequal_without():
    """What the next layer's first convolution has for a channel and for its copy, relative to what it had."""
    architecture, graph, *_ = trained_parent("DenseNet")
    for symmetry_breaking, equal in (("shares", False), ("noise", True)):
        child = transform(
            graph,
            architecture,
            [Net2Deeper(0, 0, None)],
            rng=np.random.default_rng(1),
            symmetry_breaking=symmetry_breaking,
        )
        old, new = graph["dense_1_2"].weights[0], child["dense_1_3"].weights[0]
        shares = np.abs(new[:, :, 8:16]).sum((0, 1, 3))
        whole = np.abs(old[:, :, 8:12]).sum((0, 1, 3))
        assert shares.sum() == pytest.approx(whole.sum(), rel=1e-4)
        # A channel keeps all of its weight, half, a third and so on.
        parts = whole / shares[:4]
        assert bool(np.allclose(parts, np.round(parts), atol=1e-3)) is equal


def test_replicas_learn_different_things():
    """With unequal shares the gradients of a layer's filters and of their copies differ from the first step on."""
    architecture, graph, batch, _ = trained_parent("DenseNet-BC")
    child = transform(graph, architecture, [Net2Deeper(0, 0, None)], rng=np.random.default_rng(0))
    model = child.to_keras()
    with tf.GradientTape() as tape:
        outputs = model(batch, training=True)
        loss = keras.ops.mean(keras.losses.sparse_categorical_crossentropy(digits().y_val[:64], outputs))
    kernels = [model.get_layer(name).kernel.value for name in ("dense_1_1", "dense_1_2")]
    values, gradients = [k.numpy() for k in kernels], [g.numpy() for g in tape.gradient(loss, kernels)]
    scale, pairs = np.abs(gradients[0]).max(), 0
    for new in range(values[1].shape[-1]):
        for old in range(values[0].shape[-1]):
            if np.array_equal(values[1][..., new], values[0][..., old]):
                pairs += 1
                assert np.abs(gradients[1][..., new] - gradients[0][..., old]).max() > 1e-3 * scale
    assert pairs == 4


@pytest.mark.parametrize("symmetry_breaking", ["shares", "noise"])
def test_a_grown_child_trains_on(parent, symmetry_breaking):
    architecture, graph, *_ = parent
    chain = [Net2Deeper(0, 0, None), Net2Wider(2, 6), Net2Deeper(1, 0, None)]
    child, seed = grown(graph, architecture, chain, seed=3, symmetry_breaking=symmetry_breaking)
    trainer, losses = Trainer(digits()), []
    before, _ = trainer.evaluate(child)
    recipe = Recipe(epochs=3, batch=32)
    trained = trainer.train(child, recipe, seed=seed, on_epoch=lambda _, loss: losses.append(loss))
    assert losses[-1] < losses[0]
    assert trained.accuracy > before - 0.02


def test_a_trained_densenet_is_stored_and_read(parent, tmp_path):
    _, graph, *_ = parent
    save_network(graph, tmp_path / "network.keras")
    assert load_network(tmp_path / "network.keras").digest == graph.digest


# Eq. 4 and Eq. 5.


def test_equation_4_as_printed():
    """The example below Eq. 4, G: 1..11 -> 1..5 6 7 6 6 8 9.

    So 5 channels reach layer l, which has 2 and gets 4 by G_l: 1 2 3 4 -> 1 2 1 1, and two later channels follow.
    """
    third = 1 / 3
    layer = ChannelMap(np.array([1, 2, 1, 1]) - 1, np.array([third, 1, third, third]))
    whole = ChannelMap.beside([5, layer, 2])
    assert (whole.source + 1).tolist() == [1, 2, 3, 4, 5, 6, 7, 6, 6, 8, 9]
    assert whole.share == pytest.approx([1, 1, 1, 1, 1, third, 1, third, third, 1, 1])


def test_equation_4_through_two_concatenations():
    """The same on a graph: what takes in the concatenated channels has them in that order, and the same outputs."""
    layers, rng = keras.layers, np.random.default_rng(0)
    inputs = keras.Input((3, 3, 5), name="five")
    two = layers.Conv2D(2, 1, use_bias=False, name="layer")(inputs)
    joined = layers.Concatenate(name="seven")([inputs, two])
    later = layers.Conv2D(2, 1, use_bias=False, name="later")(joined)
    nine = layers.BatchNormalization(name="norm")(layers.Concatenate(name="nine")([joined, later]))
    model = keras.Model(inputs, layers.Conv2D(3, 3, name="out")(nine))
    graph = randomised(LayerGraph.from_keras(model), rng)
    replicas = ChannelMap(np.array([0, 1, 0, 0]), np.array([0.5, 1, 0.2, 0.3]))
    wider = graph["layer"].changed(
        weights=(replicas.select(graph["layer"].weights[0]),), shape=(3, 3, 4), config={"filters": 4}
    )
    child = with_channel_map(graph.replaced({"layer": wider}), "layer", replicas)
    assert child["nine"].shape[-1] == 11
    order = np.array([1, 2, 3, 4, 5, 6, 7, 6, 6, 8, 9]) - 1
    for new, old in zip(child["norm"].weights, graph["norm"].weights, strict=True):
        np.testing.assert_array_equal(new, old[order])
    batch = images(rng, 4, (3, 3, 5))
    assert difference(graph.to_keras()(batch).numpy(), child.to_keras()(batch).numpy()) <= 1e-5


def test_a_map_that_reaches_something_else_is_refused():
    inputs = keras.Input((3, 3, 2), name="images")
    flat = keras.layers.Flatten(name="flat")(keras.layers.Conv2D(4, 1, name="conv")(inputs))
    graph = LayerGraph.from_keras(keras.Model(inputs, keras.layers.Dense(2)(flat)))
    replicas = ChannelMap.draw(4, 5, rng=np.random.default_rng(0), equal_shares=True)
    with pytest.raises(UnsupportedLayer, match="'flat', a Flatten"):
        with_channel_map(graph, "conv", replicas)


def under_equation_5(kind, *, rectified=True):
    """How far a network's function is changed by a new layer of identity filters behind its first one.

    With pre-activation too, where the library copies a layer: here the copy is replaced by identity filters on those
    channels that it repeats, behind batch norms that undo themselves, which is the best that Eq. 5 can do there.
    """
    architecture, graph, batch, before = trained_parent(kind)
    child = transform(graph, architecture, [Net2Deeper(0, 0, None)], rng=np.random.default_rng(0))
    if kind != "DenseNet-post":
        old, new = graph["dense_1_1"].weights[0], child["dense_1_2"].weights[0]
        drawn = [8 + int(np.abs(old - new[:, :, :8, [i]]).sum((0, 1, 2)).argmin()) for i in range(new.shape[-1])]
        joined = measure_moments(child, batch, names=["dense_1_1_joined"])["dense_1_1_joined"].moments
        mean, variance = joined.mean.astype(np.float32), joined.variance.astype(np.float32)
        undone = (np.sqrt(variance + np.float32(1e-5)), mean, mean, variance)
        kernel = np.zeros_like(new)
        kernel[1, 1, drawn, np.arange(len(drawn))] = 1
        slope = 0.0 if rectified else 1.0
        child = child.replaced(
            {
                "dense_1_2_bn": replace(child["dense_1_2_bn"], weights=undone),
                "dense_1_2_relu": child["dense_1_2_relu"].changed(config={"negative_slope": slope}),
                "dense_1_2": replace(child["dense_1_2"], weights=(kernel,)),
            }
        )
    return difference(before, logits(child, batch))


def test_equation_5_keeps_the_function_only_where_the_activation_is_behind(capsys):
    """ReLU(BN(x)) is what the new layer's filters see with pre-activation, and not x."""
    behind, before = under_equation_5("DenseNet-post"), under_equation_5("DenseNet")
    with capsys.disabled():
        print(f"\nEq. 5 changes the largest logit by {behind:.1e} of it behind, and {before:.1%} before activation")
    assert behind <= 1e-5
    assert before > 0.02
    assert under_equation_5("DenseNet", rectified=False) <= 1e-5, "the ReLU alone is to blame"


def test_equation_5_draws_identity_filters():
    architecture, graph, *_ = trained_parent("DenseNet-post")
    child = transform(graph, architecture, [Net2Deeper(0, 0, None)], rng=np.random.default_rng(0))
    kernel = child["dense_1_2"].weights[0]
    assert kernel.shape == (3, 3, 12, 4)
    assert (kernel.sum((0, 1, 2)) == 1).all()
    assert (kernel[1, 1].max(0) == 1).all()


# What is refused.


@pytest.mark.parametrize("kind", PARENTS)
def test_deepening_without_moments_is_refused(kind):
    architecture = DenseNet.parse(PARENTS[kind], (8, 8, 1))
    with pytest.raises(IllegalTransformation, match="measure them first"):
        transform(lower(architecture), architecture, [Net2Deeper(0, 0, None)], rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("chain", "named"),
    [
        ([Net2Wider(6, 32)], "can be widened"),
        ([Net2Wider(1, 4)], "more than the 4"),
        ([Net2Deeper(0, 2, None)], "positions"),
        ([Net2Deeper(0, 0, 3)], "no kernel"),
    ],
)
def test_illegal_transformations_are_refused(chain, named):
    architecture = DenseNet.parse(PARENTS["DenseNet-BC"], (8, 8, 1))
    with pytest.raises(IllegalTransformation, match=named):
        transform(with_any_moments(lower(architecture)), architecture, chain, rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("graph_of", "architecture", "named"),
    [
        ("DenseNet-post: C(8,3,1), 2xD(4), SM(10)", "DenseNet: C(8,3,1), 2xD(4), SM(10)", "layer 6: "),
        ("DenseNet-BC: C(8,3,1), D(4), D(6), SM(10)", "DenseNet-BC: C(8,3,1), 2xD(5), SM(10)", r"\(8, 8, 20\)"),
        ("DenseNet-BC: C(8,3,1), 2xD(4), SM(10)", "DenseNet-BC: C(8,3,1), D(4), SM(10)", "Received: "),
        ("DenseNet-BC: C(8,3,1), D(4), SM(10)", "DenseNet-BC: C(8,3,1), 2xD(4), SM(10)", "Received: "),
        ("C(8,3,1), SM(10)", "DenseNet-BC: C(8,3,1), D(4), SM(10)", "Received: "),
        ("C(8,3,1), SM(10)", "C(9,3,1), SM(10)", r"\(8, 8, 9\)\). Received: \('Conv2D', \(8, 8, 8\)\)"),
    ],
)
def test_a_graph_of_another_network_is_refused(graph_of, architecture, named):
    graph, other = (parse_architecture(text, (8, 8, 1)) for text in (graph_of, architecture))
    with pytest.raises(InvalidConfiguration, match=rf"another network than .*{named}") as refusal:
        transform(lower(graph), other, [Net2Wider(0, 16)], rng=np.random.default_rng(0))
    assert "\n" not in str(refusal.value)


def test_other_kinds_of_architecture_are_refused():
    with pytest.raises(InvalidConfiguration, match="PlainCNN, DenseNet"):
        lower("C(16,3,1), SM(10)")
