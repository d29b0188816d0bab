"""The Gymnasium environments. `import eas_tf` registers them."""

from eas_tf.envs.environment import EASEnv
from eas_tf.envs.vector import EASVectorEnv
from eas_tf.envs.wrappers import FlatActions

__all__ = ["EASEnv", "EASVectorEnv", "FlatActions"]
