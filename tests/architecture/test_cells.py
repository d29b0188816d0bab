"""NAS-Bench-201's cells: known answers of the benchmark, strings, decisions."""

import re
from itertools import product

import keras
import pytest

from eas_tf.architecture import SPACES, State, in_words, parse_architecture, parse_move
from eas_tf.architecture.cells import Cell
from eas_tf.architecture.cells.cell import EDGES, OPERATIONS
from eas_tf.errors import IllegalTransformation, InvalidArchitecture

SPACE = SPACES["nasbench201"]
RESNET = "NAS-Bench-201: |nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|, SM(10)"


def cell(key, classes=10, input_shape=(32, 32, 3)):
    return Cell.of([OPERATIONS[int(number)] for number in key], classes, input_shape)


def test_every_cell_is_its_string_and_its_key():
    keys = {"".join(each) for each in product("01234", repeat=6)}
    assert len(keys) == 15_625
    for key in sorted(keys)[::7]:
        assert parse_architecture(str(cell(key))) == cell(key)
        assert cell(key).key == key
    assert str(cell("303101")) == RESNET
    assert hash(parse_architecture(RESNET)) == hash(cell("303101"))


@pytest.mark.parametrize(
    ("key", "classes", "parameters", "multiply_adds"),
    [
        ("000000", 10, 73_306, 7_783_040),
        ("303101", 10, 559_386, 7_783_040 + 2 * 35_389_440),
        ("333333", 10, 1_531_546, 7_783_040 + 6 * 35_389_440),
        ("222222", 100, 79_156 + 6 * 28_000, 7_783_040 + 6 * 3_932_160 + 90 * 64),
        ("141414", 120, 80_456, 7_783_040 + 110 * 64),
    ],
)
def test_counts_are_the_benchmarks(key, classes, parameters, multiply_adds):
    """73,306 + 243,040 for each 3x3 and 28,000 for each 1x1 convolution: counted in the paper's code."""
    assert (cell(key, classes).parameter_count, cell(key, classes).multiply_adds) == (parameters, multiply_adds)


def convolution(x, filters, kernel, strides=1):
    x = keras.layers.Conv2D(filters, kernel, strides, padding="same", use_bias=False)(keras.layers.ReLU()(x))
    return keras.layers.BatchNormalization()(x)


def built(network):
    """The network in plain Keras, only to count: every edge has its layers, whether it leads anywhere or not."""
    image = keras.Input(network.input_shape)
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(16, 3, padding="same", use_bias=False)(image))
    for stage, filters in enumerate((16, 32, 64)):
        if stage:
            inner = convolution(convolution(x, filters, 3, 2), filters, 3)
            pooled = keras.layers.AveragePooling2D(2, padding="same")(x)
            x = keras.layers.Add()([inner, keras.layers.Conv2D(filters, 1, use_bias=False)(pooled)])
        for _ in range(5):
            nodes = [x, None, None, None]
            for edge, (node, source) in zip(network.layers, EDGES, strict=True):
                kernel = re.search("([13])x[13]$", edge.operation) if "conv" in edge.operation else None
                new = convolution(nodes[source], filters, int(kernel[1])) if kernel else nodes[source]
                nodes[node] = new if nodes[node] is None else keras.layers.Add()([nodes[node], new])
            x = nodes[3]
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(keras.layers.BatchNormalization()(x)))
    return keras.Model(image, keras.layers.Dense(network.classes)(x))


@pytest.mark.parametrize("input_shape", [(32, 32, 3), (9, 8, 1)])
def test_counts_are_those_of_the_network_in_keras(input_shape):
    network = cell("320431", 7, input_shape)
    model = built(network)
    assert sum(weight.numpy().size for weight in model.trainable_weights) == network.parameter_count
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    work = sum(layer.kernel.numpy().size * layer.output.shape[1] * layer.output.shape[2] for layer in convolutions)
    assert work + 64 * 7 == network.multiply_adds


@pytest.mark.parametrize(
    "text",
    [
        RESNET.replace("skip_connect~2", "skip_connect~1"),
        RESNET.replace("nor_conv_3x3", "nor_conv_5x5"),
        RESNET.replace("|none~1", ""),
        RESNET.replace("+", ""),
        RESNET.replace("SM(10)", "SM(0)"),
        RESNET.replace("SM(10)", "SM(99999)"),
        RESNET + ", SM(10)",
        "NAS-Bench-201:",
        "NAS-Bench-201: C(16,3,1), SM(10)",
    ],
)
def test_what_is_no_cell_is_refused_with_its_form(text):
    with pytest.raises(InvalidArchitecture, match="is 'NAS-Bench-201: ") as refused:
        parse_architecture(text)
    assert len(str(refused.value)) < 400


def test_an_episode_sets_each_edge_in_turn_and_keeps_what_is_decided_only():
    state = State(SPACE.start_network((32, 32, 3), 10))
    for number in "303101":
        decision = SPACE.decision(state)
        assert (decision.kind, decision.may_pass) == ("operation", False)
        assert decision.mask == b"\0\1\1\1\1\1"
        state = SPACE.act(state, (1 + int(number),))
    assert SPACE.decision(state) is None
    assert str(state.architecture) == RESNET
    assert " ".join(map(str, state.moves)) == (
        "operation(0,3) operation(1,0) operation(2,3) operation(3,1) operation(4,0) operation(5,1)"
    )
    again = State(state.architecture)
    assert SPACE.decision(again).may_pass
    assert SPACE.act(again, None).architecture == state.architecture
    child = SPACE.act(SPACE.act(again, None), (5,))
    assert (child.architecture.key, [*map(parse_move, map(str, child.moves))]) == ("343101", [*child.moves])


@pytest.mark.parametrize("choice", [(0,), (6,), (-1,), (1, 1), ()])
def test_a_choice_of_another_shape_is_refused(choice):
    with pytest.raises(IllegalTransformation, match="from 1 to 5"):
        SPACE.act(State(cell("000000")), choice)


def test_moves_are_told_in_words_and_fit_cells_only():
    assert in_words(RESNET, "operation(1,4) operation(0,1)") == [
        "put a 3x3 average pool between nodes 0 and 2",
        "put the identity between nodes 0 and 1",
    ]
    plain = SPACES["paper"].start_network((32, 32, 3), 10)
    for text in ("wider(0,32)", "deeper(0,0,3)"):
        assert in_words(RESNET, text) == [text]
        with pytest.raises(IllegalTransformation, match="layer by layer"):
            parse_move(text).apply(cell("303101"))
    with pytest.raises(IllegalTransformation, match="is for cells"):
        parse_move("operation(1,4)").apply(plain)
    for text in ("operation(6,0)", "operation(0,5)", "operation(0)", "operations(0,0)"):
        with pytest.raises(IllegalTransformation, match="The moves are"):
            parse_move(text)
    with pytest.raises(InvalidArchitecture, match="it is no cell"):
        SPACE.check(plain)
    with pytest.raises(InvalidArchitecture, match="it is no plain network"):
        SPACES["paper"].check(cell("000000"))
