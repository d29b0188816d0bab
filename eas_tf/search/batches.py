"""The agent, the environments and the networks, batch by batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from eas_tf.agents.base import Agent
from eas_tf.errors import RunDamaged
from eas_tf.evaluation import Request, Result
from eas_tf.evaluation.cache import ResultCache
from eas_tf.evaluation.child import Child
from eas_tf.evaluation.engine import Engine
from eas_tf.evaluation.families import Families
from eas_tf.evaluation.train import TrainEvaluator
from eas_tf.runs.directory import RunDirectory
from eas_tf.runs.progress import Progress
from eas_tf.runs.record import Batch, Network
from eas_tf.search.ending import accuracy as accuracy
from eas_tf.search.episodes import chosen_parents, make_envs, play
from eas_tf.search.learning import Learning
from eas_tf.search.limits import Limits
from eas_tf.search.networks import Networks, grown_from
from eas_tf.search.plan import Plan
from eas_tf.search.rows import result_of, row

#: Networks that an agent samples before it learns (paper: 10).
BATCH_OF_NETWORKS = 10


@dataclass(frozen=True, kw_only=True)
class _Slot:
    """A batch, done or to come."""

    number: int
    stage: int
    place: int
    """In its stage, from 0."""
    size: int


class Batches:
    """The agent, the environments and the networks, batch by batch."""

    def __init__(
        self,
        plan: Plan,
        run: RunDirectory,
        engine: Engine,
        cache: ResultCache | None,
        limits: Limits,
        networks: Networks,
        progress: Progress,
    ) -> None:
        self._plan, self._run, self._engine, self._cache = plan, run, engine, cache
        self._limits, self._networks, self._progress = limits, networks, progress
        self._learning = Learning(plan, run, networks, progress)

    def run(self) -> None:
        """All that is left.

        Raises:
            Stopped: If it shall end before.
        """
        self._progress.begin(len(self._networks), self._limits.seconds_left)
        agent = self._learning.agent()  # first, because what is no agent is refused here
        self._networks.train_start(self._learning.start_seed)
        learned = self._learning.restore(agent)
        for slot in self._slots():
            if slot.number > learned:
                if slot.place == 0 and slot.stage > 1 and self._plan.config.controller == "reset":
                    agent = self._learning.agent()
                self._play(slot, agent)

    def _slots(self) -> Iterator[_Slot]:
        """The batches of all stages: as large as they were, and to come as large as they may be."""
        number = 0
        for stage, left in enumerate(self._plan.config.stage_sizes, 1):
            place = 0
            while left > 0:
                number += 1
                begun = self._learning.batches.get(number)
                size = begun.size if begun and begun.stage == stage else min(BATCH_OF_NETWORKS, left)
                yield _Slot(number=number, stage=stage, place=place, size=size)
                left, place = left - size, place + 1

    def _parent(self, slot: _Slot) -> int:
        """The network that the children of a batch grow from, unless the agent chooses others."""
        every, batches = self._plan.config.restart_every, self._learning.batches
        if slot.number in batches:
            return batches[slot.number].parent
        if slot.place == 0:
            return self._networks.promote(slot.stage) if slot.stage > 1 else 0
        return self._networks.best.id if every and slot.place % every == 0 else batches[slot.number - 1].parent

    def _parents(self, slot: _Slot, before: Sequence[Network], agent: Agent) -> list[int]:
        """The network that each child of a batch grows from."""
        chosen = chosen_parents(agent, self._learning.outcomes(before), slot.size)
        if chosen is None:
            return [self._parent(slot)] * slot.size
        parents = grown_from(before, agent.population)
        return [parents[before[place].architecture] for place in chosen]

    def _play(self, slot: _Slot, agent: Agent) -> None:
        self._learning.begin(Batch(id=slot.number, stage=slot.stage, parent=self._parent(slot), size=slot.size))
        # The best of a stage comes before the batches of the next, and belongs to no batch.
        before = [n for n in self._networks.all if n.batch < slot.number and n.stage <= slot.stage]
        parents, first = self._parents(slot, before, agent), len(before)
        evaluator = TrainEvaluator(
            Families(self._networks.grow_from(parents)),
            self._engine,
            validation_images=self._plan.validation_images,
            stopping=self._plan.config.stopping,
            cache=self._cache,
            on_child=partial(self._finished, slot, first),
            recall=partial(self._recall, first),
            admission=self._limits,
        )
        children = [network for network in before if network.kind == "child"]
        for network in children:
            if network.parent in parents:
                evaluator.remember(self._networks.request(network.id), result_of(network))
        envs = make_envs(self._plan, slot.size, evaluator)
        envs.reset(seed=self._learning.env_seed + len(children))
        outcomes, learned = play(envs, agent, [self._networks.architecture(parent) for parent in parents])
        self._learning.end(slot.number, outcomes, learned, agent)

    def _finished(self, slot: _Slot, first: int, number: int, request: Request, child: Child) -> None:
        finished = row(
            self._plan,
            first + number,
            "child",
            request,
            child,
            parent=self._networks.parent(request),
            stage=slot.stage,
            batch=slot.number,
            epochs=self._plan.recipe.epochs,
        )
        self._networks.add(finished, child.graph)

    def _recall(self, first: int, number: int, request: Request) -> Result | None:
        """The result of a child that another process has finished.

        Raises:
            RunDamaged: If it had asked for another one.
        """
        if first + number not in self._networks:
            return None
        network = self._networks[first + number]
        asked = {
            "transformations": " ".join(map(str, request.transformations)),
            "parent": self._networks.parent(request),
            "seed": request.seed,
        }
        had = {name: getattr(network, name) for name in asked}
        if differs := [f"{name} {asked[name]!r} (it has {had[name]!r})" for name in asked if asked[name] != had[name]]:
            raise RunDamaged(
                f"{self._run.path} cannot go on exactly: network {network.id} would now have {', '.join(differs)}. Has "
                "the run begun with other versions (config.json), or on another kind of processor? Go on there, or "
                "begin a new run."
            )
        return result_of(network)
