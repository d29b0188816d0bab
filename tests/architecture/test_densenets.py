"""DenseNets as values: what they count, how they are written, which are refused."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import INPUT_SHAPES, densenets

from eas_tf.architecture import Conv, DenseLayer, DenseNet, PlainCNN, Softmax, Transition, parse_architecture
from eas_tf.architecture.densenet.network import KINDS
from eas_tf.errors import IllegalTransformation, InvalidArchitecture

SMALL = DenseNet.parse("DenseNet-BC: C(8,3,1), 2xD(4), T(7), D(5), D(6), SM(10)", (9, 8, 1))
any_densenet = st.sampled_from(INPUT_SHAPES).flatmap(lambda shape: densenets(range(1, 70), shape))


@pytest.mark.parametrize(
    ("depth", "growth", "parameters", "millions"),
    [(40, 40, 1_901_930, 1.902), (100, 12, 769_162, 0.769), (250, 24, 15_324_406, 15.32), (190, 40, 25_624_430, 25.62)],
)
def test_the_published_networks_have_the_known_number_of_parameters(depth, growth, parameters, millions):
    """DenseNet-BC, `reference/eas.md`, "Known answers", in millions; Huang et al., Table 2, says 0.8, 15.3 and 25.6.

    L40 k40 to the last weight: 6 layers a block. A layer on c channels has 2c + 160c + 320 + 57,600 weights (batch
    norm; 1x1 to 160; batch norm; 3x3 from 160 to 40), 162c + 57,920. A block that begins with c has
    162 * (6c + 40 * 15) + 6 * 57,920 = 972c + 444,720.
    Stem 27 * 80 = 2,160. Blocks that begin with 80, 160 and 200: 972 * 440 + 3 * 444,720 = 1,761,840.
    Transitions on 320 and 400 channels: 320 * 162 + 400 * 202 = 132,640. The end on 440: 880 + 440 * 10 + 10 = 5,290.
    Together 1,901,930.
    """
    network = DenseNet.of(depth, growth)
    assert network.parameter_count == parameters == sum(network.parameter_counts)
    assert round(network.parameter_count / 1e6, 3 if millions < 10 else 2) == millions


@pytest.mark.parametrize(("depth", "growth", "millions"), [(40, 12, 1.0), (100, 12, 7.0), (100, 24, 27.2)])
def test_the_published_networks_without_bottlenecks(depth, growth, millions):
    """Huang et al., Table 2: 16 filters in the stem, no compression."""
    network = DenseNet.of(depth, growth, kind="DenseNet")
    assert round(network.parameter_count / 1e6, 1) == millions
    assert network.layers[0] == Conv(16, 3)
    length = (depth - 4) // 3
    assert [layer.filters for layer in network.layers if isinstance(layer, Transition)] == [
        16 + length * growth,
        16 + 2 * length * growth,
    ]


@pytest.mark.parametrize(
    ("kind", "counts"),
    [
        # A layer of k on c: BC 2c + 4kc + 8k + 36kk, plain 2c + 9ck, post 9ck + 2k. A transition to t on c: 2c + ct, or
        # ct + 2t. The end on c: 2c + 10c + 10, or 10c + 10.
        ("DenseNet-BC", [72, 16 + 128 + 32 + 576, 24 + 192 + 32 + 576, 32 + 112, 14 + 140 + 40 + 900, 24 + 288 + 48 +
                         1296, 36 + 190]),
        ("DenseNet", [72, 16 + 288, 24 + 432, 32 + 112, 14 + 315, 24 + 648, 36 + 190]),
        ("DenseNet-post", [72 + 16, 288 + 8, 432 + 8, 112 + 14, 315 + 10, 648 + 12, 190]),
    ],
)  # fmt: skip
def test_the_parameters_of_each_layer_by_hand(kind, counts):
    """On channels 1 | 8, 12, 16 | 7, 12, 18."""
    assert [*DenseNet(kind, SMALL.layers, SMALL.input_shape).parameter_counts] == counts


def test_shapes_and_multiply_adds_by_hand():
    """A transition halves 9x8 to 4x4, rounding down, after its convolution, which sees 9x8 maps."""
    assert SMALL.shapes == (
        (9, 8, 8), (9, 8, 12), (9, 8, 16), (4, 4, 7), (4, 4, 12), (4, 4, 18), (1, 1, 10)
    )  # fmt: skip
    large = 72 * (72 + (128 + 576) + (192 + 576) + 112)
    assert SMALL.multiply_adds == large + 16 * (140 + 900 + 288 + 1296) + 180
    assert [SMALL.shape_before(i)[-1] for i in range(8)] == [1, 8, 12, 16, 7, 12, 18, 10]
    assert SMALL.classes == 10
    assert SMALL.blocks == (range(1, 3), range(4, 6))


@settings(deadline=None, max_examples=100)
@given(any_densenet)
def test_parse_is_the_inverse_of_str(network):
    text = str(network)
    assert DenseNet.parse(text, network.input_shape) == parse_architecture(text, network.input_shape) == network
    assert "1x" not in text
    assert hash(network) == hash(parse_architecture(text, network.input_shape))


@settings(deadline=None, max_examples=50)
@given(any_densenet, st.data())
def test_runs_may_be_written_out_and_blanks_are_free(network, data):
    runs, written = {}, str(network)
    for run in set(re.findall(r"(\d+)x(D\(\d+\))", written)):
        runs["x".join(run)] = ", ".join([run[1]] * int(run[0]))
    for run in sorted(runs, key=len, reverse=True):
        written = written.replace(run, runs[run])
    assert DenseNet.parse(written, network.input_shape) == network
    blank = data.draw(st.sampled_from([" ", "\t", "\n  ", ""]))
    spaced = blank + written.replace(",", f"{blank},{blank}").replace(":", f"{blank}:{blank}") + blank
    assert DenseNet.parse(spaced, network.input_shape) == network


def test_the_issue_s_string():
    text = "DenseNet-BC: C(24,3,1), 3xD(12), T(30), 3xD(12), T(33), 2xD(12), D(16), SM(10)"
    network = parse_architecture(text)
    layers = [Conv(24, 3), *[DenseLayer(12)] * 3, Transition(30), *[DenseLayer(12)] * 3, Transition(33)]
    assert network == DenseNet("DenseNet-BC", (*layers, DenseLayer(12), DenseLayer(12), DenseLayer(16), Softmax(10)))
    assert str(network) == text


@settings(deadline=None, max_examples=60)
@given(any_densenet, st.data())
def test_widening_and_deepening_change_one_layer(network, data):
    """The parameters of the child are more, and its string reads back as itself."""
    index = data.draw(st.sampled_from([i for i, layer in enumerate(network.layers) if layer.width is not None]))
    wider = network.widened(index, network.layers[index].width + data.draw(st.integers(1, 9)))
    assert [i for i, pair in enumerate(zip(network.layers, wider.layers, strict=True)) if len({*pair}) > 1] == [index]
    block = data.draw(st.integers(0, len(network.blocks) - 1))
    position = data.draw(st.integers(0, len(network.blocks[block]) - 1))
    deeper = network.deepened(block, position, None)
    new = network.index_of_new(block, position)
    assert deeper.layers[new] == network.layers[new - 1] == network.layers[network.blocks[block][position]]
    assert (*deeper.layers[:new], *deeper.layers[new + 1 :]) == network.layers
    for child in (wider, deeper):
        assert child.parameter_count > network.parameter_count
        assert child.multiply_adds > network.multiply_adds
        assert (child.kind, child.input_shape) == (network.kind, network.input_shape)
        assert DenseNet.parse(str(child), network.input_shape) == child


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda: SMALL.widened(1, 4), r"takes more than the 4 that it has. Received: wider\(1,4\)"),
        (lambda: SMALL.widened(6, 20), r"Only the layers \[0, 1, 2, 3, 4, 5\] can be widened"),
        (lambda: SMALL.widened(-1, 20), r"Only the layers"),
        (lambda: SMALL.widened(7, 20), r"Only the layers"),
        (lambda: SMALL.deepened(2, 0, None), r"The blocks have the positions 0: 0 to 1, 1: 0 to 1. Received: deeper\("),
        (lambda: SMALL.deepened(0, 2, None), r"The blocks have the positions"),
        (lambda: SMALL.deepened(0, -1, None), r"The blocks have the positions"),
        (lambda: SMALL.deepened(-1, 0, None), r"The blocks have the positions"),
        (lambda: SMALL.deepened(0, 0, 3), r"no kernel in a DenseNet. Received: deeper\(0,0,3\)"),
    ],
)
def test_a_transformation_that_does_not_fit_is_refused(change, reason):
    with pytest.raises(IllegalTransformation, match=reason):
        change()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "DenseNet-BC: C(8,3,1), SM(10)",
            r"position 23 .* expected D\(growth\) or .* Received: 'SM\(10\)'",
        ),
        ("DenseNet-BC: C(8,3,1), T(4), D(4), SM(10)", r"position 23 .* expected D\(growth\).* Received: 'T\(4\)"),
        ("DenseNet-BC: C(8,3,1), D(4), T(4), SM(10)", r"position 35 .* expected D\(growth\)"),
        ("DenseNet-BC: C(8,3,1), D(4), T(4), T(4), D(4), SM(10)", r"position 35 .* expected D\(growth\)"),
        ("DenseNet-BC: C(8,3,1), 0xD(4), SM(10)", r"position 23 .* Received: '0xD\(4\), SM\(10\)'"),
        ("DenseNet-BC: C(8,3,1), D(0), SM(10)", r"position 23 .*: The growth rate of D\(0\) must be from 1 to 65,536"),
        ("DenseNet-BC: C(8,3,1), D(4), T(0), D(4), SM(10)", r"position 29 .*: The filters of T\(0\) must be from 1"),
        ("DenseNet-BC: C(8,3,1), 2xT(4), D(4), SM(10)", r"position 23"),
        ("DenseNet-BC: 2xC(8,3,1), D(4), SM(10)", r"position 13 .* expected C\(filters,3,1\)"),
        ("DenseNet-BC: C(8,5,1), D(4), SM(10)", r"starts with its stem, C\(filters,3,1\). Received: C\(8,5,1\)"),
        ("DenseNet-BC: C(8,3,2), D(4), SM(10)", r"starts with its stem"),
        ("DenseNet-BC: C(8,3,1), D(4), P(2,2,MAX), D(4), SM(10)", r"position 29 .* Received: 'P\(2,2,MAX\)"),
        ("DenseNet-BC: C(8,3,1), D(4), FC(8), SM(10)", r"position 29"),
        ("DenseNet-BC: C(8,3,1), D(4)", r"position 27 .* a comma and .*D\(growth\).*the end of the string"),
        ("DenseNet-BC: C(8,3,1), D(4), SM(10), SM(10)", r"position 37 .* expected the end"),
        ("DenseNet-BC C(8,3,1), D(4), SM(10)", r"position 0 .* Received: 'DenseNet-BC C"),
        ("DenseNet-BC:", r"position 12 .* the end of the string"),
        ("DenseNet-BC: C(8,3,1), 600xD(4), SM(10)", r"at most 500 layers"),
        ("DenseNet-BC: C(8,3,1), 400xD(4), 400xD(4), SM(10)", r"at most 500 layers"),
        ("DenseNet-BC: C(60000,3,1), D(6000), SM(10)", r"Layer 1, D\(6000\), makes 66,000 channels, at most 65,536"),
        ("C(8,3,1), D(4), SM(10)", r"position 10 .* expected C\(filters,kernel,stride\)"),
        ("C(8,3,1), 2xC(8,3,1), SM(10)", r"position 10"),
        ("ResNet: C(8,3,1), SM(10)", r"headers DenseNet, DenseNet-BC, DenseNet-post, .*. Received: 'ResNet'"),
        (": C(8,3,1), SM(10)", r"one of the headers"),
        ("\x1b[31m: C(8,3,1), SM(10)", r"one of the headers"),
    ],
)
def test_a_string_that_is_no_network_is_refused_in_one_line(text, reason):
    with pytest.raises(InvalidArchitecture, match=reason) as refusal:
        parse_architecture(text)
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("text", ["C(8,3,1), SM(10)", "DenseNet-Post: C(8,3,1), D(4), SM(10)", ""])
def test_a_densenet_is_not_read_from_another_string(text):
    with pytest.raises(InvalidArchitecture, match=r"expected DenseNet:, DenseNet-BC:, DenseNet-post:"):
        DenseNet.parse(text)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"depth": 41}, r"with 3 blocks is 4 more than a positive multiple of 6. Received: 41"),
        ({"depth": 7}, r"multiple of 6. Received: 7"),
        ({"depth": 4}, r"Received: 4"),
        ({"depth": -2}, r"Received: -2"),
        ({"depth": 41, "kind": "DenseNet"}, r"4 more than a positive multiple of 3. Received: 41"),
        ({"blocks": 0}, r"at least one block. Received: 0"),
        ({"blocks": -1}, r"at least one block. Received: -1"),
        ({"depth": 5, "kind": "foo"}, r"The kinds of DenseNet are .* Received: 'foo'"),
        ({"growth": -1}, r"The growth rate of D\(-1\) must be from 1"),
        ({"growth": 12.5}, r"The growth rate of D\(12.5\) must be a whole number from 1"),
        ({"growth": "12"}, r"must be a whole number .* Received: '12'"),
        ({"growth": True}, r"must be a whole number"),
        ({"classes": 2.5}, r"must be a whole number"),
        ({"depth": 1504, "kind": "DenseNet"}, r"at most 500 layers. Received: depth 1504"),
        ({"depth": 6 * 10**9 + 4}, r"at most 500 layers. Received: depth"),
        ({"compression": 0}, r"above 0 and at most 1. Received: 0"),
        ({"compression": 1.01}, r"above 0 and at most 1. Received: 1.01"),
        ({"compression": float("nan")}, r"above 0 and at most 1. Received: nan"),
        ({"compression": 0.001}, r"at least one of a transition's 320 channels. Received: 0.001"),
        ({"growth": 0}, r"must be from 1"),
        ({"classes": 0}, r"SM\(0\)"),
        ({"kind": "ResNet"}, r"The kinds of DenseNet are"),
        (
            {"input_shape": (3, 3, 3)},
            r"Layer 14, T\(200\), halves a map of .* a 1x1 map .* 3x3 images",
        ),
        ({"input_shape": (32, 0, 3)}, r"positive height"),
    ],
)
def test_a_published_network_that_cannot_be_is_refused(arguments, reason):
    with pytest.raises(InvalidArchitecture, match=reason):
        DenseNet.of(**({"depth": 40, "growth": 40} | arguments))


@pytest.mark.parametrize(("compression", "filters"), [(0.29, 29), (0.5, 50), (0.01, 1), (1, 100), (0.999, 99)])
def test_compression_rounds_down_what_is_no_rounding_error(compression, filters):
    """100 channels reach the transition; 100 * 0.29 is 28.999999999999996 in floating point."""
    network = DenseNet.of(7, 42, kind="DenseNet", blocks=2, compression=compression)
    assert network.shape_before(3)[-1] == 16 + 2 * 42
    assert network.layers[3] == Transition(filters)


def test_order_is_checked_without_a_string_too():
    stem, dense, end = Conv(8, 3), DenseLayer(4), Softmax(10)
    half = (stem, dense, Transition(4))
    for layers in (
        (),
        (dense, end),
        (stem, end),
        (stem, dense),
        (*half, end),
        (stem, dense, stem),
    ):
        with pytest.raises(InvalidArchitecture):
            DenseNet("DenseNet", layers)
    with pytest.raises(InvalidArchitecture, match=r"Layer 3, T\(5\), cannot follow T\(4\): .* at least one dense"):
        DenseNet("DenseNet", (*half, Transition(5), dense, end))


def test_kinds_differ_and_plain_networks_are_read_as_before():
    assert len({DenseNet(kind, SMALL.layers, SMALL.input_shape) for kind in KINDS}) == 3
    assert parse_architecture("C(16,3,1), SM(10)", (8, 8, 1)) == PlainCNN((Conv(16, 3), Softmax(10)), (8, 8, 1))
