"""Networks of tree cells as values: what they count, how they are written, which are refused."""

import random
import re

import keras
import pytest

from eas_tf.architecture import Conv, DenseNet, Net2Deeper, Net2Wider, Softmax
from eas_tf.architecture.treecell import TreeNetwork
from eas_tf.architecture.treecell.bases import chain_base, densenet_base, pyramidnet_base
from eas_tf.architecture.treecell.notation import read_cell
from eas_tf.architecture.treecell.tree import MERGES, OPERATIONS, Edge, Node, runs
from eas_tf.errors import IllegalTransformation, InvalidArchitecture

A = (
    "add(conv3g2>add(conv1>split(avg3,sep7),max3>add(sep3,sep5)),"
    "conv3g2>add(sep5>add(sep5,avg3,avg3),sep3>add(avg3,sep3)))"
)
B = "add(conv3g2>add(conv1>sep5,sep7>avg3),conv3g2>add(avg3>add(sep7,conv1),sep7>avg3))"
START = "DenseNet-tree: C(96,3,1), D(48), T(72), D(48), T(60), D(48), SM(10); conv3g2"
DIGITS = "DenseNet-tree: C(16,3,1), D(8), T(12), D(8), SM(10); "


def densenet(blocks, growth, cell):
    return TreeNetwork("DenseNet-tree", densenet_base(blocks, growth), read_cell(cell, 0, ("conv3",)))


def pyramidnet(blocks, alpha, cell):
    return TreeNetwork("PyramidNet-tree", pyramidnet_base(blocks, alpha, 2), read_cell(cell, 0, ("conv3",)))


@pytest.mark.parametrize(
    ("network", "parameters"),
    [
        (densenet(16, 48, A), 13_116_010),
        (densenet(16, 48, "conv3g2"), 9_979_114),
        (densenet(6, 48, A), 3_162_970),
        (densenet(6, 48, B), 3_147_850),
        (pyramidnet(18, 84, A), 5_724_330),
        (pyramidnet(18, 84, B), 5_588_850),
        (pyramidnet(18, 84, "conv3g2"), 2_740_368),
        (pyramidnet(18, 150, A), 14_273_454),
        (pyramidnet(18, 150, "conv3g2"), 7_014_636),
        (densenet(1, 48, "conv3g2"), 191_794),
        (densenet(1, 48, A), 387_850),
        (pyramidnet(1, 48, "conv3g2"), 87_994),
        (pyramidnet(1, 48, A), 195_890),
        (TreeNetwork("Chain-tree", chain_base(1, 48), Node((Edge("id"),))), 26_938),
        (densenet(31, 40, "conv3"), 25_624_430),
        (TreeNetwork.parse(DIGITS + "conv3", (8, 8, 1)), 6_418),
        (TreeNetwork.parse(DIGITS + A.replace("g2", ""), (8, 8, 1)), 14_346),
    ],
)
def test_the_published_networks_have_the_known_number_of_parameters(network, parameters):
    """Cai et al., Table 1, in millions: 13.1; 3.2 with A and B; 5.7 and 5.6; 14.3; DenseNet-BC with L = 190: 25.6.

    The start network, 191,794, by hand. A block on f channels with growth 48: batch norm 2f, 1x1 192f; the cell's
    batch norm 384 and 9 * 192 * 48 / 2 = 41,472. On 96, 72 and 60 channels: 194 * 228 + 3 * 41,856 = 169,800.
    Stem 27 * 96 = 2,592. Transitions on 144 and 120: 144 * 74 + 120 * 62 = 18,096. The end on 108: 216 + 1,090 = 1,306.
    TreeCell-A adds, at 48 channels, 7.25 * 48² + 141.5 * 48 = 23,496 below the root and another 41,856 at the root, in
    each of three blocks: 387,850.
    """
    assert network.parameter_count == sum(network.parameter_counts) == parameters


