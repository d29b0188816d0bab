"""A search by the clock: the start network, rounds in which grown networks compete with it, one long last training.

In each round the best network so far is trained on, and beside it a few children of its own, all for the same time.
The best child is the parent of the next round unless it is worse than noise explains; else the network itself goes on.
So growth is not shown to pay before the last training, but what clearly loses within the same time is dropped, and what
is too slow to be trained to its end is not grown.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import sqrt

import numpy as np

from eas_tf.agents import make_agent
from eas_tf.agents.base import Agent, Outcome
from eas_tf.architecture import Architecture
from eas_tf.envs.transition import reward
from eas_tf.errors import InvalidConfiguration, Stopped
from eas_tf.evaluation import Evaluator, Request, Result, SurrogateEvaluator
from eas_tf.evaluation.child import Child
from eas_tf.evaluation.engine import Engine
from eas_tf.evaluation.families import Families
from eas_tf.evaluation.start import seconds_of_step
from eas_tf.evaluation.train import TrainEvaluator
from eas_tf.runs.directory import GENERATIONS, RunDirectory
from eas_tf.runs.progress import Progress
from eas_tf.runs.ranking import ranked
from eas_tf.runs.record import Batch, Network
from eas_tf.search.episodes import chosen_parents, make_envs, play
from eas_tf.search.limits import Limits
from eas_tf.search.networks import Networks
from eas_tf.search.plan import Plan
from eas_tf.search.rows import row
from eas_tf.search.sampling import random_children
from eas_tf.search.speed import Speed
from eas_tf.search.timetable import Timetable
from eas_tf.training.recipe import RATE_FROM_SCRATCH, Recipe
from eas_tf.training.trainer import Trainer

#: The initial rate of networks that are compared.
RATE = 0.05

#: Networks that are trained one after the other in a round, where few are trained at once.
WAVES = 2

#: Children among which the largest shows how the cost of networks grows, if there are so many seconds.
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
    speed.saw(plan.start.multiply_adds, epoch)
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
    large = max(children, key=lambda child: child.multiply_adds)
    if table.end - table.begun > SECONDS_TO_LOOK:
        speed.saw(large.multiply_adds, steps * seconds_of_step(trainer, images, large, plan.start_recipe))
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
        self._batches = {batch.id: batch for batch in run.record.batches()}
        seeds = np.random.SeedSequence(plan.config.seed).spawn(3)
        self._start_seed, self._env_seed = (int(seed.generate_state(1)[0] >> 1) for seed in seeds[:2])
        self._rng = np.random.default_rng(seeds[2])
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
        networks.train_start(self._start_seed, seconds_left=lambda: table.start - self._limits.worked())
        agent = self._agent()
        while not networks.final and (seconds := self._seconds()):
            self._progress.phase(f"round {len(self._batches) + 1}", table.found)
            self._round(agent, seconds)
        if not networks.final:
            best = self._best()
            end = table.end_for(self._speed.epoch(best.multiply_adds) / table.epoch)
            self._progress.phase(f"training network {best.id} to its end", end)
            networks.train_final(
                best, self._trainer, self._final_recipe, seconds_left=lambda: end - self._limits.worked()
            )

    def _best(self) -> Network:
        """The network that the next round is about, or the last training.

        A child counts as better as long as it is not worse than noise explains: the last training is many times as long
        as a round, and a larger network gains more from that.
        """
        latest = [network for network in self._networks.all if network.batch and not network.failure]
        latest = [network for network in latest if network.batch == latest[-1].batch]
        if not latest:
            return self._networks[0]
        best = ranked(latest)[0]
        grown = ranked(network for network in latest if network.kind == "child")[:1]
        noise = sqrt(best.accuracy * (1 - best.accuracy) / self._plan.validation_images)
        return grown[0] if grown and grown[0].score >= best.score - noise else best

    @property
    def _final_recipe(self) -> Recipe:
        # As from scratch: at lower rates a network stays near what it has learned by heart (Ash & Adams 2020).
        return replace(self._plan.recipe, learning_rate=RATE_FROM_SCRATCH)

    def _agent(self) -> Agent:
        envs = make_envs(self._plan, 1, SurrogateEvaluator(self._plan.space))
        agent = make_agent(
            self._plan.config.agent, envs.single_observation_space, envs.single_action_space, rng=self._rng
        )
        self._networks.population = max(agent.population, 2 * self._size)
        for batch in sorted(self._batches.values(), key=lambda batch: -batch.id):
            state = self._run.read_state(batch) if batch.state else None
            if state is not None:
                agent.restore(state)
                break
        return agent

    def _seconds(self) -> float | None:
        """Seconds of training for each network of the next round; None if there is none."""
        if self._limits.interrupted:
            raise Stopped("The search is not at its end.")
        if not self._grows:
            return None
        return self._timetable.comparison(
            self._limits.worked(), len(self._batches), -(-self._size // self._engine.at_once), self._overhead
        )

    @property
    def _size(self) -> int:
        """Networks in a round."""
        return max(3, WAVES * self._engine.at_once if self._engine.at_once < 8 else self._engine.at_once)

    def _round(self, agent: Agent, seconds: float) -> None:
        number, best = len(self._batches) + 1, self._best()
        self._commit(Batch(id=number, stage=1, parent=best.id, size=self._size))
        before = self._networks.all
        parents = self._parents(agent, before, best)
        recipe = replace(self._plan.recipe, seconds=seconds, learning_rate=RATE)
        families = [replace(family, recipe=recipe) for family in self._networks.grow_from([best.id, *parents])]

        def finished(place: int, request: Request, child: Child) -> None:
            self._look_at(child.result, request.architecture, seconds)
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
            Families(families),
            self._engine,
            validation_images=self._plan.validation_images,
            on_child=finished,
            admission=self._limits,
        )
        most = self._timetable.most(self._limits.worked(), seconds, self._slowdown)
        contest = _Contest(trained, self._itself(best, number), most, self._speed)
        envs = make_envs(self._plan, self._size - 1, contest)
        envs.reset(seed=self._env_seed + number)
        outcomes, learned = play(envs, agent, [self._networks.architecture(parent) for parent in parents])
        self._grows = contest.children > 0
        self._learned(number, outcomes, learned, agent)

    def _parents(self, agent: Agent, before: Sequence[Network], best: Network) -> list[int]:
        """The network that each child of a round grows from: the best one, unless the agent chooses others."""
        history = [
            Outcome(
                architecture=network.architecture,
                reward=reward(network.score, self._plan.validation_images),
                failure=network.failure,
            )
            for network in before
        ]
        chosen = chosen_parents(agent, history, self._size - 1)
        return [best.id] * (self._size - 1) if chosen is None else [before[place].id for place in chosen]

    def _itself(self, best: Network, number: int) -> Request:
        """The best network, which is trained on."""
        seed = int(np.random.SeedSequence([self._plan.config.seed, number]).generate_state(1)[0] >> 1)
        return Request(
            parent=best.architecture,
            transformations=(),
            architecture=self._networks.architecture(best.id),
            seed=seed,
        )

    def _look_at(self, result: Result, architecture: Architecture, seconds: float) -> None:
        """Learn from a network how long the next ones will take."""
        if result.failure or not result.epochs:
            return
        self._overhead = max(0.5, result.seconds - seconds)
        one = seconds / result.epochs
        if self._engine.at_once == 1:
            self._speed.saw(architecture.multiply_adds, one)
        else:
            self._slowdown = max(1.0, one / self._speed.epoch(architecture.multiply_adds))

    def _learned(self, number: int, outcomes: Sequence[Outcome], learned: dict[str, float], agent: Agent) -> None:
        mean = float(np.mean([outcome.reward for outcome in outcomes]))
        name, digest = self._run.write_state(number, agent.state())
        batch = replace(self._batches[number], reward=mean, learned=json.dumps(learned), state=name, sha256=digest)
        self._commit(batch)
        self._run.forget_checkpoints()
        self._run.forget_states(before=number - GENERATIONS + 1)
        self._run.copy_record()

    def _commit(self, batch: Batch) -> None:
        self._run.record.add(batch, seconds=self._networks.seconds())
        self._batches[batch.id] = batch


class _Contest:
    """The evaluator of a round: it trains the best network beside its children, and no child that is too slow.

    Args:
        trained: Trains networks.
        itself: The request for the best network.
        most: Seconds that a pass of a child over the training images may take.
        speed: What networks cost here.
    """

    def __init__(self, trained: Evaluator, itself: Request, most: float, speed: Speed) -> None:
        self._trained, self._itself, self._most, self._speed = trained, itself, most, speed
        self.children = 0
        self.validation_images = trained.validation_images

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Result]:
        """The results, in the order asked."""
        costs = [self._speed.epoch(request.architecture.multiply_adds) for request in requests]
        fast = [cost <= self._most for cost in costs]
        self.children = sum(fast)
        wanted = [request for request, fits in zip(requests, fast, strict=True) if fits]
        results = self._trained.evaluate([self._itself, *wanted])
        next(results)
        for cost, fits in zip(costs, fast, strict=True):
            if fits:
                yield next(results)
            else:
                why = f"an epoch would take {cost:.1f} s, and there is time for networks that take {self._most:.1f}"
                yield Result(accuracy=0.0, loss=None, seconds=0.0, failure=why)
        for _ in results:  # the evaluator ends in an orderly way
            pass

    def close(self) -> None:
        """Close what trains."""
        self._trained.close()
