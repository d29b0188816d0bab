"""Evaluators by name: those that give an accuracy without images, trainers or workers."""

from collections.abc import Callable
from difflib import get_close_matches

from eas_tf.architecture import AnySpace
from eas_tf.errors import InvalidConfiguration
from eas_tf.evaluation.nasbench201 import NASBench201Evaluator
from eas_tf.evaluation.protocol import Evaluator
from eas_tf.evaluation.surrogate import SurrogateEvaluator
from eas_tf.naming import register_maker


def _surrogate(space: AnySpace, dataset: str) -> Evaluator:  # noqa: ARG001 - a closed form has no data
    return SurrogateEvaluator(space)


#: What makes the evaluator of that name, from a space and the name of a data set.
EVALUATORS: dict[str, Callable[[AnySpace, str], Evaluator]] = {
    "surrogate": _surrogate,
    "nasbench201": NASBench201Evaluator,
}


def register_evaluator(name: str, make: Callable[[AnySpace, str], Evaluator]) -> None:
    """Make an evaluator known by its name, to `gymnasium.make(..., evaluator=name)`.

    Args:
        name: Its name.
        make: Called with the environment's space and its `dataset`, when the first episode ends.

    Raises:
        InvalidConfiguration: If another evaluator has that name, or `make` cannot be called.
    """
    if name == "train":
        raise InvalidConfiguration("There is an evaluator 'train' already: name yours otherwise.")
    register_maker(EVALUATORS, name, make, "an evaluator")


def check_evaluator(name: str) -> None:
    """Refuse a name that no evaluator has.

    Raises:
        InvalidConfiguration: With the names that there are.
    """
    names = ["train", *EVALUATORS]
    if name not in names:
        near = "".join(f" Did you mean {each!r}?" for each in get_close_matches(str(name), names, 1))
        raise InvalidConfiguration(f"The evaluators are {', '.join(names)}. Received: {name!r}.{near}")
