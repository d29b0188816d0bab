"""A batch that nobody has chosen fits a small data set, as in a search; a chosen one is refused."""

import warnings

import gymnasium as gym
import numpy as np
import pytest

from eas_tf.errors import InvalidConfiguration


@pytest.fixture
def small(tmp_path):
    """Options of an environment with 15 training images."""
    y = np.arange(20) % 2
    x = np.random.default_rng(0).integers(0, 200, (20, 8, 8, 1)) + 50 * y[:, None, None, None]
    np.savez(tmp_path / "small.npz", x_train=x.astype(np.uint8), y_train=y)
    return {
        "dataset": str(tmp_path / "small.npz"), "space": "digits", "input_shape": (8, 8, 1), "classes": 2,
        "epochs": 1, "start_epochs": 1, "cache_dir": str(tmp_path / "cache"), "schedule": ("widen",),
    }  # fmt: skip


def accuracy(env):
    env.reset(seed=0)
    env.action_space.seed(0)
    *_, info = env.step(env.action_space.sample())
    return info["accuracy"]


def test_a_default_batch_is_lowered_and_that_is_said(small):
    env = gym.make("EAS-Cifar10-v0", disable_env_checker=True, **small)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        lowered = accuracy(env)
    assert any("batch is 8, because 64 is more than the 15 training images." in str(each.message) for each in told)
    assert accuracy(gym.make("EAS-Cifar10-v0", disable_env_checker=True, batch=8, **small)) == lowered


def test_a_chosen_batch_is_refused_in_one_line(small):
    with pytest.raises(InvalidConfiguration, match="at most the 15 training images"):
        accuracy(gym.make("EAS-Cifar10-v0", disable_env_checker=True, batch=64, **small))
