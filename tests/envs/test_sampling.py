"""`action_space.sample(mask=info["action_mask"])` draws legal actions, all of them, in every kind of environment."""

import copy
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import data_equivalence
from playing import INFO, TERMINATED, surrogate

from eas_tf.envs import FlatActions
from eas_tf.errors import InvalidConfiguration
from eas_tf.registration import ENVIRONMENTS

NUM = 3


def sampled_episode(env, seed):
    """Every step of an episode whose actions are sampled with the mask."""
    env.action_space.seed(seed)
    steps = [(*env.reset(seed=seed), False)]
    info, over = steps[0][1], False
    actions = []
    while not np.all(over):
        actions.append(env.action_space.sample(mask=info["action_mask"]))
        assert env.action_space.contains(actions[-1])
        steps.append(env.step(actions[-1]))
        info, over = steps[-1][INFO], steps[-1][TERMINATED]
    return actions, steps[1:]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_sampled_actions_are_legal_and_repeatable(name):
    env = surrogate(name)
    for seed in range(5):
        actions, steps = sampled_episode(env, seed)
        assert not any(step[INFO]["illegal"] for step in steps)
        assert data_equivalence(actions, sampled_episode(env, seed)[0], exact=True)


@pytest.mark.parametrize("mode", ["vector_entry_point", "sync", "async"])
def test_sampled_actions_of_a_batch_are_legal(mode):
    """The mask of a vector environment comes with the keys "_deepen" and "_widen"."""
    kwargs = {} if mode != "async" else {"vector_kwargs": {"context": "spawn"}}
    envs = gym.make_vec("EAS-Surrogate-v0", num_envs=NUM, vectorization_mode=mode, **kwargs)
    actions, steps = sampled_episode(envs, 0)
    single = envs.single_action_space
    assert not any(step[INFO]["illegal"].any() for step in steps)
    assert not np.array_equal(actions[0]["deepen"][0], actions[0]["deepen"][1])
    mask = {key: part[0] for key, part in steps[0][INFO]["action_mask"].items() if not key.startswith("_")}
    assert mask["deepen"][tuple(single.sample(mask=mask)["deepen"])]
    envs.close()


def test_every_legal_insertion_is_drawn_with_the_same_probability():
    space = surrogate().action_space["deepen"]
    space.seed(0)
    mask = np.zeros(space.nvec, np.int8)
    legal = [(0, 1, 2), (2, 0, 0), (2, 3, 1), (4, 8, 0)]
    mask[tuple(np.transpose(legal))] = 1
    drawn, counts = np.unique([space.sample(mask=mask) for _ in range(2000)], axis=0, return_counts=True)
    assert drawn.tolist() == [list(place) for place in sorted(legal)]
    assert (abs(counts - 500) < 100).all()  # five standard deviations


def test_each_layer_that_may_be_widened_is_with_probability_one_half():
    """Gymnasium's own mask of 1 would widen all of them, always."""
    space = surrogate().action_space["widen"]
    space.seed(0)
    mask = np.zeros(space.n, np.int8)
    mask[[0, 2, 9]] = 1
    shares = np.mean([space.sample(mask=mask) for _ in range(2000)], axis=0)
    np.testing.assert_allclose(shares, mask / 2, atol=0.06)
    assert (space.sample(mask=np.zeros(space.n, np.int8)) == 0).all()


def test_where_nothing_is_legal_the_sample_is_zero():
    """As Gymnasium says of `MultiDiscrete`; the mask of a kind that is not due is zero."""
    env = surrogate()
    _, info = env.reset(seed=0)
    assert not env.action_space.sample(mask=info["action_mask"])["widen"].any()
    nothing = {key: np.zeros_like(mask) for key, mask in info["action_mask"].items()}
    assert env.action_space.sample(mask=nothing)["deepen"].tolist() == [0, 0, 0]


def plain_spaces(n=None):
    """The spaces as Gymnasium has them, of one environment or batched."""
    one = spaces.Dict(deepen=spaces.MultiDiscrete([5, 10, 3]), widen=spaces.MultiBinary(50))
    return gym.vector.utils.batch_space(one, n) if n else one


