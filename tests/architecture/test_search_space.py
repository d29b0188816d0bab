from dataclasses import FrozenInstanceError, replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import (
    PLAIN_SPACES,
    TINY,
    deepen_mask,
    descendant,
    legal_deepenings,
    legal_widenings,
    networks_in_spaces,
    plain_networks,
    random_chain,
    search_spaces,
    transformation_chains,
    unlimited,
    widen_together,
)

from eas_tf.architecture import SPACES, Net2Deeper, Net2Wider, PlainCNN, State, space_named
from eas_tf.errors import IllegalTransformation, InvalidArchitecture, InvalidConfiguration

PAPER, LARGE, TOY, DIGITS = SPACES["paper"], SPACES["large"], SPACES["toy"], SPACES["digits"]
TABLE_1 = PlainCNN.parse(PAPER.start)


def places(space):
    return product(range(space.max_blocks), range(space.block_length), range(len(space.kernels)))


def is_inside(space, architecture):
    try:
        space.check(architecture)
    except InvalidArchitecture:
        return False
    return True


def legal_child(space, architecture, block, position, kernel):
    """Whether a layer may go there, found without the mask: by building the child and checking it."""
    connected = block == len(architecture.blocks) - 1
    if connected and kernel != 0:
        return False
    try:
        child = Net2Deeper(block, position, None if connected else space.kernels[kernel]).apply(architecture)
    except (IllegalTransformation, InvalidArchitecture):
        return False
    return is_inside(space, child)


@settings(deadline=None, max_examples=50)
@given(st.one_of(networks_in_spaces(TINY), networks_in_spaces()))
def test_deepen_mask_is_true_exactly_where_the_child_stays_inside(case):
    architecture, space = case
    mask = deepen_mask(space, architecture)
    assert len(mask) == space.max_blocks
    assert all(len(positions) == space.block_length for positions in mask)
    assert all(len(kernels) == len(space.kernels) for positions in mask for kernels in positions)
    for block, position, kernel in places(space):
        assert mask[block][position][kernel] == legal_child(space, architecture, block, position, kernel)


@settings(deadline=None, max_examples=30)
@given(networks_in_spaces(TINY))
def test_an_insertion_builds_what_the_mask_allows(case):
    architecture, space = case
    mask = deepen_mask(space, architecture)
    for block, position, kernel in places(space):
        if mask[block][position][kernel]:
            state = replace(space, schedule=("deepen",)).act(State(architecture), (block, position, kernel))
            child = state.architecture
            assert state.moves == (space.insertion(architecture, block, position, kernel),)
            space.check(child)
            assert len(child.layers) == len(architecture.layers) + 1
            assert len(child.blocks[block]) == len(architecture.blocks[block]) + 1


@pytest.mark.parametrize(
    "place", [(-1, 1, 0), (5, 0, 0), (0, -1, 0), (0, 10, 0), (0, 1, -1), (0, 1, 3), (99, 99, 99), (1, 1)]
)
def test_a_choice_of_another_shape_is_refused(place):
    with pytest.raises(IllegalTransformation, match="from 0 to below"):
        PAPER.act(State(TABLE_1), place)


@settings(deadline=None, max_examples=30)
@given(networks_in_spaces())
def test_nothing_goes_before_the_first_convolution(case):
    architecture, space = case
    assert not any(deepen_mask(space, architecture)[0][0])


@settings(deadline=None, max_examples=30)
@given(networks_in_spaces())
def test_no_kernel_but_the_first_is_legal_in_the_fully_connected_block(case):
    architecture, space = case
    connected = len(architecture.blocks) - 1
    assert not any(any(kernels[1:]) for kernels in deepen_mask(space, architecture)[connected])


