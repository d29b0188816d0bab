from collections import Counter

import numpy as np
from gymnasium.spaces import Dict, MultiBinary, MultiDiscrete

from eas_tf.agents.random_search import RandomSearchAgent


def act(seed, masks, calls=1):
    kinds = Dict({kind: MultiBinary(6) if kind == "widen" else MultiDiscrete(masks[kind].shape[1:]) for kind in masks})
    agent = RandomSearchAgent(kinds, rng=np.random.default_rng(seed))
    actions = [agent.act({}, masks) for _ in range(calls)]
    return {key: np.concatenate([action[key] for action in actions]) for key in masks}


def test_actions_lie_in_the_action_space(case):
    _, space = case.spaces()
    for masks in (case.mask(20, deepen=1), case.mask(20, widen=1), case.mask(20)):
        actions = act(0, masks)
        assert actions["deepen"].dtype == np.int64
        assert actions["widen"].dtype == np.int8
        assert all(space.contains({key: actions[key][i] for key in actions}) for i in range(20))


def test_masked_actions_are_never_drawn(case):
    rng = np.random.default_rng(1)
    for _ in range(20):
        deepen, widen = case.some_legal(rng, 200), rng.random((200, 6)) < 0.2
        actions = act(2, case.mask(200, deepen=deepen, widen=widen))
        assert deepen[np.arange(200), *actions["deepen"].T].all()
        assert not (actions["widen"] & ~widen).any()


def test_block_then_position_then_kernel_are_uniform(case):
    """Block 0 allows one triple and block 2 four: so each block has 1/2, and (2, 1, 1) has 1/2 * 1/2 * 1/2 = 1/8."""
    legal = np.zeros((3, 4, 2))
    legal[0, 3, 0] = legal[2, 1] = legal[2, 2] = 1
    drawn = Counter(map(tuple, act(3, case.mask(8000, deepen=legal))["deepen"].tolist()))
    expected = {(0, 3, 0): 1 / 2, **{(2, position, kernel): 1 / 8 for position in (1, 2) for kernel in (0, 1)}}
    assert drawn.keys() == expected.keys()
    assert all(abs(drawn[triple] / 8000 - share) < 0.02 for triple, share in expected.items())


def test_every_layer_that_may_be_widened_has_a_fair_coin_of_its_own(case):
    coins = act(4, case.mask(8000, widen=[1, 0, 1, 1, 0, 0]))["widen"][:, [0, 2, 3]]
    np.testing.assert_allclose(coins.mean(axis=0), 0.5, atol=0.02)
    np.testing.assert_allclose(np.corrcoef(coins.T), np.eye(3), atol=0.04)


def test_the_seed_decides(case):
    masks = case.mask(10, deepen=1, widen=1)
    same, other = act(5, masks, 3), act(6, masks, 3)
    for key, drawn in act(5, masks, 3).items():
        np.testing.assert_array_equal(drawn, same[key])
        assert (drawn != other[key]).any()


def test_it_learns_nothing_from_rewards(case):
    agent = RandomSearchAgent(case.spaces()[1], rng=np.random.default_rng(0))
    agent.act(case.observation(case.layers(np.random.default_rng(0), [2]), 1, 1), case.mask(1, widen=1))
    assert agent.learn([]) == {}
