import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from math import prod

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import INPUT_SHAPES, plain_networks, search_spaces

from eas_tf.architecture import SPACES, Conv, Dense, PlainCNN, Pool, Softmax
from eas_tf.architecture.layers import MAX_WIDTH
from eas_tf.errors import InvalidArchitecture

TABLE_1 = SPACES["paper"].start


def test_table_1_has_133_530_parameters():
    """Kernel + 2 of batch norm per channel, the classifier with a bias; no other bias.

    C16: 9*3*16 + 32 = 464; C32: 9*16*32 + 64 = 4,672; C64: 9*32*64 + 128 = 18,560; C128: 9*64*128 + 256 = 73,984;
    FC256: 128*256 + 512 = 33,280 (the average pool leaves 1x1); SM10: 256*10 + 10 = 2,570. In all 133,530.
    """
    network = PlainCNN.parse(TABLE_1)
    assert network.parameter_counts == (464, 0, 4_672, 0, 18_560, 0, 73_984, 0, 33_280, 2_570)
    assert network.parameter_count == 133_530
    # 9*3*16 * 32*32; 9*16*32 * 16*16 and 9*32*64 * 8*8 and 9*64*128 * 4*4, which are equal; 128*256; 256*10.
    assert network.multiply_adds == 442_368 + 3 * 1_179_648 + 32_768 + 2_560


def test_the_toy_start_has_710_parameters():
    """C4: 9*3*4 + 8 = 116; three times C4: 9*4*4 + 8 = 152; FC8: 4*8 + 16 = 48; SM10: 8*10 + 10 = 90. In all 710."""
    network = PlainCNN.parse(SPACES["toy"].start)
    assert network.parameter_counts == (116, 0, 152, 0, 152, 0, 152, 0, 48, 90)
    assert network.parameter_count == 710


def early_network(text):
    """A network in the shorthand of the known answers: `192,3` is a convolution, P2 a 2x2 max pool."""
    layers = ["P(2,2,MAX)" if word == "P2" else f"C({word},1)" if "," in word else word for word in text.split()]
    return PlainCNN.parse(", ".join(layers))


def test_the_early_network_of_13_layers_has_5_13_million_parameters():
    """k*k*in*out of each convolution, in order.

    9*3*192 = 5,184; 25*192*128 = 614,400; 25*128*96 = 307,200; 9*96*96 = 82,944; 9*96*192 = 165,888;
    25*192*256 = 1,228,800; 25*256*128 = 819,200; 25*128*192 = 614,400; 9*192*128 = 221,184; 25*128*96 = 307,200;
    9*96*192 = 165,888: together 4,532,288. Batch norm, twice the 1,696 filters: 3,392. FC192 after a 4x4 map of 192:
    16*192*192 + 384 = 590,208. SM10: 1,930. In all 5,127,818.
    """
    network = early_network("192,3 128,5 96,5 96,3 P2 192,3 256,5 128,5 P2 192,5 128,3 96,5 P2 192,3 FC(192) SM(10)")
    assert network.parameter_count == 4_532_288 + 3_392 + 590_208 + 1_930
    assert round(network.parameter_count / 1e6, 2) == 5.13
    assert sum(not isinstance(layer, Pool) for layer in network.layers) == 13