def test_the_deepen_mask_of_table_1():
    """One layer a block, so positions 0 and 1, but not 0 of block 0; of the last block only kernel number 0."""
    legal = {place for place in places(PAPER) if deepen_mask(PAPER, TABLE_1)[place[0]][place[1]][place[2]]}
    convolutions = {(block, position, kernel) for block in range(4) for position in (0, 1) for kernel in range(3)}
    assert legal == (convolutions - {(0, 0, 0), (0, 0, 1), (0, 0, 2)}) | {(4, 0, 0), (4, 1, 0)}


def test_no_layer_is_inserted_that_would_be_wider_than_the_last_rung():
    """An 8x8 map of 16 flattens to 1,024 features, the last rung of `paper`; one of 17 to 1,088, below `large`'s."""
    fits, exceeds = (PlainCNN.parse(f"C({n},3,1), P(4,4,AVG), FC(64), SM(10)") for n in (16, 17))
    assert [deepen_mask(PAPER, n)[1][0][0] for n in (fits, exceeds)] == [True, False]
    assert [deepen_mask(LARGE, n)[1][0][0] for n in (fits, exceeds)] == [True, True]
    assert deepen_mask(PAPER, exceeds)[1][1][0]


@settings(deadline=None, max_examples=50)
@given(networks_in_spaces(), st.data())
def test_any_subset_of_the_widen_mask_stays_inside(case, data):
    architecture, space = case
    widenings = legal_widenings(architecture, space)
    subset = data.draw(st.lists(st.sampled_from(widenings), unique=True)) if widenings else []
    child = descendant(architecture, subset)
    space.check(child)
    for widening in subset:
        parent_layer, child_layer = architecture.layers[widening.layer], child.layers[widening.layer]
        assert space.rung(child_layer) == space.rung(parent_layer) + 1
    space.check(descendant(architecture, widenings))


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_without_a_parameter_limit_the_widen_mask_is_every_layer_below_its_last_rung(data):
    space = data.draw(search_spaces)
    architecture = data.draw(plain_networks(space))
    for index, legal in enumerate(space.widen_mask(architecture)):
        children = []
        for width in {*space.filters, *space.units}:
            try:
                children.append(Net2Wider(index, width).apply(architecture))
            except IllegalTransformation:
                continue
        assert legal == any(is_inside(space, child) for child in children)


@settings(deadline=None, max_examples=50)
@given(networks_in_spaces())
def test_under_limits_the_widen_mask_cannot_be_enlarged(case):
    architecture, space = case
    everything = legal_widenings(architecture, unlimited(space))
    legal = legal_widenings(architecture, space)
    assert set(legal) <= set(everything)
    for widening in set(everything) - set(legal):
        assert not is_inside(space, descendant(architecture, [*legal, widening]))
    assert bool(legal) == any(is_inside(space, widening.apply(architecture)) for widening in everything)


def test_the_widen_mask_of_table_1_near_the_limit():
    """What the next rung of one layer adds, to it and to the layer that reads it.

    C16 -> 32: 16*(27 + 2) + 9*16*32 = 5,072. C32 -> 64: 32*(144 + 2) + 9*32*64 = 23,104.
    C64 -> 96: 32*(288 + 2) + 9*32*128 = 46,144. C128 -> 192: 64*(576 + 2) + 64*256 = 53,376.
    FC256 -> 384: 128*(128 + 2) + 128*10 = 17,920.
    The cheapest two, the first convolution and the fully connected layer, do not touch: together 22,992.
    """
    costs = [5_072, 0, 23_104, 0, 46_144, 0, 53_376, 0, 17_920, 0]
    for widening in legal_widenings(TABLE_1, PAPER):
        assert widening.apply(TABLE_1).parameter_count - 133_530 == costs[widening.layer]
    allowed = [
        [i for i, legal in enumerate(replace(PAPER, max_parameters=133_530 + more).widen_mask(TABLE_1)) if legal]
        for more in (0, 5_071, 5_072, 22_991, 22_992, 10**9)
    ]
    assert allowed == [[], [], [0], [0], [0, 8], [0, 2, 4, 6, 8]]


