"""Real children: each trained once, wherever the engine trains them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

from eas_tf.architecture import Transformation
from eas_tf.evaluation.cache import ResultCache
from eas_tf.evaluation.child import Child, Family
from eas_tf.evaluation.engine import Engine
from eas_tf.evaluation.engine_config import StoppingName
from eas_tf.evaluation.protocol import Request, Result
from eas_tf.evaluation.stopping import median_floors
from eas_tf.surgery import LayerGraph
from eas_tf.training.recipe import Recipe

#: Gives a trained network, or None for a child that failed. One that was not trained for this request is trained now.
GiveNetwork: TypeAlias = Callable[[], LayerGraph | None]

#: Told of a request's number, counted from 0 over the evaluator's life, the request, its result and its network.
OnResult: TypeAlias = Callable[[int, Request, Result, GiveNetwork], None]

_Key: TypeAlias = tuple[tuple[Transformation, ...], Recipe | None]


class TrainEvaluator:
    """Evaluates children of one parent by training them.

    Two requests for the same transformations are one child: the first is trained, the second has its result.

    Args:
        family: What the children have in common.
        engine: Trains them.
        validation_images: How many images the engine validates on.
        stopping: Whether children end early that are worse than those of earlier calls of `evaluate`.
        cache: Results of earlier runs, which are not trained again.
        on_result: Told of each child as soon as it is finished.
    """

    def __init__(
        self,
        family: Family,
        engine: Engine,
        *,
        validation_images: int,
        stopping: StoppingName = "off",
        cache: ResultCache | None = None,
        on_result: OnResult | None = None,
    ) -> None:
        self._family, self._engine, self._cache, self._on_result = family, engine, cache, on_result
        self._stopping = stopping
        self.parent, self.validation_images = family.digest, validation_images
        self._known: dict[_Key, Result] = {}
        self._asked = 0

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Result]:
        """The results, in the order asked, each as soon as it is known."""
        requests = [replace(request, floors=self._floors(request)) for request in requests]
        before, ready = self._asked, 0
        self._asked += len(requests)
        results: dict[int, Result] = {}
        for number, child in self._children(requests):
            results[number] = child.result
            if self._on_result:
                self._on_result(before + number, requests[number], child.result, self._network(requests[number], child))
            while ready in results:
                yield results.pop(ready)
                ready += 1

    def close(self) -> None:
        """End the engine and close the cache."""
        self._engine.close()
        if self._cache:
            self._cache.close()

    def _floors(self, request: Request) -> tuple[float, ...] | None:
        """What is asked of a child: by all earlier ones with its recipe, so that no order of finishing decides."""
        if self._stopping == "off":
            return None
        siblings = (result for (_, recipe), result in self._known.items() if recipe == request.recipe)
        curves = [result.curve for result in siblings if not result.stopped and not result.failure]
        return median_floors(curves) if self._stopping == "median" else ()

    def _network(self, request: Request, child: Child) -> GiveNetwork:
        if not child.result.reused:
            return lambda: child.graph
        return lambda: next(iter(self._engine.run(self._family, [request])))[1].graph

    def _children(self, requests: Sequence[Request]) -> Iterator[tuple[int, Child]]:
        """The numbers of requests with their children: those that are known first."""
        unknown: dict[_Key, list[int]] = {}
        for number, request in enumerate(requests):
            if result := self._find(request):
                yield number, Child(result=result)
            else:
                unknown.setdefault(_key(request), []).append(number)
        equals = list(unknown.values())
        for place, child in self._engine.run(self._family, [requests[number] for number, *_ in equals]):
            first, *others = equals[place]
            self._keep(requests[first], child.result)
            yield first, child
            yield from ((number, Child(result=_reused(child.result))) for number in others)

    def _find(self, request: Request) -> Result | None:
        if _key(request) in self._known:
            return self._known[_key(request)]
        result = self._cache.get(self._family, request) if self._cache else None
        if result:
            self._known[_key(request)] = _reused(result)
        return self._known.get(_key(request))

    def _keep(self, request: Request, result: Result) -> None:
        self._known[_key(request)] = _reused(result)
        if self._cache and not result.failure:
            self._cache.put(self._family, request, result)


def _key(request: Request) -> _Key:
    """What makes two requests of one evaluator the same child, whatever their seeds are."""
    return request.transformations, request.recipe


def _reused(result: Result) -> Result:
    return replace(result, seconds=0.0, reused=True)
