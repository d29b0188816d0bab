"""Evaluators by name: those that give an accuracy without images, trainers or workers; and what any of them answers."""

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from itertools import islice
from numbers import Integral, Real
from typing import Any

from eas_tf.architecture import AnySpace
from eas_tf.errors import InvalidConfiguration
from eas_tf.evaluation.nasbench201 import NASBench201Evaluator
from eas_tf.evaluation.protocol import Evaluator, Request, Result
from eas_tf.evaluation.surrogate import SurrogateEvaluator
from eas_tf.naming import register_maker
from eas_tf.text import printable


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
        make: Called with the environment's space and its `dataset`, when the environment is made.

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


def make_evaluator(name: str, space: AnySpace, dataset: str) -> Evaluator:
    """The evaluator of a name among `EVALUATORS`.

    Raises:
        InvalidConfiguration: If what its maker returns is no evaluator.
    """
    made: Any = EVALUATORS[name](space, dataset)
    if isinstance(made, type) or not isinstance(made, Evaluator):
        raise InvalidConfiguration(
            f"What makes the evaluator {name!r} returns an object with what eas_tf.evaluation.Evaluator has. Received: "
            f"{printable(made, 60)}"
        )
    return made


def results_of(evaluator: Evaluator, requests: Sequence[Request]) -> list[Result]:
    """What an evaluator answers, if it is what `Evaluator` promises.

    Raises:
        InvalidConfiguration: If there are more or fewer results than requests, one of them is no `Result` or has no
            accuracy from 0 to 1, or the evaluator does not say how many images accuracies are measured on.
    """
    who = type(evaluator).__name__
    images: Any = evaluator.validation_images
    if not isinstance(images, Integral) or images < 1:
        raise InvalidConfiguration(
            "`validation_images` of an evaluator is how many images accuracies are measured on, at least 1. Received "
            f"from {who}: {printable(images, 60)}"
        )
    answered: Any = evaluator.evaluate(requests)
    # One more than there may be: so evaluators that end are run to their end, and others are refused.
    results = list(islice(answered, len(requests) + 1)) if isinstance(answered, Iterable) else answered
    if not isinstance(results, list) or len(results) != len(requests):
        told = printable(results, 60)
        if isinstance(results, list):
            told = "more" if len(results) > len(requests) else f"{len(results)}"
        raise InvalidConfiguration(
            f"`evaluate` of an evaluator gives one Result for each request. Expected of {who}: {len(requests)}. "
            f"Received: {told}"
        )
    for result in results:
        if not _is_result(result):
            raise InvalidConfiguration(
                "An evaluator gives objects of the class Result, whose accuracy is a number from 0 to 1 (not a "
                "percentage), and 0 if there is a failure, which is a text; seconds and loss are numbers. "
                f"Received from {who}: {printable(result)}"
            )
    return results


def _is_result(result: Any) -> bool:
    return (
        isinstance(result, Result)
        and isinstance(result.failure, str | None)
        and isinstance(result.seconds, Real)
        and isinstance(result.loss, Real | None)
        and isinstance(result.accuracy, Real)
        and bool(0 <= result.accuracy <= (0 if result.failure else 1))
    )