@settings(deadline=None, max_examples=30)
@given(networks_in_spaces())
def test_what_has_no_next_rung_is_not_widened(case):
    architecture, space = case
    last = [i for i, layer in enumerate(architecture.layers) if space.next_width(layer) is None]
    for index in (-1, *last, len(architecture.layers)):
        with pytest.raises(IllegalTransformation, match=rf"have a next rung. Received: {index}$"):
            widen_together(space, architecture, [index])


def test_widening_nothing_is_nothing():
    assert widen_together(PAPER, TABLE_1, []) == ()


@settings(deadline=None, max_examples=30)
@given(networks_in_spaces(TINY), st.data())
def test_a_chain_from_the_masks_never_leaves_a_tiny_space_and_never_shrinks(case, data):
    assert_chain_stays_inside(*case, data.draw(transformation_chains(*case, length=9)))


@settings(deadline=None, max_examples=25)
@given(networks_in_spaces(), st.data())
def test_a_chain_from_the_masks_never_leaves_a_space_and_never_shrinks(case, data):
    assert_chain_stays_inside(*case, data.draw(transformation_chains(*case, length=5)))


@pytest.mark.parametrize("space", PLAIN_SPACES.values(), ids=PLAIN_SPACES)
@pytest.mark.parametrize("factor", [None, 1, 1.2, 3])
def test_a_seeded_chain_never_leaves_the_space(space, factor):
    start = space.start_network((32, 32, 3), 10)
    space = replace(space, max_parameters=factor and int(factor * start.parameter_count))
    chain = random_chain(start, space, np.random.default_rng(7), length=9)
    assert_chain_stays_inside(start, space, chain)
    assert chain == random_chain(start, space, np.random.default_rng(7), length=9)
    assert bool(chain) == (factor != 1)


def assert_chain_stays_inside(architecture, space, chain):
    for transformation in chain:
        child = transformation.apply(architecture)
        space.check(child)
        assert child.parameter_count > architecture.parameter_count
        assert child.input_shape == architecture.input_shape
        assert child.layers[-1] == architecture.layers[-1]
        assert len(child.blocks) == len(architecture.blocks)
        architecture = child


def test_a_chain_ends_at_a_network_that_can_neither_grow_wider_nor_deeper():
    space = replace(TINY, max_layers=8)
    start = space.start_network((8, 8, 1), 10)
    chain = random_chain(start, space, np.random.default_rng(0), length=1000)
    largest = descendant(start, chain)
    assert len(largest.layers) == space.max_layers
    assert not any(space.widen_mask(largest))
    assert not legal_deepenings(largest, space)


def test_the_limit_on_layers_acts_through_the_mask():
    assert legal_deepenings(TABLE_1, replace(PAPER, max_layers=10)) == []
    assert len(legal_deepenings(TABLE_1, replace(PAPER, max_layers=11))) == 23


def test_the_limit_on_block_length_acts_through_the_mask():
    """With at most two layers a block, a block of two is full, and the others are not touched."""
    space = replace(PAPER, block_length=2)
    assert {deepening.block for deepening in legal_deepenings(TABLE_1, space)} == {0, 1, 2, 3, 4}
    for block in range(4):
        full = Net2Deeper(block, 1, 3).apply(TABLE_1)
        assert {deepening.block for deepening in legal_deepenings(full, space)} == {0, 1, 2, 3, 4} - {block}
    full = Net2Deeper(4, 1, None).apply(TABLE_1)
    assert {deepening.block for deepening in legal_deepenings(full, space)} == {0, 1, 2, 3}


def test_the_limit_on_parameters_acts_through_the_deepen_mask():
    """The cheapest insertions after 16 channels are 1x1 convolutions, 16*16 + 32 = 288 each, in two places."""
    assert legal_deepenings(TABLE_1, replace(PAPER, max_parameters=133_530 + 287)) == []
    cheapest = [Net2Deeper(0, 1, 1), Net2Deeper(1, 0, 1)]
    assert legal_deepenings(TABLE_1, replace(PAPER, max_parameters=133_530 + 288)) == cheapest