def test_the_early_network_of_18_layers_has_19_70_million_parameters():
    """k*k*in*out of each convolution, in order.

    9*3*192 = 5,184; 25*192*128 = 614,400; 9*128*256 = 294,912; 25*256*128 = 819,200; 9*128*128 = 147,456;
    9*128*256 = 294,912; 25*256*384 = 2,457,600; 9*384*256 = 884,736; 25*256*256 = 1,638,400; 25*256*384 = 2,457,600;
    9*384*384 = 1,327,104; 9*384*256 = 884,736; 25*256*256 = 1,638,400; 9*256*384 = 884,736; 9*384*256 = 884,736:
    together 15,234,112. Batch norm, twice the 3,904 filters: 7,808. FC1024 after a 4x4 map of 256:
    4,096*1,024 + 2,048 = 4,196,352. FC256: 1,024*256 + 512 = 262,656. SM10: 2,570. In all 19,703,498.
    """
    network = early_network(
        "192,3 128,5 256,3 128,5 128,3 P2 256,3 384,5 256,3 256,5 P2 384,5 384,3 256,3 256,5 P2 384,3 256,3 "
        "FC(1024) FC(256) SM(10)"
    )
    assert network.parameter_count == 15_234_112 + 7_808 + 4_196_352 + 262_656 + 2_570
    assert round(network.parameter_count / 1e6, 2) == 19.70
    assert sum(not isinstance(layer, Pool) for layer in network.layers) == 18


def test_a_flattened_map_counts_every_position():
    """C2: 9*1*2 + 4 = 22; the 5x7 image becomes a 2x3 map of 2, 12 features; SM3: (12 + 1)*3 = 39."""
    network = PlainCNN.parse("C(2,3,1), P(2,2,MAX), SM(3)", (5, 7, 1))
    assert network.shapes == ((5, 7, 2), (2, 3, 2), (1, 1, 3))
    assert network.parameter_counts == (22, 0, 39)


@given(st.integers(1, 64), st.integers(1, 31), st.integers(1, 8))
def test_a_pool_has_an_output_for_each_whole_window(side, size, stride):
    windows = len(range(0, side - size + 1, stride))
    height, width, channels = Pool(size, stride, "MAX").output_shape((side, 2 * side, 3))
    assert max(height, 0) == windows
    assert max(width, 0) == len(range(0, 2 * side - size + 1, stride))
    assert channels == 3


@given(st.integers(1, 64), st.integers(1, 31), st.integers(1, 8))
def test_a_convolution_has_an_output_for_each_stride_begun(side, kernel, stride):
    starts = len(range(0, side, stride))
    assert Conv(5, kernel, stride).output_shape((side, 2 * side, 3)) == (starts, len(range(0, 2 * side, stride)), 5)


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_shapes_chain_from_the_image_to_the_classes(data):
    network = data.draw(plain_networks(data.draw(search_spaces), data.draw(st.sampled_from(INPUT_SHAPES))))
    shape = network.input_shape
    for index, layer in enumerate(network.layers):
        assert network.shape_before(index) == shape
        shape = layer.output_shape(shape)
        assert min(shape) >= 1
    assert network.shape_before(len(network.layers)) == shape == (1, 1, network.classes)
    assert network.layers[-1] == Softmax(network.classes)
    assert network.parameter_count == sum(network.parameter_counts)


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("C(4,3,1), SM(10)", [[0], []]),
        ("C(4,3,1), C(4,3,1), SM(10)", [[0, 1], []]),
        ("C(4,3,1), FC(8), FC(8), SM(10)", [[0], [1, 2]]),
        ("C(4,3,1), P(2,2,MAX), SM(10)", [[0], []]),
        ("C(4,3,1), P(2,2,MAX), FC(8), SM(10)", [[0], [2]]),
        ("C(4,3,1), P(2,2,MAX), C(4,3,1), SM(10)", [[0], [2], []]),
        ("C(4,3,1), P(2,2,MAX), C(4,3,1), C(4,3,1), FC(8), SM(10)", [[0], [2, 3], [4]]),
        (TABLE_1, [[0], [2], [4], [6], [8]]),
    ],
)
def test_blocks(text, blocks):
    assert [list(block) for block in PlainCNN.parse(text).blocks] == blocks