def test_what_a_skip_costs():
    """A batch norm on the channels of the edge: 48 in each of three blocks; 24 behind half of a convolution."""
    plain, skip, half = (densenet(1, 48, cell) for cell in ("conv3g2>sep3", "conv3g2+>sep3", "cat(conv3+>id,conv3)"))
    assert skip.parameter_count - plain.parameter_count == 3 * 2 * 48
    assert half.parameter_count - densenet(1, 48, "cat(conv3,conv3)").parameter_count == 3 * 2 * 24


def test_the_bare_base_is_the_densenet_that_was_there():
    ours, theirs = densenet(4, 12, "conv3"), DenseNet.of(28, 12)
    assert ours.base == theirs.layers
    assert (ours.parameter_count, ours.multiply_adds) == (theirs.parameter_count, theirs.multiply_adds)
    assert ours.shapes[:-1] == theirs.shapes
    assert [ours.shape_before(i) for i in range(len(theirs.layers))] == [
        theirs.shape_before(i) for i in range(len(theirs.layers))
    ]


def test_widths_of_a_pyramidnet_are_rounded_to_even_numbers_and_down_to_groups():
    """N = 2, alpha = 9: 17.5, 19, 20.5, 22, 23.5, 25: rounded 18, 19, 20, 22, 24, 25, and down to even numbers."""
    expected = "PyramidNet-tree: C(16,3,1), 2xR(18), R(20,2), R(22), R(24,2), R(24), SM(10); conv3g2"
    assert str(pyramidnet(2, 9, "conv3g2")) == expected


def random_node(rng, depth=0, roots=("conv3",)):
    """A cell of any shape; deeper nodes are rarer."""
    merge = rng.choice(["", *MERGES] if depth == 0 else ["", "", "add", "split"])
    edges = []
    for _ in range(rng.choice(MERGES[merge]) if merge else 1):
        operation = rng.choice(roots if depth == 0 else [*OPERATIONS])
        below = random_node(rng, depth + 1) if depth < 2 and rng.random() < 0.6 else None
        groups = rng.choice([1, 2, 4]) if operation == "conv3" else 1
        edges.append(Edge(operation, groups, below, below is not None and rng.random() < 0.5))
    return Node(tuple(edges), merge)


def test_parse_is_the_inverse_of_str_on_10_000_random_cells():
    rng, seen = random.Random(0), set()
    while len(seen) < 10_000:
        cell = random_node(rng)
        if cell not in seen:
            seen.add(cell)
            assert read_cell(str(cell), 0, ("conv3",)) == cell
    assert len({*map(str, seen)}) == 10_000
    assert max(cell.depth for cell in seen) == 3


@pytest.mark.parametrize(
    "text",
    [
        START,
        DIGITS + "add(conv3+>split(id,sep5),conv3>avg3)",
        "PyramidNet-tree: C(16,3,1), R(32), 2xR(48,2), SM(7); split(conv3g2,conv3g2>sep3)",
        "Chain-tree: C(48,3,1), 2xB(), T(96), B(), SM(10); add(sep3>conv3g2,id,max3)",
    ],
)
def test_networks_are_read_as_they_are_written_and_blanks_are_free(text):
    network = TreeNetwork.parse(text, (32, 32, 3))
    assert str(network) == text
    spaced = re.sub(r"(\+>|(?<!\+)>|[,;:]|(?<=add|cat)\(|\)(?=,))", r" \1\n\t", text)
    assert spaced != text
    assert TreeNetwork.parse(f" {spaced} ") == network
    assert hash(TreeNetwork.parse(text)) == hash(network)