@pytest.mark.parametrize(
    ("limits", "text", "reason"),
    [
        ({}, "C(513,3,1), SM(10)", "layer 0, .* wider than the last rung, 512"),
        ({}, "C(16,3,1), P(4,4,AVG), FC(1025), SM(10)", "layer 2, .* wider than the last rung, 1024"),
        ({}, "C(16,7,1), SM(10)", "layer 0, .* kernel among"),
        ({}, "C(16,3,1), C(16,3,2), SM(10)", "layer 1, .* stride 1"),
        ({}, ", ".join(["C(16,3,1), P(1,1,MAX)"] * 5 + ["SM(10)"]), "6 blocks, at most 5"),
        ({}, ", ".join(["C(16,1,1)"] * 11 + ["SM(10)"]), "a block has more than 10 layers"),
        ({}, ", ".join(["C(16,1,1)"] + ["FC(64)"] * 11 + ["SM(10)"]), "a block has more than 10 layers"),
        ({"max_layers": 9}, PAPER.start, "10 layers, at most 9"),
        ({"max_parameters": 133_529}, PAPER.start, "133,530 parameters, at most 133,529"),
        ({"max_work": 9_758_939}, PAPER.start, "9,758,940 units of work, at most 9,758,939"),
    ],
)
def test_a_network_outside_is_refused_with_the_limit(limits, text, reason):
    with pytest.raises(InvalidArchitecture, match=reason):
        replace(PAPER, **limits).check(PlainCNN.parse(text))


def test_a_network_at_every_limit_is_inside():
    space = replace(PAPER, max_blocks=5, block_length=1, max_layers=10, max_parameters=133_530)
    space.check(TABLE_1)
    PAPER.check(PlainCNN.parse("C(512,5,1), P(4,4,AVG), FC(1024), SM(10)"))


def test_rungs():
    layers = PlainCNN.parse("C(5,3,1), C(16,3,1), C(20,3,1), C(512,3,1), P(8,8,AVG), FC(1000), FC(1024), SM(9)").layers
    assert [PAPER.rung(layer) for layer in layers] == [0, 1, 1, 11, 0, 8, 9, 0]
    assert [PAPER.next_width(layer) for layer in layers] == [16, 32, 32, None, None, 1024, None, None]


@pytest.mark.parametrize(
    ("name", "input_shape", "classes", "text"),
    [
        ("paper", (32, 32, 3), 10, PAPER.start),
        ("large", (32, 32, 3), 10, PAPER.start),
        ("toy", (32, 32, 3), 10, TOY.start),
        ("digits", (8, 8, 1), 10, DIGITS.start),
        ("digits", (28, 28, 1), 3, "C(4,3,1), P(2,2,MAX), C(8,3,1), P(14,14,AVG), FC(16), SM(3)"),
        ("paper", (64, 64, 1), 100, PAPER.start.replace("P(4,4,AVG)", "P(8,8,AVG)").replace("SM(10)", "SM(100)")),
        ("paper", (8, 8, 1), 10, PAPER.start.replace("P(4,4,AVG)", "P(1,1,AVG)")),
        ("paper", (39, 39, 3), 10, PAPER.start),
    ],
)
def test_the_last_average_pool_of_a_start_network_covers_the_whole_map(name, input_shape, classes, text):
    start = space_named(name).start_network(input_shape, classes)
    assert str(start) == text
    last_pool = next(i for i in reversed(range(len(start.layers))) if str(start.layers[i]).startswith("P("))
    assert start.shapes[last_pool][:2] == (1, 1)


@pytest.mark.parametrize("input_shape", [(96, 96, 3), (224, 224, 3), (256, 256, 3), (512, 512, 3)])
def test_large_images_have_a_start_network_or_one_plain_refusal(input_shape):
    try:
        start = PAPER.start_network(input_shape, 10)
    except InvalidArchitecture as refusal:
        assert "images" in str(refusal)  # noqa: PT017 - either outcome is right
    else:
        assert start.shapes[7] == (1, 1, 128)


