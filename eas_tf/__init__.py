"""Efficient Architecture Search for Keras and TensorFlow, with a Gymnasium environment.

>>> import gymnasium as gym
>>> import eas_tf
>>> env = gym.make("EAS-Surrogate-v0")
>>> observation, info = env.reset(seed=0)
>>> action = env.action_space.sample(mask=None)
>>> observation, reward, terminated, truncated, info = env.step(action)
>>> info["architecture"]  # doctest: +ELLIPSIS
'C(16,3,1), ...
"""

from eas_tf.registration import register_environments
from eas_tf.training import forks as _forks  # noqa: F401 - notes every fork from now on

__version__ = "0.1.0"

register_environments()