@pytest.mark.parametrize(
    ("cell", "position", "reason"),
    [
        ("", 0, "conv3, conv3g2 or more groups, add(, cat(, split(. Received: the end of the string"),
        ("conv5", 0, "conv3, conv3g2 or more groups, add(, cat(, split(. Received: 'conv5'"),
        ("sep3", 0, "conv3, conv3g2"),
        ("conv3g1", 0, "conv3, conv3g2"),
        ("conv3g0", 0, "conv3, conv3g2"),
        ("conv3g", 5, ">, +>, the end. Received: 'g'"),
        ("conv3x", 5, ">, +>, the end. Received: 'x'"),
        ("conv3 conv3", 6, ">, +>, the end. Received: 'conv3'"),
        ("conv3>", 6, "conv3, conv1, sep3, sep5, sep7, id, avg3, max3, conv3g2 or more groups, add(, split(. Received"),
        ("conv3+", 5, ">, +>, the end. Received: '+'"),
        ("conv3>>id", 6, "conv3, conv1"),
        ("conv3>sep3g2", 6, "conv3, conv1"),
        ("conv3>cat(id,id)", 6, "conv3, conv1"),
        ("conv3>id>id>id", 11, "the end of the path, because at most 3 operations follow each other. Received: '>id'"),
        ("conv3>id>id+>add(id,id)", 11, "the end of the path"),
        ("add conv3", 4, "(. Received: 'conv3'"),
        ("add(conv3)", 9, ">, +>, ,. Received: ')'"),
        ("add()", 4, "conv3, conv3g2 or more groups. Received: ')'"),
        ("add(conv3,)", 10, "conv3, conv3g2 or more groups. Received: ')'"),
        ("add(conv3,conv3", 15, ">, +>, ,, ). Received: the end of the string"),
        ("add(conv3,conv3,conv3,conv3)", 21, ">, +>, ). Received: ',conv3)'"),
        ("cat(conv3,conv3,conv3)", 15, ">, +>, ). Received: ',conv3)'"),
        ("add(conv3,add(conv3,conv3))", 10, "conv3, conv3g2 or more groups. Received: 'add(conv3,"),
        ("add(conv3,conv3)>id", 16, "the end. Received: '>id'"),
        ("add(conv3,conv3>add(id,id)>id)", 26, ",, ). Received: '>id)'"),
        ("add(conv3,conv3))", 16, "the end. Received: ')'"),
        ("conv3; conv3", 5, ">, +>, the end. Received: '; conv3'"),
        ("Conv3", 0, "conv3, conv3g2"),
        ("conv3g٢", 5, ">, +>, the end. Received: 'g٢'"),
    ],
)  # fmt: skip
def test_a_malformed_cell_is_refused_with_its_position(cell, position, reason):
    for head in (DIGITS, "PyramidNet-tree:C(16,3,1), R(8), SM(10);"):
        expected = f"At position {len(head) + position} of the layer string: expected {reason}"
        with pytest.raises(InvalidArchitecture, match=re.escape(expected)) as refusal:
            TreeNetwork.parse(head + cell)
        assert str(refusal.value).isprintable()


