"""Net2Wider and Net2Deeper on a user's own Keras models."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from trained_graphs import branching_model, call, difference, frozen, images, randomise, sequential_model

from eas_tf.errors import IllegalTransformation, InvalidConfiguration, UnsupportedLayer
from eas_tf.surgery import LayerGraph, deepen_graph, measure_moments, widen, widen_graph

layers = keras.layers


@pytest.fixture(scope="module")
def batch():
    return images(np.random.default_rng(7), shape=(8, 6, 3))


@pytest.fixture(scope="module")
def models():
    return {make.__name__: make(np.random.default_rng(0)) for make in (branching_model, sequential_model)}


@pytest.mark.parametrize(
    ("model", "layer", "units", "widened"),
    [
        ("branching_model", "trunk", 12, ["trunk", "trunk_norm", "left", "right"]),
        ("branching_model", "left", 5, ["left", "end_left"]),
        ("sequential_model", "hidden", 50, ["hidden", "out"]),
    ],
)
def test_the_widened_model_has_the_same_outputs(models, batch, model, layer, units, widened):
    """Through two branches, flattening of 3x2 and 1x1 maps, and every kind of layer that has a rule."""
    parent = models[model]
    before, weights = call(parent, batch), [variable.numpy() for variable in parent.weights]
    child = widen(parent, layer, units, rng=np.random.default_rng(3))
    assert difference(before, call(child, batch)) <= 1e-5
    assert child.get_layer(layer).kernel.shape[-1] == units
    names = [each.name for each in parent.layers if each.weights]
    shapes = {name: [w.shape for w in parent.get_layer(name).weights] for name in names}
    assert [name for name in names if [w.shape for w in child.get_layer(name).weights] != shapes[name]] == widened
    for variable, weight in zip(parent.weights, weights, strict=True):
        np.testing.assert_array_equal(variable.numpy(), weight)
    np.testing.assert_array_equal(call(parent, batch), before)


def small_model(rng, width=4):
    """Batch norm, ReLU and a flattened 4x3 map."""
    stack = [
        keras.Input((8, 6, 3)),
        layers.Conv2D(width, 3, padding="same", name="conv"),
        layers.BatchNormalization(axis=3, name="norm"),
        layers.ReLU(name="relu"),
        layers.MaxPooling2D(2, name="pool"),
        layers.Flatten(name="flat"),
        layers.Dense(5, name="out"),
    ]
    return randomise(keras.Sequential(stack), rng)


@pytest.fixture(scope="module")
def graph(batch):
    model = small_model(np.random.default_rng(0))
    return frozen(measure_moments(LayerGraph.from_keras(model), batch))


def widened(graph, symmetry_breaking="shares", seed=0, units=10):
    return widen_graph(graph, "conv", units, rng=np.random.default_rng(seed), symmetry_breaking=symmetry_breaking)


def outputs(graph, batch, *, training=False):
    return call(graph.to_keras(), batch, training=training)


def test_widening_is_exact_in_training_mode_too(graph, batch):
    """Replicas have the batch statistics of their sources."""
    before = outputs(graph, batch, training=True)
    assert difference(outputs(graph, batch), before) > 0.01
    assert difference(before, outputs(widened(graph), batch, training=True)) <= 1e-5


def test_every_weight_of_a_channel_goes_with_it(graph):
    """Also the moving statistics, and the moments of what is between the layers."""
    child = widened(graph)
    source = [
        int(np.flatnonzero((graph["conv"].weights[0] == column[..., None]).all((0, 1, 2)))[0])
        for column in np.moveaxis(child["conv"].weights[0], -1, 0)
    ]
    assert source == sorted(source)
    assert set(source) == {0, 1, 2, 3}
    np.testing.assert_array_equal(child["conv"].weights[1], graph["conv"].weights[1][source])
    for before, after in zip(graph["norm"].weights, child["norm"].weights, strict=True):
        np.testing.assert_array_equal(after, before[source])
    for name in ("conv", "norm", "relu", "pool"):
        np.testing.assert_array_equal(child[name].moments.mean, graph[name].moments.mean[source])
        np.testing.assert_array_equal(child[name].moments.variance, graph[name].moments.variance[source])
    flat = [4 * position + channel for position in range(12) for channel in source]
    np.testing.assert_array_equal(child["flat"].moments.mean, graph["flat"].moments.mean[flat])
    assert child["out"].moments is graph["out"].moments
    assert child["flat"].shape == (120,)


@pytest.mark.parametrize("symmetry_breaking", ["shares", "noise"])
def test_the_same_seed_gives_the_same_weights(graph, symmetry_breaking):
    first, second, other = (widened(graph, symmetry_breaking, seed).digest for seed in (1, 1, 2))
    assert first == second != other


def test_the_global_seed_is_not_used(graph):
    digests = []
    for seed in (1, 2):
        keras.utils.set_random_seed(seed)
        digests.append(widened(graph, "noise", seed=5).digest)
    assert digests[0] == digests[1]


def test_noise_changes_the_function_a_little(graph, batch):
    """Noise of 1e-2 standard deviations on some of the weights."""
    change = difference(outputs(graph, batch), outputs(widened(graph, "noise"), batch))
    assert 1e-4 < change < 0.05


def test_noise_is_on_the_replicas_only_and_a_hundredth_of_the_kernels_spread(graph):
    """20,000 x 27 noise values around their sources; the originals and the bias are what they were."""
    child = widened(graph, "noise", units=20_004)
    kernel, bias = child["conv"].weights
    original = graph["conv"].weights[0]
    is_original = (kernel[..., None] == original[..., None, :]).all((0, 1, 2)).any(-1)
    np.testing.assert_array_equal(kernel[..., is_original], original)
    assert set(bias.tolist()) == set(graph["conv"].weights[1].tolist())
    distances = kernel[..., ~is_original, None] - original[..., None, :]
    noise = np.take_along_axis(distances, np.square(distances).sum((0, 1, 2)).argmin(-1)[None, None, None, :, None], -1)
    assert noise.std() / original.std() == pytest.approx(0.01, rel=0.02)
    assert abs(noise.mean()) < 5 * noise.std() / np.sqrt(noise.size)


def test_noise_comes_with_equal_shares(graph):
    """The consumer's kernel for each replica is its source's over the number of replicas: Eq. 3."""
    kernel = widened(graph, "noise")["out"].weights[0].reshape(12, 10, 5)
    original = graph["out"].weights[0].reshape(12, 4, 5)
    ratios = (kernel[:, :, None] / original[:, None]).transpose(1, 2, 0, 3).reshape(10, 4, -1)
    same = ratios.std(-1) < 1e-5
    assert (same.sum(1) == 1).all()
    np.testing.assert_allclose(ratios.mean(-1)[same], 1 / same.sum(0)[same.argmax(1)], rtol=1e-5)


def test_noise_mode_keeps_the_function_where_there_is_no_noise(graph, batch):
    """Noise is relative to the kernel's standard deviation: a constant kernel has none."""
    kernel, bias = graph["conv"].weights
    constant = graph.replaced({"conv": replace(graph["conv"], weights=(np.full_like(kernel, 0.1), bias))})
    assert difference(outputs(constant, batch), outputs(widened(constant, "noise"), batch)) <= 1e-5