@settings(deadline=None, max_examples=30)
@given(plain_networks())
def test_blocks_hold_each_layer_with_a_width_once(network):
    in_blocks = [index for block in network.blocks for index in block]
    assert in_blocks == [index for index, layer in enumerate(network.layers) if layer.width is not None]
    *convolutional, connected = network.blocks
    assert convolutional
    for block in convolutional:
        assert len(block) > 0
        assert all(isinstance(network.layers[index], Conv) for index in block)
        assert isinstance(network.layers[block.stop], Pool) or block is convolutional[-1]
    assert all(isinstance(network.layers[index], Dense) for index in connected)
    assert isinstance(network.layers[connected.stop], Softmax)


def test_width_of():
    layers = PlainCNN.parse("C(4,3,1), P(2,2,MAX), FC(8), SM(10)").layers
    assert [layer.width for layer in layers] == [4, None, 8, None]


@pytest.mark.parametrize(
    ("text", "input_shape", "layer"),
    [
        (TABLE_1, (16, 16, 3), 7),
        (TABLE_1, (8, 8, 1), 7),
        (TABLE_1, (32, 16, 3), 7),
        (TABLE_1, (1, 1, 3), 1),
        ("C(4,3,1), P(3,3,MAX), SM(10)", (2, 9, 1), 1),
    ],
)
def test_images_too_small_for_a_pool_are_refused_by_its_name(text, input_shape, layer):
    pool = text.split(", ")[layer]
    with pytest.raises(InvalidArchitecture) as refusal:
        PlainCNN.parse(text, input_shape)
    assert str(refusal.value).startswith(f"Layer {layer}, {pool}, needs a map of at least ")
    assert f"{input_shape[0]}x{input_shape[1]} images" in str(refusal.value)


@pytest.mark.parametrize("input_shape", [(0, 32, 3), (32, 0, 3), (32, 32, 0), (-32, -32, 3)])
def test_images_without_pixels_are_refused(input_shape):
    with pytest.raises(InvalidArchitecture, match="positive height, width and channels"):
        PlainCNN.parse(TABLE_1, input_shape)


@pytest.mark.parametrize(
    ("layers", "named"),
    [
        ((), r"Expected C\(filters,kernel,stride\) at the end: .* Received: no layers"),
        ((Softmax(10),), r"Layer 0, SM\(10\), cannot be the first: a plain network is"),
        ((Conv(4, 3),), r"Expected C\(.*\), P\(.*\), FC\(units\), SM\(classes\) at the end: .* Received: C\(4,3,1\)"),
        ((Dense(4), Softmax(10)), "cannot be the first"),
        ((Pool(2, 2, "MAX"), Conv(4, 3), Softmax(10)), "cannot be the first"),
        ((Conv(4, 3), Dense(4), Conv(4, 3), Softmax(10)), r"Layer 2, C\(4,3,1\), cannot follow FC\(4\)"),
        ((Conv(4, 3), Dense(4), Pool(1, 1, "AVG"), Softmax(10)), r"cannot follow FC\(4\)"),
        ((Conv(4, 3), Pool(2, 2, "MAX"), Pool(2, 2, "MAX"), Softmax(10)), r"cannot follow P\(2,2,MAX\)"),
        ((Conv(4, 3), Softmax(10), Softmax(10)), r"cannot follow SM\(10\)"),
        ((Conv(4, 3), Softmax(10), Dense(4)), r"cannot follow SM\(10\)"),
    ],
)
def test_layers_out_of_order_are_refused(layers, named):
    with pytest.raises(InvalidArchitecture, match=named):
        PlainCNN(layers)


@pytest.mark.parametrize(
    ("layer", "arguments"),
    [
        (Conv, (0, 3)),
        (Conv, (-1, 3)),
        (Conv, (65_537, 3)),
        (Conv, (4, 0)),
        (Conv, (4, 32)),
        (Conv, (4, 3, 0)),
        (Conv, (4, 3, 32)),
        (Pool, (0, 2, "MAX")),
        (Pool, (100_000, 2, "MAX")),
        (Pool, (2, 0, "AVG")),
        (Pool, (2, 2, "max")),
        (Pool, (2, 2, "MIN")),
        (Dense, (0,)),
        (Dense, (65_537,)),
        (Softmax, (0,)),
        (Softmax, (-10,)),
    ],
)
def test_layers_out_of_range_are_refused(layer, arguments):
    with pytest.raises(InvalidArchitecture):
        layer(*arguments)