def test_every_cell_with_one_character_too_few_is_refused_with_a_position_or_is_another():
    for text in (A, B, A.replace(">", "+>")):
        for place in range(len(text)):
            shorter = text[:place] + text[place + 1 :]
            try:
                outcome = str(read_cell(shorter, 0, ("conv3",)))
            except InvalidArchitecture as refusal:
                outcome = str(refusal)
            expected = re.escape(shorter), r"At position [0-9]+ of the layer string: expected .* Received: .*"
            assert re.fullmatch("|".join(expected), outcome)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("DenseNet-tree: C(16,3,1), SM(10); conv3", r"position 26 .* expected D\(growth\)"),
        ("DenseNet-tree: C(16,3,1), D(8), SM(10)", r"position 38 .* expected a semicolon and the cell"),
        ("DenseNet-tree: C(16,3,1), D(8); conv3", r"position 30 .* expected a comma and .*D\(growth\)"),
        ("DenseNet-tree: C(16,5,1), D(8), SM(10); conv3", r"position 15 .* expected C\(filters,3,1\)"),
        ("DenseNet-tree: C(16,3,1), R(8), SM(10); conv3", r"position 26 .* expected D\(growth\)"),
        ("PyramidNet-tree: C(16,3,1), R(8,3), SM(10); conv3", r"position 28 .* expected R\(filters\)"),
        ("PyramidNet-tree: C(16,3,1), R(8), T(9), R(8), SM(10); conv3", r"position 34"),
        ("PyramidNet-tree: C(16,3,1), R(8), R(4), SM(10); conv3", r"R\(4\) gives 16 channels.* at least 32"),
        ("Chain-tree: C(16,3,1), B(4), SM(10); id", r"position 23 .* expected B\(\)"),
        ("DenseNet: C(16,3,1), D(8), SM(10); conv3", r"position 0 .* expected DenseNet-tree:, PyramidNet-tree:"),
        ("DenseNet-tree: C(16,3,1), D(9), SM(10); conv3g2", r"Edge 0 .* conv3g2, goes from 36 to 9 .* its 2 groups"),
        ("DenseNet-tree: C(16,3,1), D(8), SM(10); split(conv3,conv3g3)", r"Edge 1 .* 16 to 4 .* its 3 groups"),
        ("Chain-tree: C(16,3,1), B(), SM(10); cat(id,id)", r"Edge 0 .* 16 to 8 .* as many after id as before"),
        ("Chain-tree: C(1,3,1), B(), SM(10); split(id,id)", r"Edge 1 .* 0 to 0 channels. Expected: at least 1"),
        ("Chain-tree: C(3,3,1), B(), SM(10); split(id,id>split(id,id))", r"Edge 1.1 .* 0 to 0"),
        ("DenseNet-tree: C(16,3,1), D(8), T(8), D(8), SM(10); conv3", r"halves a map .* 1x1 images"),
    ],
)  # fmt: skip
def test_a_network_that_cannot_be_is_refused_in_one_line(text, reason):
    with pytest.raises(InvalidArchitecture, match=reason) as refusal:
        TreeNetwork.parse(text, (1, 1, 3))
    assert str(refusal.value).isprintable()


def test_values_are_checked_without_a_string_too():
    leaf = Edge("conv3")
    base, deep = densenet_base(1, 8), leaf
    for _ in range(3):
        deep = Edge("conv3", node=Node((deep,)))
    for cell, reason in (
        (Node((deep,)), "At most 3 operations follow each other. Received: 4"),
        (Node((Edge("conv3", node=Node((leaf, leaf), "cat")),)), "Only the root may be of the kind cat"),
        (Node((Edge("sep3"),)), "An edge of the root is conv3. Received: sep3"),
    ):
        with pytest.raises(InvalidArchitecture, match=reason):
            TreeNetwork("DenseNet-tree", base, cell)
    for make, reason in (
        (lambda: Edge("conv5"), "The operations are conv3, .* Received: 'conv5'"),
        (lambda: Edge("sep3", 2), "Only conv3 has groups"),
        (lambda: Edge("conv3", 0), "at least 1"),
        (lambda: Edge("conv3", skip=True), "A skip goes round a node"),
        (lambda: Node((leaf, leaf)), "A node has one edge"),
        (lambda: Node((leaf,) * 3, "split"), "A node has one edge.*Received: 3 edges, merge 'split'"),
        (lambda: Node((leaf, leaf), "mul"), "A node has one edge"),
        (lambda: TreeNetwork("ResNet-tree", base, Node((leaf,))), "The kinds of bases are DenseNet-tree"),
        (lambda: TreeNetwork("DenseNet-tree", (Conv(8, 5), *base[1:]), Node((leaf,))), "starts with its stem"),
        (lambda: TreeNetwork("DenseNet-tree", base[1:], Node((leaf,))), "cannot be the first"),
    ):
        with pytest.raises(InvalidArchitecture, match=reason):
            make()


