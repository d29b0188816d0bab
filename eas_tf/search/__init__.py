"""A whole search: what it is told, its budgets, its networks, batch by batch. `run` is all of it.

Importing this loads no TensorFlow.
"""

from eas_tf.search.config import SearchConfig
from eas_tf.search.run import Found, run

__all__ = ["Found", "SearchConfig", "run"]