def test_widening_twice_and_a_neighbour(graph, batch):
    rng = np.random.default_rng(0)
    hidden = LayerGraph.from_keras(keras.Sequential([keras.Input((72,)), layers.Dense(6), layers.ReLU()]))
    kernel = rng.normal(size=(48, 6)).astype(np.float32)
    dense = replace(hidden.nodes[1], weights=(kernel, np.ones(6, np.float32)))
    deeper = graph.inserted("flat", [replace(dense, name="new"), hidden.nodes[2]])
    grown = deeper.replaced({"out": replace(deeper["out"], weights=(deeper["out"].weights[0][:6], np.zeros(5)))})
    child = grown
    for name, width in (("conv", 6), ("new", 9), ("conv", 11), ("new", 10)):
        child = widen_graph(child, name, width, rng=rng, symmetry_breaking="shares")
    assert child["new"].weights[0].shape == (12 * 11, 10)
    assert difference(outputs(grown, batch), outputs(child, batch)) <= 1e-5


def stack(*stacked, shape=(8, 8, 4)):
    return keras.Sequential([keras.Input(shape), *stacked, layers.Flatten(), layers.Dense(3, name="out")])


def joined(join):
    inputs = keras.Input((8, 8, 4))
    x = layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(join([x, inputs]))))


