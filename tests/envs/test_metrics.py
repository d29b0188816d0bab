"""Rewards that are made of the mean recall of all classes."""

from math import pi, tan

import gymnasium as gym
import numpy as np
import pytest
from playing import SHORT, RecordingEvaluator

from eas_tf.envs import EASEnv
from eas_tf.errors import InvalidConfiguration
from eas_tf.evaluation import Result

IMBALANCED = Result(accuracy=0.98, loss=None, seconds=0.0, found=((196, 196), (0, 4)))


class Told(RecordingEvaluator):
    """Gives the same result each time."""

    def __init__(self, result):
        super().__init__()
        self._result = result

    def evaluate(self, requests):
        yield from (self._result for _ in requests)


def outcome(result, **options):
    env = EASEnv(evaluator=Told(result), schedule=SHORT, **options)
    _, info = env.reset(seed=0)
    env.action_space.seed(0)
    over = False
    while not over:
        _, reward, over, _, info = env.step(env.action_space.sample(mask=info["action_mask"]))
    return reward, info


@pytest.mark.parametrize(("metric", "worth"), [("accuracy", 0.98), ("balanced_accuracy", 0.5)])
def test_the_reward_follows_the_metric_and_the_accuracy_stays(metric, worth):
    reward, info = outcome(IMBALANCED, metric=metric)
    assert (info["accuracy"], info["score"]) == (0.98, worth)
    assert reward == pytest.approx(tan(worth * pi / 2))
    reward, info = outcome(IMBALANCED, metric=metric, price_parameters=0.07)
    assert info["score"] < worth


def test_a_failed_child_is_worth_nothing():
    failed = Result(accuracy=0.0, loss=None, seconds=0.0, failure="it was lost")
    assert outcome(failed, metric="balanced_accuracy")[0] == 0


def test_evaluators_that_tell_of_no_classes_are_refused_by_name():
    with pytest.raises(InvalidConfiguration, match="balanced_accuracy"):
        outcome(Result(accuracy=0.9, loss=None, seconds=0.0), metric="balanced_accuracy")
    with pytest.raises(InvalidConfiguration, match='evaluator="train"'):
        gym.make("EAS-Surrogate-v0", metric="balanced_accuracy")
    with pytest.raises(InvalidConfiguration, match="`metric` is accuracy or balanced_accuracy"):
        gym.make("EAS-Digits-v0", metric="f1")


def test_a_real_child_is_rewarded_for_its_mean_recall(tmp_path):
    options = {"epochs": 1, "start_epochs": 1, "cache_dir": str(tmp_path), "schedule": ["widen"]}
    env = gym.make("EAS-Digits-v0", metric="balanced_accuracy", **options)
    env.reset(seed=0)
    layers = env.action_space["widen"].n
    action = {"deepen": np.zeros(3, int), "widen": np.zeros(layers, np.int8)}
    _, reward, _, _, info = env.step(action)
    env.close()
    assert 0 < info["score"] < 1
    assert info["score"] != info["accuracy"]
    assert reward == pytest.approx(tan(info["score"] * pi / 2))