@pytest.mark.parametrize(("name", "side"), [("paper", 7), ("toy", 1), ("digits", 1)])
def test_images_too_small_for_the_start_network_are_refused(name, side):
    with pytest.raises(InvalidArchitecture, match=f"{side}x{side} images"):
        space_named(name).start_network((side, side, 3), 10)


@pytest.mark.parametrize("classes", [0, -1, 65_537])
def test_a_start_network_without_a_sensible_number_of_classes_is_refused(classes):
    with pytest.raises(InvalidArchitecture, match="classes"):
        PAPER.start_network((32, 32, 3), classes)


def test_a_start_network_beyond_the_parameter_limit_is_refused():
    with pytest.raises(InvalidArchitecture, match="133,530 parameters, at most 100,000"):
        replace(PAPER, max_parameters=100_000).start_network((32, 32, 3), 10)


def test_a_space_may_start_without_a_pool():
    space = replace(TINY, start="C(2,3,1), FC(4), SM(10)")
    assert str(space.start_network((8, 8, 1), 5)) == "C(2,3,1), FC(4), SM(5)"


@pytest.mark.parametrize(
    "broken",
    [
        {"filters": ()},
        {"filters": (0, 16)},
        {"filters": (16, 16)},
        {"filters": (32, 16)},
        {"filters": (16, 65_537)},
        {"units": ()},
        {"units": (-8, 8)},
        {"units": (64, 100_000)},
        {"kernels": ()},
        {"kernels": (1, 2, 3)},
        {"kernels": (5, 3)},
        {"kernels": (1, 33)},
        {"max_blocks": 0},
        {"block_length": 0},
        {"max_layers": 0},
        {"max_parameters": 0},
        {"max_parameters": -1},
        {"max_work": 0},
    ],
)
def test_nonsense_is_refused_when_a_space_is_made(broken):
    with pytest.raises(InvalidConfiguration):
        replace(PAPER, **broken)


def test_the_named_spaces_are_those_of_the_paper_and_its_code():
    """`reference/eas.md`, "Search spaces"."""
    assert set(PLAIN_SPACES) == {"paper", "large", "toy", "digits"}
    densenets = {"densenet", "densenet-rederive", "densenet-small", "densenet-digits"}
    assert set(SPACES) - set(PLAIN_SPACES) == {*densenets, "nasbench201"}
    assert all(space.name == name == space_named(name).name for name, space in SPACES.items())
    assert PAPER.filters == (16, 32, 64, 96, 128, 192, 256, 320, 384, 448, 512)
    assert PAPER.units == (64, 128, 256, 384, 512, 640, 768, 896, 1024)
    assert LARGE.filters == (*PAPER.filters, 576, 640)
    assert LARGE.units == (*PAPER.units, 1152, 1280)
    assert TOY.filters == (4, 8, 12, 16, 20, 24, 28, 32, 36, 40)
    assert TOY.units == (8, 16, 24, 32, 40, 48, 56, 64, 72, 80)
    for space in (PAPER, LARGE, TOY):
        assert (space.kernels, space.max_blocks, space.block_length, space.max_layers) == ((1, 3, 5), 5, 10, 50)


def test_a_named_space_takes_a_limit_on_parameters():
    assert space_named("paper") == PAPER
    assert space_named("paper", 133_530) == replace(PAPER, max_parameters=133_530)
    with pytest.raises(InvalidConfiguration):
        space_named("paper", 0)


@pytest.mark.parametrize("name", ["", "Paper", "../../x", "\x00"])
def test_an_unknown_space_is_refused_with_the_names(name):
    with pytest.raises(InvalidConfiguration, match="paper, large, toy, digits"):
        space_named(name)


def test_spaces_are_immutable_and_hashable():
    with pytest.raises(FrozenInstanceError):
        PAPER.max_layers = 100
    assert len({PAPER, replace(PAPER), LARGE}) == 2
