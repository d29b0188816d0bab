"""An accuracy in closed form, for work on agents: deterministic, in microseconds, with a known best network."""

from collections.abc import Iterator, Sequence
from math import exp

from eas_tf.architecture import AnySpace, Architecture, distance_of
from eas_tf.evaluation.protocol import Request, Result

#: What a network at the optimum reaches, and one that is infinitely far from it.
BEST, WORST = 0.95, 0.10


class SurrogateEvaluator:
    """Scores a network by its distance from an ideal one, which its space knows.

    The accuracy is WORST + (BEST - WORST) * exp(-distance). See `PlainOptimum` and `DenseNetOptimum`.
    """

    validation_images = 5_000

    def __init__(self, space: AnySpace) -> None:
        self._space = space

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Result]:
        """The results, in the order asked."""
        for request in requests:
            yield Result(accuracy=self.accuracy(request.architecture), loss=None, seconds=0.0)

    def close(self) -> None:
        """Nothing was started."""

    def accuracy(self, architecture: Architecture) -> float:
        """The accuracy of a network, from `WORST` to `BEST`."""
        return WORST + (BEST - WORST) * exp(-distance_of(self._space, architecture))

    def optimum(self, architecture: Architecture) -> Architecture:
        """The ideal network with what transformations cannot change, whose accuracy is `BEST`."""
        optimum: Architecture = self._space.optimum(architecture)
        return optimum
