"""What a network is worth: a closed form for work on agents, or training for a few epochs.

`eas_tf.evaluation.train` imports TensorFlow; this module does not.
"""

from eas_tf.evaluation.protocol import Evaluator, Request, Result
from eas_tf.evaluation.surrogate import SurrogateEvaluator

__all__ = ["Evaluator", "Request", "Result", "SurrogateEvaluator"]
