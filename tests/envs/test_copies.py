"""Copies of environments: made at any time, each goes on as the original would, with an evaluator of its own."""

import copy
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from playing import INFO, REWARD, SHORT, TERMINATED, RecordingEvaluator, surrogate

from eas_tf.envs import EASEnv, EASVectorEnv, FlatActions
from eas_tf.errors import InvalidConfiguration
from eas_tf.evaluation import Result


def pickled(env):
    return pickle.loads(pickle.dumps(env))


def play(env, steps, mask):
    """Steps with actions sampled from masks, of whatever kind the environment is; the last mask too."""
    results = []
    for _ in range(steps):
        results.append(env.step(env.action_space.sample(mask=mask)))
        mask = results[-1][INFO]["action_mask"]
    return results, mask


def vector(**kwargs):
    return gym.make_vec("EAS-Surrogate-v0", num_envs=2, **kwargs)


@pytest.mark.parametrize("how", [copy.deepcopy, pickled])
@pytest.mark.parametrize("make", [surrogate, vector, lambda **kwargs: FlatActions(surrogate(**kwargs))])
@pytest.mark.parametrize("steps", [0, 1, 3, 4])
def test_a_copy_goes_on_as_the_original(make, how, steps):
    env = make(schedule=SHORT, render_mode="ansi")
    env.action_space.seed(3)
    _, mask = play(env, steps, env.reset(seed=3)[1]["action_mask"])
    copied = how(env)
    assert copied.render() == env.render()
    rest = [play(one, len(SHORT) - steps, mask)[0] for one in (env, copied)]
    assert data_equivalence(*rest, exact=True)
    again = [play(one, len(SHORT), one.reset()[1]["action_mask"])[0] for one in (env, copied)]
    assert data_equivalence(*again, exact=True)
    copied.close()
    assert data_equivalence(env.reset(seed=3)[0], how(env).reset(seed=3)[0])


class Asked:
    """An evaluator whose copies and pickles all note in one list the seeds that they are asked for."""

    parent, validation_images, seeds = "", 100, []

    def evaluate(self, requests):
        for request in requests:
            self.seeds.append(request.seed)
            yield Result(accuracy=0.5, loss=None, seconds=0.0)

    def close(self):
        """Nothing was started."""


@pytest.mark.parametrize("how", [copy.deepcopy, pickled])
@pytest.mark.parametrize("make", [EASEnv, EASVectorEnv])
@pytest.mark.parametrize("episodes", [0, 1])
def test_a_copy_asks_for_the_seeds_that_the_original_would(make, how, episodes):
    env = make(evaluator=Asked(), schedule=["widen"])
    _, info = env.reset(seed=5)
    for _ in range(episodes):
        env.step(env.action_space.sample(mask=info["action_mask"]))
        env.reset()
    copied = how(env)
    asked = []
    for one in (env, copied):
        Asked.seeds.clear()
        for _ in range(2):
            one.step(env.action_space.sample(mask=info["action_mask"]))
            one.reset()
        asked.append(list(Asked.seeds))
    assert asked[0] == asked[1]
    assert len(set(asked[0])) == len(asked[0])


def test_copies_share_an_evaluator_that_was_given():
    """It is the caller's, and may be what cannot be copied."""
    evaluator = RecordingEvaluator()
    env = EASEnv(evaluator=evaluator)
    copied = copy.deepcopy(env)
    assert copied.evaluator() is evaluator
    assert copied.evaluator is not env.evaluator


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """A short episode with real training; tests with the same cache train the start network once."""
    cache = str(tmp_path_factory.mktemp("cache"))
    return {"epochs": 1, "start_epochs": 1, "schedule": ["widen"], "cache_dir": cache}


def episode(env, widen=0):
    env.reset()
    layers = np.zeros(env.action_space["widen"].shape, np.int8)
    layers[..., 0] = widen
    *_, end = [env.step({"deepen": np.zeros(env.action_space["deepen"].shape, np.int64), "widen": layers})]
    assert np.all(end[TERMINATED])
    return end[REWARD]


@pytest.mark.parametrize("how", [copy.deepcopy, pickled])
@pytest.mark.parametrize("batch", [False, True])
def test_an_environment_that_has_trained_can_be_copied(options, how, batch):
    """deepcopy ended in "Should only create a single instance of _DefaultDistributionStrategy", pickle likewise."""
    env = gym.make_vec("EAS-Digits-v0", num_envs=2, **options) if batch else gym.make("EAS-Digits-v0", **options)
    env.reset(seed=0)
    episode(env)
    copied = how(env)
    rewards = episode(env, widen=1)
    env.close()
    np.testing.assert_array_equal(episode(copied, widen=1), rewards)
    copied.close()
    assert np.all(episode(how(copied)) > 0)


@pytest.mark.parametrize("how", [copy.deepcopy, pickled, lambda env: env.close() or env])
def test_an_episode_from_a_trained_parent_does_not_outlive_a_copy_or_close(options, how):
    """The weights that are lost are those of the networks that the environment has trained, and the error says so."""
    env = gym.make("EAS-Digits-v0", **options | {"schedule": ["widen"] * 2})
    _, info = env.reset(seed=0)
    action = {"deepen": np.zeros(3, np.int64), "widen": np.eye(len(info["action_mask"]["widen"]), dtype=np.int8)[0]}
    for _ in range(2):
        *_, info = env.step(action)
    env.reset(options={"parent": info["architecture"]})
    env.step(action)
    copied = how(env)
    with pytest.raises(InvalidConfiguration, match=r"none of .*copied, unpickled or closed.*call reset\(\)"):
        copied.step(action)
    copied.close()
    with pytest.raises(InvalidConfiguration, match=r"Nothing was trained here since .* copied, unpickled or closed"):
        copied.reset(options={"parent": info["architecture"]})
    copied.reset()
    for _ in range(2):
        *_, again = copied.step(action)
    assert again["architecture"] == info["architecture"]
    copied.reset(options={"parent": info["architecture"]})
    copied.close()
    env.close()


def test_a_training_evaluator_itself_is_refused_in_one_line(options):
    source = gym.make("EAS-Digits-v0", **options).unwrapped.evaluator
    env = EASEnv(evaluator=source(), space="digits", input_shape=(8, 8, 1), schedule=["widen"])
    assert copy.deepcopy(env).evaluator() is source()
    for how in (pickled, lambda env: copy.deepcopy(env.evaluator())):
        with pytest.raises(InvalidConfiguration, match=r'^A TrainEvaluator cannot be .* Give .* evaluator="train".*$'):
            how(env)
    source.close()


def test_an_environment_may_be_used_on_and_closed_in_another_thread(options):
    """It said that the cache of results was damaged and should be deleted."""
    env = gym.make("EAS-Digits-v0", **options)
    episode(env)
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(episode, env, 1).result() > 0
        thread.submit(env.close).result()


def test_two_environments_in_two_threads_are_as_two_in_one(options, tmp_path):
    """Each with its own folder of results: the start network alone is there."""
    episode(gym.make("EAS-Digits-v0", **options))

    def run(name):
        shutil.copytree(options["cache_dir"], tmp_path / name, ignore=shutil.ignore_patterns("results*"))
        env = gym.make("EAS-Digits-v0", **options | {"cache_dir": str(tmp_path / name)})
        env.reset(seed=4)
        reward = episode(env, widen=1)
        env.close()
        return reward

    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(run, ["one", "other"]))
    assert together == [run("alone")] * 2
