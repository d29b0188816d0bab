"""Many episodes at once: the same as one by one, and evaluated together."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from playing import SHORT, RecordingEvaluator, legal_actions

from eas_tf.envs import EASEnv, EASVectorEnv
from eas_tf.errors import InvalidConfiguration

NUM = 2


def play(envs, *, seed, steps, actions=0):
    """What `reset` and the steps give, with random legal actions."""
    rng = np.random.default_rng(actions)
    observation, info = envs.reset(seed=seed)
    results = [(observation, np.zeros(envs.num_envs), np.zeros(envs.num_envs, bool), None, info)]
    for _ in range(steps):
        results.append(envs.step(legal_actions(results[-1][-1]["action_mask"], rng)))
    return results


def vector(name="EAS-Surrogate-v0", *, mode="vector_entry_point", **kwargs):
    spawn = {"context": "spawn"} if mode == "async" else None
    return gym.make_vec(name, num_envs=NUM, vectorization_mode=mode, vector_kwargs=spawn, schedule=SHORT, **kwargs)


def test_sync_async_and_our_own_vector_environment_are_the_same():
    """Two episodes: the step after the end resets all and ignores its action (NEXT_STEP)."""
    runs = {}
    for mode in ("vector_entry_point", "sync", "async"):
        envs = vector(mode=mode)
        assert envs.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
        runs[mode] = play(envs, seed=5, steps=2 * len(SHORT) + 1)
        envs.close()
    ours = runs.pop("vector_entry_point")
    assert [bool(step[2].all()) for step in ours] == ([False] * 4 + [True]) * 2
    assert all((step[1] > 0).all() == step[2].all() for step in ours)
    for run in runs.values():
        for step, expected in zip(run, ours, strict=True):
            for part, wanted in zip(step[:4], expected[:4], strict=True):
                assert data_equivalence(part, wanted)
            assert_infos_equal(step[4], expected[4])


def assert_infos_equal(infos, expected):
    assert infos.keys() == expected.keys()
    for kind in ("deepen", "widen"):
        mask = infos["action_mask"][kind]
        assert mask.dtype == np.int8
        np.testing.assert_array_equal(mask, expected["action_mask"][kind])
    for key in infos.keys() - {"action_mask"}:
        np.testing.assert_array_equal(infos[key], expected[key], err_msg=key)


def test_make_vec_takes_our_own_and_the_spaces_are_batched():
    envs = gym.make_vec("EAS-Digits-v0", num_envs=3, evaluator="surrogate")
    assert isinstance(envs, EASVectorEnv)
    observation, info = envs.reset(seed=0)
    assert envs.observation_space.contains(observation)
    assert observation["layers"].shape == (3, 20, 3)
    assert info["action_mask"]["deepen"].shape == (3, 3, 6, 3)
    assert envs.action_space.contains(legal_actions(info["action_mask"], np.random.default_rng(0)))


def test_a_batch_is_evaluated_in_one_call():
    evaluator = RecordingEvaluator(0.1, 0.5, 0.9)
    envs = EASVectorEnv(3, evaluator=evaluator, schedule=SHORT)
    *_, last = play(envs, seed=0, steps=4)
    ((one, two, three),) = evaluator.calls
    assert len({one.seed, two.seed, three.seed}) == 3
    assert [str(request.architecture) for request in (one, two, three)] == list(last[4]["architecture"])
    np.testing.assert_allclose(last[1], [np.tan(a * np.pi / 2) for a in (0.1, 0.5, 0.9)])
    np.testing.assert_array_equal(last[4]["accuracy"], [0.1, 0.5, 0.9])
    np.testing.assert_array_equal(last[4]["score"], last[4]["accuracy"])
    assert [" ".join(map(str, r.transformations)) for r in (one, two, three)] == list(last[4]["transformations"])


def test_requests_have_the_seeds_that_separate_environments_give_them():
    """For two episodes, the second after an autoreset, so without a seed of its own."""
    together, apart = RecordingEvaluator(), RecordingEvaluator()
    kwargs = {"schedule": SHORT}
    play(EASVectorEnv(3, evaluator=together, **kwargs), seed=9, steps=9)
    play(SyncVectorEnv([lambda: EASEnv(evaluator=apart, **kwargs)] * 3), seed=9, steps=9)
    assert len(set(together.seeds)) == 6
    assert together.seeds == apart.seeds
    assert [len(call) for call in together.calls] == [3, 3]
    assert [len(call) for call in apart.calls] == [1] * 6


@pytest.mark.parametrize("seed", [3, np.int64(3), [3, 4, 5], np.array([3, 4, 5]), (3, 4, 5)])
def test_seeds_may_be_one_or_many(seed):
    """One counts up, as in Gymnasium's own vector environments."""
    expected, evaluator = RecordingEvaluator(), RecordingEvaluator()
    for i in range(3):
        play(EASVectorEnv(1, evaluator=expected, schedule=["widen"]), seed=3 + i, steps=1)
    play(EASVectorEnv(3, evaluator=evaluator, schedule=["widen"]), seed=seed, steps=1)
    assert evaluator.seeds == expected.seeds


