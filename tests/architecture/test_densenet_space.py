"""The space of DenseNets: the masks say exactly what is legal, and nothing leads out of it."""

from dataclasses import FrozenInstanceError, replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import (
    DENSENET_SPACES,
    deepen_mask,
    densenets_in_spaces,
    descendant,
    legal_deepenings,
    legal_widenings,
    random_chain,
    transformation_chains,
    unlimited,
    widen_together,
)

from eas_tf.architecture import (
    SPACES,
    Conv,
    DenseLayer,
    DenseNet,
    Net2Deeper,
    Net2Wider,
    PlainCNN,
    State,
    Transition,
    parse_architecture,
    space_named,
)
from eas_tf.errors import IllegalTransformation, InvalidArchitecture, InvalidConfiguration

DENSENET, DIGITS = SPACES["densenet"], SPACES["densenet-digits"]
START = DENSENET.start_network((32, 32, 3), 10)
SMALL = DIGITS.start_network((8, 8, 1), 10)
every_space = pytest.mark.parametrize("space", DENSENET_SPACES.values(), ids=DENSENET_SPACES)


def is_inside(space, architecture):
    try:
        space.check(architecture)
    except InvalidArchitecture:
        return False
    return True


def test_the_named_spaces_are_that_of_the_paper_and_a_small_one():
    """`reference/eas.md`, "Search spaces"."""
    assert list(DENSENET_SPACES) == ["densenet", "densenet-rederive", "densenet-small", "densenet-digits"]
    assert DENSENET.growth_rates == (40, 44, 48, 52, 56, 60, 64)
    assert DENSENET.start_network((32, 32, 3), 10) == DenseNet.of(40, 40)
    assert replace(DENSENET, name="densenet-rederive", rederive=True) == SPACES["densenet-rederive"]
    assert SPACES["densenet-small"].start_network((32, 32, 3), 10) == DenseNet.of(16, 12)
    assert not DENSENET.rederive
    assert not DIGITS.rederive
    assert space_named("densenet", 2_000_000) == replace(DENSENET, max_parameters=2_000_000)
    assert SMALL.parameter_count < 4_000


@settings(deadline=None, max_examples=60)
@given(densenets_in_spaces())
def test_deepen_mask_is_true_exactly_where_the_child_stays_inside(case):
    """A position is the number of layers before the new one, so position 0 of a block has nothing to copy."""
    architecture, space = case
    mask = deepen_mask(space, architecture)
    assert (len(mask), {*map(len, mask)}) == (space.max_blocks, {space.block_length})
    for block, position in product(range(space.max_blocks), range(space.block_length)):
        try:
            child = Net2Deeper(block, position - 1, None).apply(architecture)
        except IllegalTransformation:
            child = None
        assert mask[block][position] == (child is not None and is_inside(space, child),)


@settings(deadline=None, max_examples=30)
@given(densenets_in_spaces())
def test_an_insertion_is_the_move_behind_an_entry(case):
    architecture, space = case
    for block, position, _ in np.argwhere(deepen_mask(space, architecture)).tolist():
        state = replace(space, schedule=("deepen",)).act(State(architecture), (block, position, 0))
        (deeper,) = state.moves
        assert deeper == Net2Deeper(block, position - 1, None)
        assert deeper.index_in(architecture) == architecture.blocks[block].start + position
        assert state.architecture == deeper.apply(architecture)


@settings(deadline=None, max_examples=60)
@given(densenets_in_spaces(), st.data())
def test_every_choice_that_the_widen_mask_allows_stays_inside(case, data):
    """With what is re-derived; and `widened` is what the transformations lead to."""
    architecture, space = case
    mask = space.widen_mask(architecture)
    legal = [index for index, allowed in enumerate(mask) if allowed]
    assert len(mask) == space.max_layers
    subset = data.draw(st.lists(st.sampled_from(legal), unique=True)) if legal else []
    child = descendant(architecture, widen_together(space, architecture, subset))
    space.check(child)
    assert child == space.climbed(architecture, subset)
    for index, (before, after) in enumerate(zip(architecture.layers, child.layers, strict=True)):
        assert space.rung(after) == space.rung(before) + (index in subset)
        assert before == after or index in subset or (space.rederive and not isinstance(before, DenseLayer))


@settings(deadline=None, max_examples=60)
@given(densenets_in_spaces())
def test_the_widen_mask_is_every_dense_layer_below_the_last_rung_or_cannot_be_enlarged(case):
    architecture, space = case
    possible = {
        index
        for index, layer in enumerate(architecture.layers)
        if isinstance(layer, DenseLayer) and layer.growth < space.growth_rates[-1]
    }
    legal = {index for index, allowed in enumerate(space.widen_mask(architecture)) if allowed}
    free = unlimited(space)
    assert {index for index, allowed in enumerate(free.widen_mask(architecture)) if allowed} == possible
    for index in possible - legal:
        assert not is_inside(space, space.climbed(architecture, [*legal, index]))
    for index in {*range(-len(architecture.layers), len(architecture.layers) + 1)} - possible:
        with pytest.raises(IllegalTransformation):
            widen_together(space, architecture, [index])


