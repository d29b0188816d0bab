import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete

from eas_tf.agents.spaces import Sizes
from eas_tf.errors import InvalidConfiguration

DEEPEN, WIDEN = 0, 1


@pytest.fixture
def sizes(case):
    return Sizes.of(*case.spaces())


def test_tokens_are_mixed_radix_numbers_and_padding_is_zero(sizes):
    """Radix (3, 4): the row (a, b) is 4a + b."""
    rows = np.array([[[0, 0], [0, 1], [1, 0], [2, 3], [2, 0], [0, 0]]])
    np.testing.assert_array_equal(sizes.tokens(rows), [[0, 1, 4, 11, 8, 0]])
    assert sizes.tokens(rows).dtype == np.int32
    assert sizes.vocabulary == 12


def test_different_rows_have_different_tokens(case):
    sizes = Sizes.of(*case.spaces(high=(2, 3, 1), max_layers=24))
    rows = np.stack(np.unravel_index(np.arange(24), (3, 4, 2)), axis=1)[None]
    assert sorted(sizes.tokens(rows)[0]) == list(range(24))


@pytest.mark.parametrize("row", [(3, 0), (0, 4), (-1, 0)])
def test_a_field_outside_its_range_is_refused(sizes, row):
    rows = np.zeros((1, 6, 2), int)
    rows[0, 0] = row
    with pytest.raises(InvalidConfiguration, match="lie from 0 to below"):
        sizes.tokens(rows)


def test_spaces_of_something_else_are_refused(case):
    observation, action = case.spaces()
    fields = Box(0, 9, (6, 7), np.int32)
    tall = Box(0, 9, (7, 2), np.int32)
    for bad in (
        (Discrete(3), action),
        (observation, Discrete(3)),
        (observation, Dict(deepen=MultiDiscrete([[3, 4]]), widen=MultiBinary(6))),
        (observation, Dict(deepen=MultiDiscrete([3, 4]), widen=MultiBinary(7))),
        (observation, Dict(deepen=MultiDiscrete([3, 4]), more=Discrete(6))),
        (observation, Dict()),
        (Dict(layers=tall), action),
        (Dict(layers=fields), action),
        (Dict(layers=Box(-1, 9, (6, 2), np.int32)), action),
    ):
        with pytest.raises(InvalidConfiguration, match=r"The agent needs|are categories"):
            Sizes.of(*bad)


def test_a_step_is_read_with_the_mask_of_what_is_due(sizes, case):
    rows = case.layers(np.random.default_rng(0), [3, 6])
    masks = case.mask(2, widen=[1, 0, 1, 0, 0, 0])
    (step,), left = sizes.read(case.observation(rows, WIDEN, 4), masks)
    assert (step.kind, left, step.legal.shape, step.legal.dtype) == ("widen", 4, (2, 6), bool)
    masks["widen"][:] = 0
    assert step.legal.sum() == 4, "the step must not share memory with the environment"
    (step,), _ = sizes.read(case.observation(rows, DEEPEN, 4), case.mask(2, deepen=1))
    assert step.legal.shape == (2, 3, 4, 2)


def test_the_networks_of_a_batch_may_be_at_different_steps(sizes, case):
    rows = case.layers(np.random.default_rng(0), [3, 6, 2, 5])
    observation = {"layers": rows, "kind": np.array([1, 0, 2, 1]), "steps_left": np.array([4, 7, 0, 2])}
    masks = case.mask(4, deepen=1, widen=rows[..., 0] > 0)
    masks["deepen"][[0, 2, 3]] = 0
    (deepen, widen), left = sizes.read(observation, masks)
    assert (deepen.kind, deepen.networks.tolist(), widen.kind, widen.networks.tolist()) == (
        "deepen",
        [1],
        "widen",
        [0, 3],
    )
    np.testing.assert_array_equal(widen.tokens, sizes.tokens(rows)[[0, 3]])
    assert widen.legal.sum() == 8
    assert left == 7


def test_batches_that_break_the_contract_are_refused(sizes, case):
    rows = case.layers(np.random.default_rng(0), [3, 6])
    good, masks = case.observation(rows, DEEPEN, 4), case.mask(2, deepen=1)
    one = case.mask(2, deepen=1)
    one["deepen"][1] = 0
    for observation, mask, message in (
        ({**good, "layers": rows[0]}, masks, "in batches"),
        ({**good, "layers": rows[:, :5]}, masks, "in batches"),
        ({**good, "layers": rows[:0]}, masks, "in batches"),
        ({**good, "kind": np.array([0])}, masks, "one number for each"),
        ({**good, "kind": np.array([3, 0])}, masks, "kind of decision"),
        ({**good, "kind": np.array([-1, 0])}, masks, "kind of decision"),
        ({**good, "steps_left": np.array([4])}, masks, "one number for each"),
        (good, case.mask(3, deepen=1), "The mask has the shape"),
        (good, one, "allows nothing"),
        (case.observation(rows, WIDEN, 4), case.mask(2, widen=1), "for padding"),
    ):
        with pytest.raises(InvalidConfiguration, match=message):
            sizes.read(observation, mask)