def test_an_episode_may_go_on_with_its_own_generator():
    evaluator = RecordingEvaluator()
    envs = EASVectorEnv(2, evaluator=evaluator, schedule=["widen"])
    play(envs, seed=3, steps=1)
    play(envs, seed=[None, 4], steps=1)
    first, second, third, fourth = evaluator.seeds
    assert second == fourth
    assert first != third


@pytest.mark.parametrize(
    "seed", [[1, 2], [1, 2, 3, 4], [], "ab", "abc", 1.5, True, -1, {}, [1, 2, 2.5], [1, 2, True], np.array(1.5)]
)
def test_seeds_that_are_none_or_of_a_wrong_number_are_refused_and_nothing_changes(seed):
    envs = EASVectorEnv(3, evaluator="surrogate")
    _, info = envs.reset(seed=0)
    *_, before = envs.step(legal_actions(info["action_mask"], np.random.default_rng(0)))
    with pytest.raises(InvalidConfiguration, match=r"^reset takes one seed, or 3 seeds: [^\n]* Received: "):
        envs.reset(seed=seed)
    *_, after = envs.step(legal_actions(before["action_mask"], np.random.default_rng(1)))
    assert not after["illegal"].any()


@pytest.mark.parametrize("parts", [1, 2])
def test_a_malformed_action_of_one_episode_changes_none(parts):
    envs = EASVectorEnv(3, evaluator="surrogate")
    _, info = envs.reset(seed=0)
    right = legal_actions(info["action_mask"], np.random.default_rng(0))
    wrong = {**right, "deepen": right["deepen"].copy()}
    wrong["deepen"][parts] = 99
    with pytest.raises(gym.error.InvalidAction, match="whole numbers from 0 to below"):
        envs.step(wrong)
    observation, *_ = envs.step(right)
    assert observation["steps_left"].tolist() == [8, 8, 8]


@pytest.mark.parametrize(
    "actions",
    [
        None,
        3,
        "abc",
        [],
        {},
        {"widen": np.zeros((3, 50), np.int8)},
        {"deepen": None},
        {"deepen": 0},
        {"deepen": "abc"},
        {"deepen": [[0, 1, 0]] * 2},
        {"deepen": [[0, 1]] * 3},
        {"deepen": [[0, 1, 0], [0, [1], 0], None]},
        {"deepen": np.array(3)},
    ],
)
def test_malformed_actions_are_refused_in_one_line_as_those_of_one_episode(actions):
    envs, env = EASVectorEnv(3, evaluator="surrogate"), EASEnv(evaluator="surrogate")
    for one in (envs, env):
        one.reset(seed=0)
        with pytest.raises(gym.error.InvalidAction, match=r"^[^\n]+ Received: [^\n]+$"):
            one.step(actions)


def test_malformed_coins_are_refused_in_one_line():
    env = EASEnv(evaluator="surrogate", schedule=["widen"])
    env.reset(seed=0)
    for coins in ([[1], [1, 2]], [None] * 50, ["1"] * 50, np.full((50, 60), 7)):
        with pytest.raises(gym.error.InvalidAction, match=r"0 or 1 for each of 50 layers\. Received: [^\n]+$"):
            env.step({"widen": coins})