def channels_first():
    """The consumer could not tell: flattening is told nothing of the format."""
    inputs = keras.Input((4, 8, 8))
    x = layers.Conv2D(6, 3, data_format="channels_first", name="conv")(inputs)
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten(data_format="channels_last")(x)))


@pytest.mark.parametrize(
    ("make", "error", "named"),
    [
        (channels_first, UnsupportedLayer, "'conv', a Conv2D layer, has channels first"),
        (
            lambda: stack(
                layers.Conv2D(4, 3, name="conv"), layers.MaxPooling2D(data_format="channels_first", name="p")
            ),
            UnsupportedLayer,
            "'p', a MaxPooling2D layer, has channels first",
        ),
        (
            # Eight rows and from six to eight channels: the shapes alone would fit.
            lambda: stack(layers.Conv2D(6, 1, name="conv"), layers.BatchNormalization(axis=1, name="rows")),
            UnsupportedLayer,
            "'rows' normalises axis 1",
        ),
        (
            lambda: stack(layers.Conv2D(4, 3, name="conv"), layers.LayerNormalization(name="layer_norm")),
            UnsupportedLayer,
            "'layer_norm', a LayerNormalization layer, takes statistics over channels",
        ),
        (
            lambda: stack(layers.Conv2D(4, 3, name="conv"), layers.GroupNormalization(2, name="group_norm")),
            UnsupportedLayer,
            "'group_norm', a GroupNormalization layer, takes statistics over channels",
        ),
        (
            lambda: stack(layers.Conv2D(4, 3, name="conv"), layers.UnitNormalization(name="unit_norm")),
            UnsupportedLayer,
            "'unit_norm', a UnitNormalization layer, takes statistics over channels",
        ),
        (
            lambda: stack(layers.Conv2D(4, 3, name="conv"), layers.Lambda(lambda x: x, name="any")),
            UnsupportedLayer,
            "no rule for how .* pass through 'any', a Lambda layer; .*register_rule",
        ),
        (
            lambda: stack(layers.Conv2D(4, 3, name="conv"), layers.Permute((3, 1, 2), name="turn")),
            UnsupportedLayer,
            "'turn' moves the channels away from the last axis",
        ),
        (
            lambda: stack(layers.Conv2D(4, 3, name="conv"), layers.Reshape((-1, 3), name="split")),
            UnsupportedLayer,
            "'split', a Reshape layer, puts the 4 channels into an axis of length 3",
        ),
        (lambda: joined(layers.Add(name="sum")), IllegalTransformation, "tied to a model's input"),
        (
            lambda: stack(layers.Conv2D(4, 3, name="conv"), layers.Softmax(name="softmax")),
            IllegalTransformation,
            "would reach the softmax 'softmax'",
        ),
        (
            lambda: stack(layers.Conv2D(4, 3, activation=layers.Softmax(), name="conv")),
            UnsupportedLayer,
            "'conv' has an activation of its own",
        ),
        (
            lambda: keras.Sequential([keras.Input((8, 8, 4)), layers.Conv2D(4, 3, name="conv")]),
            IllegalTransformation,
            "'conv' cannot be widened: its channels are an output",
        ),
        (
            lambda: keras.Sequential([keras.Input((8, 8, 4)), layers.Conv2D(4, 3, name="conv"), layers.ReLU()]),
            IllegalTransformation,
            "'conv' cannot be widened: its channels are an output",
        ),
        (
            lambda: stack(layers.ReLU(name="conv"), layers.Dense(4, name="one"), layers.Dense(4, name="two")),
            IllegalTransformation,
            "'conv' cannot be widened: it makes no channels of its own. The layers that can be widened are one, two.",
        ),
        (lambda: stack(layers.Conv2D(4, 3, name="conv_1")), IllegalTransformation, "no layer 'conv'.* mean 'conv_1'"),
    ],
)
def test_what_cannot_be_widened_is_refused_by_name(make, error, named):
    with pytest.raises(error, match=named):
        widen(make(), "conv", 8, rng=np.random.default_rng(0))


