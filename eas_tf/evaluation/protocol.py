"""What an evaluator is asked and what it answers: plain data, so that it can run anywhere."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from eas_tf.architecture import Architecture, Move
from eas_tf.errors import InvalidConfiguration
from eas_tf.metrics import Found, Metric, balanced_accuracy
from eas_tf.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Request:
    """A child to evaluate: its parent, what is done to it, and a seed make it unambiguous."""

    parent: str
    """The layer string of the network that it grows from."""
    transformations: tuple[Move, ...]
    """What turns the parent into the child, in order."""
    architecture: Architecture
    """The child's."""
    seed: int
    """Decides replicas, shares, noise, and the order of the training images."""
    recipe: Recipe | None = None
    """How it is trained, if not as its siblings are."""
    floors: tuple[float, ...] | None = None
    """It ends early if the metric falls short of these, one for each epoch; None if nobody looks before the end."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a child did. A child that failed has accuracy 0 and says why."""

    accuracy: float
    """Fraction of the validation images that it classifies right."""
    loss: float | None
    """Mean cross-entropy on the validation images, in nats; None where nothing was trained."""
    seconds: float
    failure: str | None = None
    curve: tuple[float, ...] = ()
    """What the metric says after each epoch, where somebody looked."""
    stopped: bool = False
    """Whether it ended early because it fell short of its floors."""
    reused: bool = False
    """Whether it was not trained for this request: an equal child was, in this run or in one before."""
    found: Found = ()
    """For each class how many of its validation images it classifies right, and how many there are; empty where no
    images were classified."""
    epochs: float = 0.0
    """Passes over the training images; 0 where nothing was trained."""

    def value(self, metric: Metric) -> float:
        """What the child is worth, before its size is paid for: from 0 to 1, and 0 if it failed.

        Raises:
            InvalidConfiguration: If that needs the classes, and whoever evaluated the child does not tell them.
        """
        if metric == "accuracy" or self.failure:
            return self.accuracy
        if not self.found:
            raise InvalidConfiguration(
                f"`metric` {metric} needs results that say how many images of each class are found."
            )
        return balanced_accuracy(self.found)


@runtime_checkable
class Evaluator(Protocol):
    """Turns requests into results."""

    @property
    def validation_images(self) -> int:
        """How many images an accuracy is measured on."""
        ...

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Result]:
        """The results, in the order asked, each as soon as it is known."""
        ...

    def close(self) -> None:
        """End what it has started. It may be called twice."""
        ...


@runtime_checkable
class NeedsParents(Protocol):
    """What an evaluator has beside `Evaluator` whose children grow from their parents' weights."""

    def check_parent(self, architecture: Architecture) -> None:
        """Refuse a network whose weights it does not have.

        Raises:
            InvalidConfiguration: Naming those that it has.
        """
        ...