def test_the_edges_in_a_block_by_hand():
    """D(48) has its cell from 192 to 48 channels; the inputs and outputs of split are parted, the outputs of cat."""
    network = TreeNetwork.parse(START.replace("conv3g2", "split(conv3+>add(id,sep3),conv3>split(conv1,id>max3))"))
    edges = [(each.path, each.edge.word, each.inputs, each.outputs) for each in network.placed(1)]
    assert edges == [
        ((0,), "conv3", 96, 24), ((0, 0), "id", 24, 24), ((0, 1), "sep3", 24, 24),
        ((1,), "conv3", 96, 24), ((1, 0), "conv1", 12, 12), ((1, 1), "id", 12, 12), ((1, 1, 0), "max3", 12, 12),
    ]  # fmt: skip
    assert network.paths == tuple(path for path, *_ in edges)
    assert [*map(str, network.layers[7:])] == [word for _, word, *_ in edges]
    # In three blocks: batch norm, kernel and skip of the first root edge; depthwise and pointwise; 1x1.
    skip, conv3, sep3, conv1 = 2 * 24, 2 * 96 + 9 * 96 * 24, 2 * 24 + 9 * 24 + 24 * 24, 2 * 12 + 12 * 12
    assert network.parameter_counts[7:] == tuple(3 * count for count in (conv3 + skip, 0, sep3, conv3, conv1, 0, 0))
    assert [shape[-1] for shape in network.shapes[7:]] == [24, 24, 24, 24, 12, 12, 12]
    assert [network.shape_before(i)[-1] for i in range(7, 14)] == [96, 24, 24, 96, 12, 12, 12]
    assert network.shape_before(14) == (1, 1, 10)
    halving = TreeNetwork.parse("PyramidNet-tree: C(4,3,1), R(6,2), SM(10); conv3>sep3", (7, 5, 1))
    assert [halving.shape_before(i) for i in (1, 3, 4)] == [(7, 5, 4), (7, 5, 6), (4, 3, 6)]
    assert halving.shapes == ((7, 5, 4), (4, 3, 24), (1, 1, 10), (4, 3, 6), (4, 3, 6))
    assert [runs(7, 2), runs(7, 3), runs(6, 3)] == [(4, 3), (3, 2, 2), (2, 2, 2)]


class Built:
    """A network in plain Keras, only to count: built from the string's words, by another way than the code's."""

    def __init__(self, network):
        self.network, self.work = network, 0
        x = image = keras.Input(network.input_shape)
        for layer in network.base:
            x = self.layer(x, layer, network.kind)
        self.model = keras.Model(image, x)

    def conv(self, x, filters, kernel=1, stride=1, groups=1):
        layer = keras.layers.Conv2D(filters, kernel, stride, "same", groups=groups, use_bias=False)
        y = layer(x)
        self.work += layer.kernel.numpy().size * y.shape[1] * y.shape[2]
        return y

    def normed(self, x, relu=True):
        x = keras.layers.BatchNormalization()(x)
        return keras.layers.ReLU()(x) if relu else x

    def layer(self, x, layer, kind):
        match type(layer).__name__:
            case "Conv":
                x = self.conv(x, layer.filters, 3)
                return self.normed(x, relu=False) if kind == "PyramidNet-tree" else x
            case "DenseLayer":
                y = self.conv(self.normed(x), 4 * layer.growth)
                return keras.layers.Concatenate()([x, self.cell(y, self.network.cell, layer.growth)])
            case "Residual":
                y = self.conv(self.normed(x, relu=False), layer.filters)
                y = self.cell(y, self.network.cell, layer.filters, layer.stride)
                return self.normed(self.conv(self.normed(y), 4 * layer.filters), relu=False)
            case "Block":
                return self.cell(x, self.network.cell, x.shape[-1])
            case "Transition":
                return keras.layers.AveragePooling2D(2)(self.conv(self.normed(x), layer.filters))
            case "Softmax":
                x = keras.layers.GlobalAveragePooling2D()(self.normed(x))
                self.work += x.shape[-1] * layer.classes
                return keras.layers.Dense(layer.classes)(x)

    def cell(self, x, node, filters, stride=1):
        outputs, several, channels = [], len(node.edges), x.shape[-1]
        for number, edge in enumerate(node.edges):
            into, out = x, filters
            if node.merge == "split":
                half = channels // several
                into = x[..., number * half : (number + 1) * half]
            if node.merge in ("cat", "split"):
                out = filters // several
            y = self.operation(into, edge, out, stride)
            if edge.node:
                below = self.cell(y, edge.node, y.shape[-1])
                y = keras.layers.Add()([y, self.normed(below, relu=False)]) if edge.skip else below
            outputs.append(y)
        if not node.merge:
            return outputs[0]
        return (keras.layers.Add() if node.merge == "add" else keras.layers.Concatenate())(outputs)

    def operation(self, x, edge, filters, stride):
        match edge.operation:
            case "id":
                return x
            case "avg3":
                return keras.layers.AveragePooling2D(3, 1, "same")(x)
            case "max3":
                return keras.layers.MaxPooling2D(3, 1, "same")(x)
            case "conv3" | "conv1":
                return self.conv(self.normed(x), filters, int(edge.operation[-1]), stride, edge.groups)
        depthwise = keras.layers.DepthwiseConv2D(int(edge.operation[-1]), padding="same", use_bias=False)
        y = depthwise(self.normed(x))
        self.work += depthwise.kernel.numpy().size * y.shape[1] * y.shape[2]
        return self.conv(y, filters)