@pytest.mark.parametrize("activation", ["softmax", "log_softmax", "sparsemax", "glu"])
def test_activations_that_combine_channels_are_refused_by_name(activation):
    """Whether in the layer itself or behind it."""
    within = stack(layers.Conv2D(4, 3, activation=activation, name="conv"))
    behind = stack(layers.Conv2D(4, 3, name="conv"), layers.Activation(activation, name="last"))
    for model, name in ((within, "conv"), (behind, "last")):
        with pytest.raises(IllegalTransformation, match=f"'{name}' has the activation {activation}"):
            widen(model, "conv", 8, rng=np.random.default_rng(0))


@pytest.mark.parametrize("units", [-1, 0, 3, 4])
def test_a_width_that_is_not_wider_is_refused(graph, units):
    with pytest.raises(IllegalTransformation, match=f"more than the 4 channels that there are. Received: {units}"):
        widened(graph, units=units)


def identity_chain(kernel, width, *, norm=True):
    """New layers as a user would write them: their weights are the initial ones."""
    main = layers.Dense(width, use_bias=False)
    if kernel is not None:
        main = layers.Conv2D(width, kernel, padding="same", use_bias=False)
    shape = (width,) if kernel is None else (8, 6, width)
    new = [main, layers.BatchNormalization(epsilon=1e-5), layers.ReLU()] if norm else [main, layers.ReLU()]
    return LayerGraph.from_keras(keras.Sequential([keras.Input(shape), *new])).nodes[1:]


def deepened(graph, after, chain, symmetry_breaking="shares", seed=0):
    return deepen_graph(graph, after, chain, rng=np.random.default_rng(seed), symmetry_breaking=symmetry_breaking)


@pytest.fixture(scope="module")
def plain(batch):
    """Without batch norm of its own: in training mode its values are those at inference."""
    rng = np.random.default_rng(0)
    stack = [
        keras.Input((8, 6, 3)),
        layers.Conv2D(4, 3, padding="same", activation="relu", name="conv"),
        layers.Flatten(name="flat"),
        layers.Dense(6, activation="relu", name="hidden"),
        layers.Dense(5, name="out"),
    ]
    return frozen(measure_moments(LayerGraph.from_keras(randomise(keras.Sequential(stack), rng)), batch))


POINTS = [("conv", 1, 4), ("conv", 3, 4), ("conv", 5, 4), ("flat", None, 192), ("hidden", None, 6)]


@pytest.mark.parametrize(("after", "kernel", "width"), POINTS)
def test_the_new_layer_is_the_identity_at_inference_and_in_training_mode(plain, batch, after, kernel, width):
    """In training mode on the images whose moments were measured: the batch's statistics are these moments."""
    child = deepened(plain, after, identity_chain(kernel, width))
    assert len(child.nodes) == len(plain.nodes) + 3
    before = outputs(plain, batch)
    assert difference(before, outputs(child, batch)) <= 1e-5
    assert difference(before, outputs(child, batch, training=True)) <= 1e-4


