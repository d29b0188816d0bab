"""A search by the clock: the start network, rounds in which grown networks compete with it, one long last training.

In each round the best network so far is trained on, and beside it a few children of its own, all for equally many
passes over the training images: after equal times the smallest would win, which has seen the images most often, and in
the last training every network sees them often enough. What could not is not grown. The best child is the parent of the
next round unless it is worse than noise explains; else the network itself goes on.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from math import inf, sqrt

import numpy as np

from eas_tf.agents.base import Agent
from eas_tf.architecture import space_named
from eas_tf.architecture.layerwise import Layerwise
from eas_tf.architecture.work import work
from eas_tf.errors import InvalidConfiguration, Stopped
from eas_tf.evaluation import Evaluator, Request, Result
from eas_tf.evaluation.child import Child
from eas_tf.evaluation.engine import Engine
from eas_tf.evaluation.families import Families
from eas_tf.evaluation.start import seconds_of_step
from eas_tf.evaluation.train import TrainEvaluator
from eas_tf.runs.directory import RunDirectory
from eas_tf.runs.progress import Progress
from eas_tf.runs.ranking import ranked
from eas_tf.runs.record import Batch, Network
from eas_tf.search.episodes import chosen_parents, make_envs, play
from eas_tf.search.learning import Learning
from eas_tf.search.limits import Limits
from eas_tf.search.networks import Networks
from eas_tf.search.plan import Plan
from eas_tf.search.rows import row
from eas_tf.search.sampling import random_children
from eas_tf.search.speed import Speed
from eas_tf.search.timetable import ENOUGH_EPOCHS, LEAST_EPOCHS, LEAST_SECONDS, Timetable, compared
from eas_tf.training.trainer import Trainer

#: How many times as long as planned an epoch of a child may take: spaces count work, and not seconds.
SLACK = 1.1

#: The initial rate of networks that are compared.
RATE = 0.05

#: Networks in a round, if there is time for so many.
MOST_NETWORKS = 10

#: Networks that are trained one after the other in a round, where few are trained at once.
WAVES = 2

#: Children among which the smallest shows how the cost of networks grows, if there are so many seconds.
CHILDREN_SEEN, SECONDS_TO_LOOK = 10, 60.0

#: Seconds that a child takes beside its training, until one has been seen.
OVERHEAD = 0.8

#: How many times as long a step takes on a share of the machine, until one has been seen.
SHARED = 1.8


def make_timetable(plan: Plan, trainer: Trainer, begun: float) -> tuple[Timetable, Speed] | None:
    """How a search by the clock shares its time, by the speed of this machine; None for another search.

    Raises:
        InvalidConfiguration: If it is too short for one pass of the start network over the training images.
    """
    if plan.config.hours is None:
        return None
    images, total, speed = plan.images, plan.config.hours * 3600, Speed()
    steps = len(images.x_train) // plan.config.batch
    epoch = steps * seconds_of_step(trainer, images, plan.start, plan.start_recipe)
    speed.saw(plan.start, epoch)
    tests = 0 if images.y_test is None else 2 * len(images.y_test)  # by the start network, too
    table = Timetable(
        total=total,
        begun=time.monotonic() - begun,
        epoch=epoch,
        measured=(len(images.x_val) + tests) / len(images.x_train),
    )
    if table.end - table.begun < epoch:
        needed = (table.begun + epoch + total - table.end) / 3600
        raise InvalidConfiguration(
            f"`hours` {plan.config.hours:g} is too short: one epoch of the start network takes {epoch:.1f} s on this "
            f"machine, and a search at least {1.1 * needed:.4f} hours."
        )
    children = [request.architecture for request in random_children(plan, CHILDREN_SEEN)]
    larger = min(children, key=lambda child: child.multiply_adds)
    if table.end - table.begun > SECONDS_TO_LOOK:
        speed.saw(larger, steps * seconds_of_step(trainer, images, larger, plan.start_recipe))
    return table, speed


class Rounds:
    """The whole of such a search, but for the report.

    Args:
        plan: What is searched.
        run: Where rows and weights are kept.
        engine: Trains networks that are compared.
        trainer: Trains the others.
        limits: The budget, and somebody's wish to end.
        networks: All of the run so far.
        progress: Told of all that happens.
        timetable: When which phase ends.
        speed: What networks cost here.
    """

    def __init__(
        self,
        plan: Plan,
        run: RunDirectory,
        engine: Engine,
        trainer: Trainer,
        limits: Limits,
        networks: Networks,
        progress: Progress,
        timetable: Timetable,
        speed: Speed,
    ) -> None:
        self._plan, self._run, self._engine, self._trainer = plan, run, engine, trainer
        self._limits, self._networks, self._progress, self._timetable = limits, networks, progress, timetable
        self._speed = speed
        self._learning = Learning(plan, run, networks, progress)
        self._grows, self._overhead = True, OVERHEAD
        self._slowdown = SHARED if engine.at_once > 1 else 1.0

    def run(self) -> None:
        """All that is left.

        Raises:
            Stopped: If somebody interrupts it.
        """
        table, networks = self._timetable, self._networks
        if self._limits.worked() > table.end and not networks.final:
            raise InvalidConfiguration(
                f"The time of {self._run.path} is used up: `hours` {self._plan.config.hours:g}, of which "
                f"{self._limits.worked() / 3600:.4f} are worked. To go on, give more `hours`."
            )
        self._progress.count(self._limits.worked)
        self._progress.phase("start network", table.start)
        networks.train_start(self._learning.start_seed, seconds_left=lambda: table.start - self._limits.worked())
        agent = self._learning.agent(population=2 * MOST_NETWORKS)
        self._learning.restore(agent)
        while not networks.final and (following := self._next()):
            self._progress.phase(f"round {len(self._learning.batches) + 1}", table.found)
            self._round(agent, *following)
        if not networks.final:
            best = self._best()
            end = table.end_for(self._epoch(best) / table.epoch)
            self._progress.phase(f"training network {best.id} to its end", end)
            networks.train_final(
                best, self._trainer, self._plan.final_recipe, seconds_left=lambda: end - self._limits.worked()
            )

    def _best(self) -> Network:
        """The network that the next round is about, or the last training.

        A child counts as better as long as it is not worse than noise explains: a larger network gains more from the
        last training, which is many times as long. Among those it is the one with the least loss, which is less a
        matter of chance than the number of images that a network classifies right.
        """
        latest = [network for network in self._networks.all if network.batch and not network.failure]
        latest = [network for network in latest if network.batch == latest[-1].batch]
        if not latest:
            return self._networks[0]
        grown = [network for network in latest if network.kind == "child"]
        best = ranked(latest)[0]
        good = [network for network in grown if network.score >= best.score - self._noise(best)]
        return min(good, key=lambda network: network.loss or inf) if good else best

    def _noise(self, network: Network) -> float:
        """By how much the difference of two figures like this one is a matter of chance, in 95 of 100 cases."""
        return 1.96 * sqrt(2 * network.accuracy * (1 - network.accuracy) / self._plan.validation_images)

    def _next(self) -> tuple[float, float] | None:
        """Seconds of the next round, and how much larger its networks may be; None if there is none."""
        if self._limits.interrupted:
            raise Stopped("The search is not at its end.")
        if not self._grows:
            return None
        now, epoch = self._limits.worked(), self._epoch(self._best())
        passes = LEAST_EPOCHS * epoch * self._share

        def least(growth: float) -> float:
            children = (self._least - 1) * max(LEAST_SECONDS, passes * growth)
            return max(LEAST_SECONDS, passes) + children + self._least * self._overhead / self._engine.at_once

        return self._timetable.round(now, self._timetable.most(now) / epoch, least)

    def _epoch(self, network: Network) -> float:
        """Seconds of a pass over the training images, alone on the machine."""
        return self._speed.epoch(self._networks.architecture(network.id))

    @property
    def _share(self) -> float:
        """What a second of a network that is alone on the machine takes of a round."""
        return self._slowdown / self._engine.at_once

    @property
    def _least(self) -> int:
        """Networks in a short round."""
        return max(3, WAVES * self._engine.at_once if self._engine.at_once < 8 else self._engine.at_once)

    def _round(self, agent: Agent, seconds: float, growth: float) -> None:
        number, best = len(self._learning.batches) + 1, self._best()
        most = growth * self._epoch(best)
        size = max(self._least, min(MOST_NETWORKS, int(seconds / (ENOUGH_EPOCHS * most * self._share))))
        self._learning.begin(Batch(id=number, stage=1, parent=best.id, size=size))
        before = self._networks.all
        parents = self._parents(agent, before, best, size - 1)

        def finished(place: int, request: Request, child: Child) -> None:
            self._look_at(child.result, request)
            network = row(
                self._plan,
                len(before) + place,
                "child" if request.transformations else "promoted",
                request,
                child,
                parent=self._networks.parent(request),
                stage=1,
                batch=number,
                epochs=max(1, round(child.result.epochs)),
            )
            self._networks.add(network, child.graph)

        trained = TrainEvaluator(
            Families(self._networks.grow_from([best.id, *parents])),
            self._engine,
            validation_images=self._plan.validation_images,
            on_child=finished,
            admission=self._limits,
        )
        contest = _Contest(trained, self._itself(best, number), partial(self._shared, seconds, most))
        envs = make_envs(self._limited(most, [best.id, *parents]), size - 1, contest)
        envs.reset(seed=self._learning.env_seed + number)
        outcomes, learned = play(envs, agent, [self._networks.architecture(parent) for parent in parents])
        self._grows = contest.children > 0
        self._learning.end(number, outcomes, learned, agent)

    def _parents(self, agent: Agent, before: Sequence[Network], best: Network, children: int) -> list[int]:
        """The network that each child of a round grows from: the best one, unless the agent chooses others."""
        chosen = chosen_parents(agent, self._learning.outcomes(before), children)
        return [best.id] * children if chosen is None else [before[place].id for place in chosen]

    def _itself(self, best: Network, number: int) -> Request:
        """The best network, which is trained on."""
        seed = int(np.random.SeedSequence([self._plan.config.seed, number]).generate_state(1)[0] >> 1)
        return Request(
            parent=best.architecture,
            transformations=(),
            architecture=self._networks.architecture(best.id),
            seed=seed,
        )

    def _limited(self, most: float, parents: Sequence[int]) -> Plan:
        """The plan with a space of networks of which a pass over the images takes at most so long, if it has limits.

        Parents stay inside, however slow they are, and a limit of the space's own holds.
        """
        space = self._plan.space
        if not isinstance(space, Layerwise):
            return self._plan
        largest = max(work(self._networks.architecture(parent)) for parent in parents)
        limit = int(max(largest, min(self._speed.work(most), space.max_work or inf)))
        return replace(self._plan, space=space_named(self._plan.space, max_work=limit))

    def _shared(self, seconds: float, most: float, networks: Sequence[Request]) -> dict[int, Request]:
        """The networks of a round that are trained, by their places, with the recipe of each."""
        costs = [self._speed.epoch(request.architecture) for request in networks]
        places = [place for place, cost in enumerate(costs) if not place or cost <= SLACK * most]
        overhead = self._overhead / self._engine.at_once
        passes, chosen = compared([costs[place] * self._share for place in places], seconds, overhead)
        recipe, trained = replace(self._plan.recipe, learning_rate=RATE), {}
        for place in [places[each] for each in chosen]:
            alone = max(LEAST_SECONDS, passes * costs[place] * self._slowdown)
            trained[place] = replace(networks[place], recipe=replace(recipe, seconds=alone))
        return trained

    def _look_at(self, result: Result, request: Request) -> None:
        """Learn from a network how long the next ones will take."""
        seconds = request.recipe.seconds if request.recipe else None
        if not seconds or not result.epochs:
            return
        self._overhead = max(0.5, result.seconds - seconds)
        epoch = seconds / result.epochs
        if self._engine.at_once == 1:
            self._speed.saw(request.architecture, epoch)
        else:
            self._slowdown = max(1.0, epoch / self._speed.epoch(request.architecture))


class _Contest:
    """The evaluator of a round: it trains the best network beside its children, and no child that is too slow.

    Args:
        trained: Trains networks.
        itself: The request for the best network.
        shared: Says which of them are trained, and how, by their places.
    """

    def __init__(
        self, trained: Evaluator, itself: Request, shared: Callable[[Sequence[Request]], dict[int, Request]]
    ) -> None:
        self._trained, self._itself, self._shared = trained, itself, shared
        self.children = 0
        self.validation_images = trained.validation_images

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Result]:
        """The results, in the order asked."""
        wanted = self._shared([self._itself, *requests])
        self.children = len(wanted) - 1
        results = self._trained.evaluate([*wanted.values()]) if self.children else iter(())
        if self.children:
            next(results)
        for place in range(1, len(requests) + 1):
            slow = "a pass over the images takes it too long for what is left of the time"
            yield next(results) if place in wanted else Result(accuracy=0.0, loss=None, seconds=0.0, failure=slow)
        for _ in results:  # the evaluator ends in an orderly way
            pass

    def close(self) -> None:
        """Close what trains."""
        self._trained.close()