def test_the_widen_mask_near_the_limit_by_hand():
    """What a growth of 4 to 6 adds in the first layer of the digits' start, on channels 8 | 12, 16 | 8, 12, 16.

    Its own weights on 8 channels, with bottlenecks of 24 and 16 (2c + 4kc + 8k + 36kk); the other layer of the block
    reads 2 more channels (2 * 2 of batch norm, 2 * 16 of its bottleneck), and so does the transition (2 * 2 + 2 * 8).
    """
    wider = SMALL.widened(1, 6).parameter_count - SMALL.parameter_count
    own = (16 + 8 * 24 + 48 + 9 * 24 * 6) - (16 + 8 * 16 + 32 + 9 * 16 * 4)
    assert wider == own + (2 * 2 + 2 * 16) + (2 * 2 + 2 * 8)
    costs = [SMALL.widened(i, 6).parameter_count - SMALL.parameter_count for i in (1, 2, 4, 5)]
    cheapest = min(costs)
    for more, allowed in ((cheapest - 1, 0), (cheapest, 1), (10**6, 4)):
        assert sum(replace(DIGITS, max_parameters=SMALL.parameter_count + more).widen_mask(SMALL)) == allowed


@every_space
def test_widening_nothing_is_nothing(space):
    assert widen_together(space, space.start_network((8, 8, 1), 10), []) == ()


@settings(deadline=None, max_examples=30)
@given(densenets_in_spaces(), st.data())
def test_a_chain_from_the_masks_never_leaves_the_space_and_never_shrinks(case, data):
    architecture, space = case
    for transformation in data.draw(transformation_chains(architecture, space, length=9)):
        child = transformation.apply(architecture)
        assert child.parameter_count > architecture.parameter_count
        assert (child.input_shape, child.classes) == (architecture.input_shape, architecture.classes)
        assert [len(child.blocks), child.kind] == [len(architecture.blocks), architecture.kind]
        architecture = child
    space.check(architecture)


@every_space
def test_a_chain_ends_at_a_network_that_can_neither_grow_wider_nor_deeper(space):
    start = space.start_network((8, 8, 1), 10)
    largest = descendant(start, random_chain(start, space, np.random.default_rng(0), length=2000))
    space.check(largest)
    assert not any(space.widen_mask(largest))
    assert not legal_deepenings(largest, space)
    full = all(len(block) == space.block_length for block in largest.blocks)
    assert full or len(largest.layers) == space.max_layers
    assert {layer.growth for layer in largest.layers if isinstance(layer, DenseLayer)} == {space.growth_rates[-1]}