def test_other_images_change_the_training_mode_but_not_inference(plain):
    other = images(np.random.default_rng(8), shape=(8, 6, 3))
    child = deepened(plain, "conv", identity_chain(3, 4))
    before = outputs(plain, other)
    assert difference(before, outputs(child, other)) <= 1e-5
    assert 1e-3 < difference(before, outputs(child, other, training=True)) < 0.5


@pytest.mark.parametrize(("after", "kernel", "width"), POINTS)
def test_noise_on_the_identity_changes_the_function_a_little(plain, batch, after, kernel, width):
    chain = identity_chain(kernel, width)
    child, exact = deepened(plain, after, chain, "noise"), deepened(plain, after, chain)
    assert 1e-6 < difference(outputs(plain, batch), outputs(child, batch)) < 0.05
    (new,) = (node for node in child.nodes if node.layer in ("Conv2D", "Dense") and node.name not in plain)
    noise = new.weights[0] - exact[new.name].weights[0]
    assert noise.std() / exact[new.name].weights[0].std() == pytest.approx(1e-3, rel=4 / np.sqrt(2 * noise.size))


@pytest.mark.parametrize("symmetry_breaking", ["shares", "noise"])
def test_the_same_seed_inserts_the_same_layer(plain, symmetry_breaking):
    chain = identity_chain(3, 4)
    first, second, other = (deepened(plain, "conv", chain, symmetry_breaking, seed).digest for seed in (1, 1, 2))
    assert first == second
    assert (first == other) == (symmetry_breaking == "shares")


def test_a_chain_without_batch_norm(plain, batch):
    child = deepened(plain, "conv", identity_chain(3, 4, norm=False))
    assert np.abs(outputs(plain, batch) - outputs(child, batch)).max() == 0


def test_inserted_layers_inherit_the_moments(plain):
    child = deepened(plain, "conv", identity_chain(3, 4))
    new = [node for node in child.nodes if node.name not in plain]
    assert [node.moments for node in new] == [plain["conv"].moments] * 3


def test_deepening_needs_moments(plain):
    without = plain.replaced({"conv": replace(plain["conv"], moments=None)})
    with pytest.raises(IllegalTransformation, match="after 'conv' needs the moments of its output: measure them"):
        deepened(without, "conv", identity_chain(3, 4))


def test_what_cannot_be_an_identity_is_refused_by_name(plain):
    chain = LayerGraph.from_keras(keras.Sequential([keras.Input((8, 6, 4)), layers.DepthwiseConv2D(3)])).nodes[1:]
    with pytest.raises(UnsupportedLayer, match="A DepthwiseConv2D layer cannot be inserted as an identity"):
        deepened(plain, "conv", chain)


@pytest.mark.parametrize("order", [("widen", "deepen"), ("deepen", "widen"), ("widen", "deepen", "widen", "deepen")])
def test_any_order_of_operations(plain, batch, order):
    """Also on the layers that were inserted, with the moments that were measured before."""
    rng, graph, width, last = np.random.default_rng(0), plain, 4, "conv"
    for operation in order:
        if operation == "widen":
            width += 3
            main = [node.name for node in graph.nodes if node.layer == "Conv2D"][-1]
            graph = widen_graph(graph, main, width, rng=rng, symmetry_breaking="shares")
        else:
            graph = deepened(graph, last, identity_chain(3, width))
            last = [node.name for node in graph.nodes if node.layer == "ReLU"][-1]
    assert difference(outputs(plain, batch), outputs(graph, batch)) <= 1e-5
    if order[-1] == "deepen":
        assert difference(outputs(plain, batch), outputs(graph, batch, training=True)) <= 1e-4


def test_an_unknown_way_of_breaking_symmetry_is_refused():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dense(3, name="hidden")(inputs)))
    with pytest.raises(InvalidConfiguration, match="Received: 'magic'"):
        widen(model, "hidden", 5, rng=np.random.default_rng(0), symmetry_breaking="magic")
