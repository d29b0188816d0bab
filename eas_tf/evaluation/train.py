"""Real children: each trained once, wherever the engine trains them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NoReturn, TypeAlias

from eas_tf.architecture import Architecture, Move
from eas_tf.errors import InvalidConfiguration, Stopped
from eas_tf.evaluation.cache import ResultCache
from eas_tf.evaluation.child import Child, Family
from eas_tf.evaluation.engine import UNLIMITED, Admission, Engine
from eas_tf.evaluation.engine_config import StoppingName
from eas_tf.evaluation.families import Families
from eas_tf.evaluation.protocol import Request, Result
from eas_tf.evaluation.stopping import median_floors
from eas_tf.training.forks import check_fork
from eas_tf.training.recipe import Recipe

#: Told of a request's number in its call of `evaluate`, the request, and the child, which has a network if it was
#: trained for this request.
OnChild: TypeAlias = Callable[[int, Request, Child], None]

#: Gives the result of a request, known by its number in its call of `evaluate`, that was told of in an earlier process.
Recall: TypeAlias = Callable[[int, Request], Result | None]

_Key: TypeAlias = tuple[str, tuple[Move, ...], Recipe | None]


class TrainEvaluator:
    """Evaluates children by training them.

    Two requests for the same transformations of the same parent are one child: the first is trained, the second has
    its result.

    Args:
        families: What the children of each parent have in common.
        engine: Trains them.
        validation_images: How many images the engine validates on.
        stopping: Whether children end early that are worse than those of earlier calls of `evaluate`.
        cache: Results of earlier runs, which are not trained again.
        on_child: Told of each child as soon as it is finished.
        recall: Gives results that were told of before; they are not told of again.
        admission: Asked before each child is trained, and told of it.
    """

    def __init__(
        self,
        families: Families,
        engine: Engine,
        *,
        validation_images: int,
        stopping: StoppingName = "off",
        cache: ResultCache | None = None,
        on_child: OnChild | None = None,
        recall: Recall | None = None,
        admission: Admission = UNLIMITED,
    ) -> None:
        self._families, self._engine, self._cache, self._stopping = families, engine, cache, stopping
        self._on_child, self._recall, self._admission = on_child, recall, admission
        self.validation_images = validation_images
        self._known: dict[_Key, Result] = {}

    def remember(self, request: Request, result: Result) -> None:
        """Take in the result of an earlier call of `evaluate`, in another process or by another evaluator."""
        self._known.setdefault(_key(request), _reused(result))

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Result]:
        """The results, in the order asked, each as soon as it is known.

        Raises:
            InvalidConfiguration: If TensorFlow was used before this process was forked, or a parent has no weights.
            Stopped: If children were not trained because they might not start, after all that are running have ended.
        """
        check_fork()
        for request in requests:
            self._family(request.parent)
        requests = [replace(request, floors=self._floors(request)) for request in requests]
        ready, results = 0, {}
        for number, child in self._children(requests):
            results[number] = child.result
            while ready in results:
                yield results[ready]
                ready += 1
        self._families.forget_oldest()
        if len(results) < len(requests):
            raise Stopped(f"{len(requests) - len(results)} children of {len(requests)} were not trained.")

    def check_parent(self, architecture: Architecture) -> None:
        """See `NeedsParents`."""
        self._family(str(architecture))

    def _family(self, parent: str) -> Family:
        if request := self._families.lost(parent):
            for _, child in self._engine.run([(self._family(request.parent), request)]):
                self._families.add(request, child)
        return self._families[parent]

    def close(self) -> None:
        """End the engine, and close what keeps networks and results."""
        self._engine.close()
        self._families.close()
        if self._cache:
            self._cache.close()

    def __getstate__(self) -> NoReturn:
        raise InvalidConfiguration(
            "A TrainEvaluator cannot be copied or pickled: it holds TensorFlow's state, open files and processes. Give "
            'the environment evaluator="train" and its options instead: each copy then builds an evaluator of its own.'
        )

    def _floors(self, request: Request) -> tuple[float, ...] | None:
        """What is asked of a child: by all earlier ones with its recipe, so that no order of finishing decides."""
        if self._stopping == "off":
            return None
        siblings = (result for (*_, recipe), result in self._known.items() if recipe == request.recipe)
        curves = [result.curve for result in siblings if not result.stopped and not result.failure]
        return median_floors(curves) if self._stopping == "median" else ()

    def _children(self, requests: Sequence[Request]) -> Iterator[tuple[int, Child]]:
        """The numbers of requests with their children: recalled ones, then known ones, then those to be trained."""
        fresh: list[int] = []
        for number, request in enumerate(requests):
            if result := self._recall(number, request) if self._recall else None:
                self.remember(request, result)
                yield number, Child(result=result)
            else:
                fresh.append(number)
        unknown: dict[_Key, list[int]] = {}
        for number in fresh:
            if result := self._find(requests[number]):
                yield self._told(number, requests[number], Child(result=result))
            else:
                unknown.setdefault(_key(requests[number]), []).append(number)
        equals = list(unknown.values())
        asked = [(self._family(requests[number].parent), requests[number]) for number, *_ in equals]
        trained = self._engine.run(asked, self._admission)
        for place, child in trained:
            first, *others = equals[place]
            told = self._told(first, requests[first], child)
            self._keep(requests[first], child.result)  # after the search: an error here must not lose the child
            yield told
            for number in others:
                yield self._told(number, requests[number], Child(result=_reused(child.result)))

    def _told(self, number: int, request: Request, child: Child) -> tuple[int, Child]:
        self._families.add(request, child)
        if self._on_child:
            self._on_child(number, request, child)
        return number, child

    def _find(self, request: Request) -> Result | None:
        if _key(request) in self._known:
            return self._known[_key(request)]
        result = self._cache.get(self._family(request.parent), request) if self._cache else None
        if result:
            self.remember(request, result)
        return self._known.get(_key(request))

    def _keep(self, request: Request, result: Result) -> None:
        self.remember(request, result)
        if self._cache and not result.failure:
            self._cache.put(self._family(request.parent), request, result)


def _key(request: Request) -> _Key:
    """What makes two requests of one evaluator the same child, whatever their seeds are."""
    return request.parent, request.transformations, request.recipe


def _reused(result: Result) -> Result:
    return replace(result, seconds=0.0, reused=True)