def test_an_illegal_action_is_flagged_in_its_own_episode_only():
    envs = EASVectorEnv(2, evaluator="surrogate")
    envs.reset(seed=0)
    *_, info = envs.step({"deepen": np.array([[0, 1, 0], [0, 0, 0]]), "widen": np.zeros((2, 50), np.int8)})
    assert list(info["illegal"]) == [False, True]
    assert info["architecture"][0] != info["architecture"][1]


def test_a_failed_child_fails_alone():
    evaluator = RecordingEvaluator(0.0, 0.5, failure="MemoryError: too wide")
    *_, last = play(EASVectorEnv(2, evaluator=evaluator, schedule=["widen"]), seed=0, steps=1)
    np.testing.assert_allclose(last[1], [0, 1])
    assert list(last[4]["failure"]) == ["MemoryError: too wide", ""]


def test_observations_and_masks_of_different_calls_share_no_memory():
    arrays = []
    for observation, *_, info in play(EASVectorEnv(2, evaluator="surrogate", schedule=SHORT), seed=0, steps=9):
        arrays += [observation["layers"], info["action_mask"]["deepen"], info["action_mask"]["widen"]]
    assert not any(np.shares_memory(array, other) for i, array in enumerate(arrays) for other in arrays[:i])


def test_a_batch_takes_the_keyword_arguments_of_one():
    kwargs = {"schedule": SHORT, "price_parameters": 0.1, "price_start": "C(16,3,1), SM(10)"}
    *_, last = play(EASVectorEnv(2, evaluator=RecordingEvaluator(0.5), **kwargs), seed=0, steps=4)
    *_, apart = play(SyncVectorEnv([lambda: EASEnv(evaluator=RecordingEvaluator(0.5), **kwargs)] * 2), seed=0, steps=4)
    assert (last[4]["score"] != 0.5).all()
    np.testing.assert_array_equal(last[4]["score"], apart[4]["score"])
    with pytest.raises(InvalidConfiguration, match="no option `epoch`"):
        EASVectorEnv(2, evaluator="surrogate", epoch=3)


@pytest.mark.parametrize("mode", [None, "ansi", "rgb_array"])
def test_a_batch_is_drawn_as_its_environments_would_be(mode):
    """`make_vec(render_mode=...)` raised TypeError, even for the None that training scripts pass on."""
    ours, sync = (vector(mode=kind, render_mode=mode) for kind in ("vector_entry_point", "sync"))
    for envs in (ours, sync):
        play(envs, seed=3, steps=2)
    assert ours.render_mode == sync.render_mode == mode
    assert {key: ours.metadata[key] for key in sync.metadata} == sync.metadata
    if mode is None:
        assert ours.render() is None
        return
    frames, expected = ours.render(), sync.render()
    assert isinstance(frames, tuple)
    assert data_equivalence(frames, expected, exact=True)
    assert not np.array_equal(*frames)
    assert gym.make_vec(ours.spec).render_mode == mode


@pytest.mark.parametrize("make", [gym.make_vec, EASEnv, EASVectorEnv])
def test_an_unknown_render_mode_is_refused(make):
    name = [] if make is not gym.make_vec else ["EAS-Surrogate-v0"]
    with pytest.raises(InvalidConfiguration, match=r"render modes are ansi, rgb_array.* Received: 'human'"):
        make(*name, render_mode="human", evaluator="surrogate")


@pytest.mark.parametrize("num_envs", [0, -1, 1.5, True, None, "2"])
def test_a_batch_has_at_least_one_episode(num_envs):
    message = f"`num_envs` must be a whole number, at least 1. Received: {num_envs!r}"
    with pytest.raises(InvalidConfiguration, match=message):
        EASVectorEnv(num_envs)


def test_a_reset_in_the_middle_begins_anew():
    envs = EASVectorEnv(2, evaluator="surrogate")
    first = play(envs, seed=1, steps=3)
    again = play(envs, seed=1, steps=3)
    assert data_equivalence(first[-1][0], again[-1][0])
    assert first[-1][4]["architecture"].tolist() == again[-1][4]["architecture"].tolist()
