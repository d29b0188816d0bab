"""What a network is worth: a closed form or a table for work on agents, or training for a few epochs.

`eas_tf.evaluation.train` imports TensorFlow; this module does not.
"""

from eas_tf.evaluation.protocol import Evaluator, NeedsParents, Request, Result
from eas_tf.evaluation.registry import (
    EVALUATORS,
    check_evaluator,
    make_evaluator,
    register_evaluator,
    results_of,
)
from eas_tf.evaluation.surrogate import SurrogateEvaluator

__all__ = [
    "EVALUATORS",
    "Evaluator",
    "NeedsParents",
    "Request",
    "Result",
    "SurrogateEvaluator",
    "check_evaluator",
    "make_evaluator",
    "register_evaluator",
    "results_of",
]