@pytest.mark.parametrize(
    ("text", "input_shape"),
    [
        ("DenseNet-tree: C(8,3,1), D(8), T(12), D(4), SM(7); " + A.replace(">", "+>"), (9, 8, 1)),
        ("DenseNet-tree: C(8,3,1), 2xD(8), SM(10); cat(conv3+>split(sep7,max3),conv3>conv3g2>id)", (6, 6, 3)),
        ("PyramidNet-tree: C(8,3,1), R(4), R(8,2), R(8), R(12,2), SM(3); " + A, (12, 8, 3)),
        ("PyramidNet-tree: C(8,3,1), R(8), R(8,2), SM(3); split(conv3g2+>conv1+>sep5,conv3)", (7, 5, 3)),
        ("Chain-tree: C(8,3,1), 2xB(), T(16), B(), SM(10); split(conv3g2>add(id,conv1,avg3),sep5+>max3)", (8, 8, 3)),
    ],
)
def test_counts_are_those_of_the_network_in_keras(text, input_shape):
    network = TreeNetwork.parse(text, input_shape)
    built = Built(network)
    assert sum(weight.numpy().size for weight in built.model.trainable_weights) == network.parameter_count
    assert built.work == network.multiply_adds


def test_net2wider_and_net2deeper_change_the_base_and_keep_the_cell():
    network = TreeNetwork.parse(START.replace("conv3g2", A))
    wider = Net2Wider(1, 64).apply(network)
    assert str(wider) == str(network).replace("D(48), T(72)", "D(64), T(72)")
    deeper = Net2Deeper(1, 0, None).apply(wider)
    assert str(deeper) == str(wider).replace("D(48), T(60)", "2xD(48), T(60)")
    assert Net2Deeper(1, 0, None).words(wider) == ("insert a dense layer after layer 4", deeper)
    assert deeper.cell == network.cell
    pyramid = TreeNetwork.parse("PyramidNet-tree: C(16,3,1), 2xR(32), R(48,2), SM(10); conv3g2")
    assert pyramid.blocks == (range(1, 3), range(3, 4))
    assert str(Net2Deeper(1, 0, None).apply(pyramid)) == str(pyramid).replace("R(48,2)", "R(48,2), R(48)")
    for move, reason in (
        (Net2Wider(1, 65), r"its 2 groups. Received: wider\(1,65\)"),
        (Net2Wider(7, 65), r"Only the layers \[0, 1, 2, 3, 4, 5\] can be widened"),
        (Net2Deeper(3, 0, None), r"0: 0 to 0, 1: 0 to 0, 2: 0 to 0. Received: deeper\(3,0,-\)"),
        (Net2Deeper(0, 1, None), r"Received: deeper\(0,1,-\)"),
        (Net2Deeper(0, 0, 3), r"needs no kernel"),
    ):
        with pytest.raises(IllegalTransformation, match=reason):
            move.apply(network)


def test_classes_and_blocks():
    network = TreeNetwork.parse("Chain-tree: C(4,3,1), 2xB(), T(8), B(), SM(7); id")
    assert (network.classes, network.blocks, [*network.places]) == (7, (range(1, 3), range(4, 5)), [1, 2, 4])
    assert network.base[-1] == Softmax(7)