@pytest.mark.parametrize("batch", [None, NUM])
def test_in_all_else_the_spaces_are_gymnasiums(batch):
    """Equality, seeds, samples without a mask, copies, pickles, JSON, flattening."""
    env = gym.make_vec("EAS-Surrogate-v0", num_envs=batch) if batch else surrogate()
    ours, plain = env.action_space, plain_spaces(batch)
    assert ours == plain
    assert plain == ours
    assert repr(ours) == repr(plain)
    for space in (ours, copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert type(space["deepen"]) is type(ours["deepen"])
        assert space.seed(7) == plain.seed(7)
        samples, expected = ([one.sample() for _ in range(3)] for one in (space, plain))
        assert data_equivalence(samples, expected, exact=True)
    assert data_equivalence(ours.from_jsonable(ours.to_jsonable(samples)), samples)
    assert spaces.flatten_space(ours) == spaces.flatten_space(plain)
    flat = spaces.flatten(ours, samples[0])
    np.testing.assert_array_equal(flat, spaces.flatten(plain, samples[0]))
    assert data_equivalence(spaces.unflatten(ours, flat), samples[0])


def test_gymnasiums_own_masks_of_the_parts_are_understood():
    space = surrogate().action_space
    parts = tuple(np.eye(n, dtype=np.int8)[n - 1] for n in space["deepen"].nvec)
    widen = np.full(space["widen"].n, 2, np.int8)
    sample = space.sample(mask={"deepen": parts, "widen": widen})
    assert sample["deepen"].tolist() == [n - 1 for n in space["deepen"].nvec]
    assert 5 < sample["widen"].sum() < 45
    assert space.sample(mask={"deepen": None, "widen": None}) in space
    with pytest.raises(ValueError, match="Only one of `mask` or `probability`"):
        space["deepen"].sample(mask=np.ones(space["deepen"].nvec, np.int8), probability=parts)


@pytest.mark.parametrize("batch", [None, NUM])
@pytest.mark.parametrize("part", ["deepen", "widen"])
def test_a_mask_of_another_shape_is_refused_in_one_line(batch, part):
    env = gym.make_vec("EAS-Surrogate-v0", num_envs=batch) if batch else surrogate()
    mask = env.reset(seed=0)[1]["action_mask"]
    for wrong in (mask[part][..., :1], mask[part] * 3 + 3):
        with pytest.raises(InvalidConfiguration, match=r'^A mask is .* take info\["action_mask"\].*Received: .*$'):
            env.action_space.sample(mask=mask | {part: wrong})


def test_the_flat_wrapper_samples_with_its_flat_mask():
    """Batched, Gymnasium's own space wants a tuple of masks."""
    _, steps = sampled_episode(FlatActions(surrogate()), 0)
    assert not any(step[INFO]["illegal"] for step in steps)
    envs = gym.make_vec("EAS-Surrogate-v0", num_envs=NUM, vectorization_mode="sync", wrappers=[FlatActions])
    _, info = envs.reset(seed=0)
    actions = envs.action_space.sample(mask=tuple(info["action_mask"]))
    assert not envs.step(actions)[INFO]["illegal"].any()


def test_flat_actions_of_a_batch_take_their_mask_as_it_is():
    """As one environment does. Gymnasium's own batch of `Discrete` takes a tuple, which is fine too."""
    envs = gym.vector.SyncVectorEnv([lambda: FlatActions(gym.make("EAS-Surrogate-v0"))] * NUM)
    _, info = envs.reset(seed=0)
    envs.action_space.seed(0)
    drawn = set()
    for _ in range(20):
        for mask in (info["action_mask"], tuple(info["action_mask"])):
            actions = envs.action_space.sample(mask=mask)
            assert envs.action_space.contains(actions)
            assert all(part[action] for part, action in zip(info["action_mask"], actions, strict=True))
            drawn.update(actions.tolist())
    assert len(drawn) > 3
    assert envs.action_space == gym.spaces.MultiDiscrete([envs.single_action_space.n] * NUM)
    *_, info = envs.step(actions)
    assert not info["illegal"].any()