@settings(deadline=None, max_examples=30)
@given(plain_networks())
def test_equal_networks_have_equal_hashes_and_survive_pickling(network):
    assert network.parameter_count > 0  # fills the caches, which take no part in equality
    twin = PlainCNN(network.layers, network.input_shape)
    assert twin == network
    assert hash(twin) == hash(network)
    assert pickle.loads(pickle.dumps(network)) == network
    assert replace(network, input_shape=(48, 48, 3)) != network


@pytest.mark.parametrize("layer", [Conv(4, 3), Pool(2, 2, "MAX"), Dense(8), Softmax(10)])
def test_layers_are_immutable_and_hashable(layer):
    for name in layer.__slots__:
        with pytest.raises(FrozenInstanceError):
            setattr(layer, name, 1)
    assert len({layer, replace(layer)}) == 1


def test_networks_are_immutable():
    network = PlainCNN.parse(TABLE_1)
    with pytest.raises(FrozenInstanceError):
        network.layers = ()
    with pytest.raises(FrozenInstanceError):
        network.input_shape = (1, 1, 1)


@given(st.data())
def test_an_insertion_measures_what_the_same_layers_measure_from_the_start(data):
    input_shape = data.draw(st.sampled_from(INPUT_SHAPES))
    parent = data.draw(plain_networks(SPACES["paper"], input_shape))
    places = [(block, position) for block, layers in enumerate(parent.blocks) for position in range(len(layers) + 1)]
    block, position = data.draw(st.sampled_from(places[1:]))
    features = prod(parent.shape_before(parent.index_of_new(block, position)))
    assume(block < len(parent.blocks) - 1 or features <= MAX_WIDTH)  # a wider flattened map has no layer behind it
    child = parent.deepened(block, position, None if block == len(parent.blocks) - 1 else 5)
    again = PlainCNN(child.layers, input_shape)
    assert (child.shapes, child.parameter_counts) == (again.shapes, again.parameter_counts)
    assert (child.parameter_count, child.multiply_adds) == (again.parameter_count, again.multiply_adds)
    assert child == again == PlainCNN.parse(str(child), input_shape)


@given(st.data())
def test_widenings_measure_what_the_same_layers_measure_from_the_start(data):
    input_shape, space = data.draw(st.sampled_from(INPUT_SHAPES)), SPACES["paper"]
    parent = data.draw(plain_networks(space, input_shape))
    possible = [i for i, layer in enumerate(parent.layers) if space.next_width(layer)]
    child = space.climbed(parent, data.draw(st.sets(st.sampled_from(possible))) if possible else ())
    again = PlainCNN(child.layers, input_shape)
    assert (child.shapes, child.parameter_counts) == (again.shapes, again.parameter_counts)
    assert (child.parameter_count, child.multiply_adds) == (again.parameter_count, again.multiply_adds)
    assert child == again


def test_layers_are_equal_if_class_and_sizes_are_in_every_process():
    layers = Conv(10, 3), Conv(10, 3, 2), Dense(10), Softmax(10), Pool(2, 2, "MAX"), Pool(2, 2, "AVG")
    assert len({*layers, *pickle.loads(pickle.dumps(layers))}) == len(layers)
    # Hashes of strings differ between processes: one that travelled with a layer would not be found here.
    code = "import pickle, sys; from eas_tf.architecture import *; sys.stdout.buffer.write(pickle.dumps(Conv(10, 3)))"
    sent = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout
    assert pickle.loads(sent) in {Conv(10, 3)}
    assert str(pickle.loads(sent)) == "C(10,3,1)"