@settings(deadline=None, max_examples=60)
@given(densenets_in_spaces(), st.data())
def test_rederived_widths_are_those_of_the_paper_s_code_and_never_shrink(case, data):
    """The stem twice the mean growth rate, a transition half of its input channels, both rounded down."""
    architecture, space = case
    space = replace(space, rederive=True)
    widenings = legal_widenings(architecture, space)
    subset = data.draw(st.sets(st.sampled_from([step.layer for step in widenings]))) if widenings else set()
    subset = {index for index in subset if isinstance(architecture.layers[index], DenseLayer)}
    child = space.climbed(architecture, subset)
    growths = [layer.growth for layer in child.layers if isinstance(layer, DenseLayer)]
    for index, (before, after) in enumerate(zip(architecture.layers, child.layers, strict=True)):
        if subset and isinstance(before, Conv):
            assert after.filters == max(before.filters, 2 * sum(growths) // len(growths))
        elif subset and isinstance(before, Transition):
            assert after.filters == max(before.filters, child.shape_before(index)[-1] // 2)
        elif index not in subset:
            assert after == before


def test_rederiving_by_hand():
    """Growths 4, 6, 4, 4: 2 * 18 / 4 = 9 filters in the stem; 9 + 4 + 6 = 19 channels, 9 in the transition."""
    space = replace(DIGITS, rederive=True)
    widening = widen_together(space, SMALL, [2])
    assert widening == (Net2Wider(0, 9), Net2Wider(2, 6), Net2Wider(3, 9))
    assert str(descendant(SMALL, widening)) == "DenseNet-BC: C(9,3,1), D(4), D(6), T(9), 2xD(4), SM(10)"
    assert widen_together(DIGITS, SMALL, [2]) == (Net2Wider(2, 6),)


def test_tokens_by_hand():
    """Kind, rung, kernel. The growth rates climb 4, 6, 8, 10, 12, 16."""
    network = DenseNet.parse("DenseNet-BC: C(8,3,1), D(4), D(16), T(8), D(10), SM(10)", (8, 8, 1))
    tokens = [DIGITS.token(layer) for layer in network.layers]
    assert tokens == [(1, 0, 1), (2, 1, 1), (2, 6, 1), (3, 0, 0), (2, 4, 1), (4, 0, 0)]
    assert DIGITS.token_limits == (4, 6, 1)
    assert DENSENET.token_limits == (4, 7, 1)
    assert [DIGITS.next_width(layer) for layer in network.layers] == [None, 6, None, None, 12, None]


@pytest.mark.parametrize(
    ("limits", "text", "reason"),
    [
        ({}, "DenseNet-BC: C(80,3,1), D(39), SM(10)", r"layer 1, D\(39\), must have a growth rate among \(40, 44"),
        ({}, "DenseNet-BC: C(80,3,1), D(40), T(9), D(42), SM(10)", r"layer 3, D\(42\), must have a growth rate among"),
        ({}, "DenseNet-BC: C(80,3,1), D(65), SM(10)", r"layer 1, D\(65\)"),
        ({}, "DenseNet-BC: C(40000,3,1), D(40), SM(10)", r"layer 0, .* more than 32,768 filters"),
        ({}, f"DenseNet: C(80,3,1){', D(40), T(9)' * 3}, D(40), SM(10)", r"4 blocks, at most 3 are allowed"),
        ({}, "DenseNet: C(80,3,1), 16xD(40), SM(10)", r"a block has more than 15 layers"),
        ({"max_layers": 21}, DENSENET.start, r"it has 22 layers, at most 21"),
        ({"max_parameters": 1_901_929}, DENSENET.start, r"1,901,930 parameters, at most 1,901,929"),
        ({}, SPACES["paper"].start, r"it is no DenseNet"),
    ],
)
def test_a_network_outside_is_refused_with_the_limit(limits, text, reason):
    with pytest.raises(InvalidArchitecture, match=reason) as refusal:
        replace(DENSENET, **limits).check(parse_architecture(text))
    assert "\n" not in str(refusal.value)


def test_a_plain_space_refuses_a_densenet():
    with pytest.raises(InvalidArchitecture, match="outside the space 'paper': it is no plain network"):
        SPACES["paper"].check(START)
    assert isinstance(SPACES["paper"].start_network((32, 32, 3), 10), PlainCNN)


def test_a_network_at_every_limit_is_inside():
    limits = {"block_length": 6, "max_layers": 22, "max_parameters": 1_901_930}
    replace(DENSENET, **limits).check(START)


@pytest.mark.parametrize(
    "broken",
    [
        {"growth_rates": ()},
        {"growth_rates": (0, 4)},
        {"growth_rates": (4, 4)},
        {"growth_rates": (8, 4)},
        {"growth_rates": (-4, 4)},
        {"growth_rates": (4, 40_000)},
        {"growth_rates": (4, 2_185)},
        {"kernels": ()},
        {"kernels": (1, 3)},
        {"max_blocks": 0},
        {"block_length": 0},
        {"max_layers": 0},
        {"max_parameters": 0},
        {"max_parameters": -1},
        {"max_work": 0},
    ],
)
def test_nonsense_is_refused_when_a_space_is_made(broken):
    """With 15 layers a block, 2,184 is the largest growth rate: 15 * 2,184 = 32,760 is at most half of 65,536."""
    replace(DENSENET, growth_rates=(4, 2_184))
    with pytest.raises(InvalidConfiguration):
        replace(DENSENET, **broken)


def test_no_map_in_a_space_can_have_too_many_channels():
    """At both limits at once: 32,768 filters and 15 layers of 2,184, then half of that."""
    space = replace(DENSENET, growth_rates=(2_183, 2_184), rederive=True)
    network = DenseNet.parse("DenseNet: C(32768,3,1), 15xD(2183), T(32768), 15xD(2183), SM(10)")
    space.check(network)
    largest = space.climbed(network, [i for i, legal in enumerate(space.widen_mask(network)) if legal])
    space.check(largest)
    assert max(shape[-1] for shape in largest.shapes) == 32_768 + 15 * 2_184


@pytest.mark.parametrize(
    ("input_shape", "classes", "reason"),
    [
        ((3, 3, 3), 10, "3x3 images"),
        ((32, 32, 3), 0, r"SM\(0\)"),
        ((32, 32, 3), -1, "classes"),
        ((0, 8, 1), 5, "height"),
    ],
)
def test_a_start_network_that_cannot_be_is_refused(input_shape, classes, reason):
    with pytest.raises(InvalidArchitecture, match=reason):
        DENSENET.start_network(input_shape, classes)


def test_a_start_network_beyond_the_parameter_limit_is_refused():
    with pytest.raises(InvalidArchitecture, match="1,901,930 parameters, at most 100,000"):
        replace(DENSENET, max_parameters=100_000).start_network((32, 32, 3), 10)


def test_spaces_are_immutable_and_hashable():
    with pytest.raises(FrozenInstanceError):
        DENSENET.max_layers = 100
    assert len({DENSENET, replace(DENSENET), DIGITS}) == 2
