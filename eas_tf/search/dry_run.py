"""What a search will cost, before it is paid: a few steps of each size of network, in the search's own engine."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

import numpy as np
import psutil

from eas_tf.agents import make_agent
from eas_tf.data import ImageData
from eas_tf.evaluation import Request
from eas_tf.evaluation.child import Family
from eas_tf.evaluation.engine import Engine
from eas_tf.evaluation.engines import make_engine
from eas_tf.evaluation.scratch import ScratchFolder
from eas_tf.evaluation.start import memory_of_step, train_start
from eas_tf.search.batches import BATCH_OF_NETWORKS
from eas_tf.search.episodes import make_envs, play
from eas_tf.search.plan import Plan
from eas_tf.search.sampling import Sampler
from eas_tf.surgery import save_network
from eas_tf.training.strategy import make_strategy
from eas_tf.training.trainer import VALIDATION_BATCH, Trainer

#: Steps that are timed; twice as many are taken.
STEPS = 16

#: Size classes of children. Each stands for the same share of them.
CLASSES = 5

#: Batches of networks that are sampled, and not trained, to see how large they are and what the agent itself costs.
SAMPLED_BATCHES = 3


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one size class."""

    architecture: str
    parameters: int
    multiply_adds: int
    """For one image."""
    seconds: float
    """For one whole child."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Of a whole search, in seconds."""

    startup: float
    """Until the first training: imports and data."""
    start: float
    """The start network."""
    workers: float
    """Until the workers, which start up meanwhile, can train."""
    classes: tuple[Cost, ...]
    networks: int
    promoted: float
    """The best networks of stages, trained longer, in children: as many as take as long."""
    at_once: int
    """Children that are trained at once."""
    agent: float
    """What the agent itself takes."""

    @property
    def total(self) -> float:
        """All of it."""
        children = (self.networks / self.at_once + self.promoted) * mean(cost.seconds for cost in self.classes)
        return self.startup + max(self.start, self.workers) + children + self.agent


def estimate(plan: Plan) -> Estimate:
    """Time the parts of a search on a few batches of its images.

    Raises:
        EASError: As `search`.
    """
    startup = time.time() - psutil.Process().create_time()
    few = _few(plan.images, STEPS * plan.config.batch)
    trainer = Trainer(few, make_strategy(plan.config.strategy))
    trainer.check_batch(plan.config.batch)
    folder = ScratchFolder(Path(tempfile.gettempdir()), "eas_tf")
    step = memory_of_step(few, plan.start, plan.config.batch)
    engine = make_engine(plan.config, trainer, few, folder.path, step=step)
    try:
        before = time.perf_counter()
        engine.start()
        recipes = [replace(plan.start_recipe, epochs=epochs) for epochs in (1, 3)]
        parent = train_start(trainer, few, plan.start, recipes[0], seed=0).graph
        save_network(parent, folder.path / "start.keras")
        family = Family(
            parent=folder.path / "start.keras",
            digest=parent.digest,
            architecture=plan.start,
            data=few.fingerprint,
            recipe=replace(plan.recipe, epochs=1),
            symmetry_breaking=plan.config.symmetry_breaking,
        )
        itself = Request(parent=str(plan.start), transformations=(), architecture=plan.start, seed=0)
        # A process's first child takes longer, and so does the first training above.
        first = [child.result.seconds for _, child in engine.run([(family, itself)] * engine.at_once)]
        workers = time.perf_counter() - before - max(first)
        trained = [train_start(trainer, few, plan.start, recipe, seed=0) for recipe in recipes]
        start = _whole(plan, [each.seconds for each in trained], plan.start_recipe.epochs)
        requests, agent = _sample(plan)
        stages = plan.config.stage_sizes
        costs = _costs(plan, engine, family, requests)
        return Estimate(
            startup=startup,
            start=start,
            workers=workers,
            classes=costs,
            networks=min(plan.config.max_networks or sum(stages), sum(stages)),
            promoted=(len(stages) - 1) * plan.config.promote_epochs / plan.recipe.epochs,
            at_once=engine.at_once,
            agent=agent,
        )
    finally:
        engine.close()


def _costs(plan: Plan, engine: Engine, family: Family, requests: Sequence[Request]) -> tuple[Cost, ...]:
    """The size classes of sampled children, each by the child in its middle."""
    by_size = sorted((request.architecture.multiply_adds, number) for number, request in enumerate(requests))
    typical = [requests[by_size[len(by_size) * (2 * place + 1) // (2 * CLASSES)][1]] for place in range(CLASSES)]
    longer = [replace(request, recipe=replace(plan.recipe, epochs=3)) for request in typical]
    children = dict(engine.run([(family, request) for request in [*typical, *longer]]))
    return tuple(
        Cost(
            architecture=str(request.architecture),
            parameters=request.architecture.parameter_count,
            multiply_adds=request.architecture.multiply_adds,
            seconds=_whole(plan, [children[n].result.seconds for n in (place, place + CLASSES)], plan.recipe.epochs),
        )
        for place, request in enumerate(typical)
    )


def _few(images: ImageData, count: int) -> ImageData:
    return replace(
        images,
        x_train=images.x_train[:count],
        y_train=images.y_train[:count],
        x_val=images.x_val[:VALIDATION_BATCH],
        y_val=images.y_val[:VALIDATION_BATCH],
    )


def _whole(plan: Plan, seconds: Sequence[float], epochs: int) -> float:
    """The time of a whole training, from those of one and of three short epochs."""
    one, three = seconds
    steps = min(len(plan.images.x_train), STEPS * plan.config.batch) // plan.config.batch
    step = max(0.0, three - one) / (2 * steps)
    # Validation is a third of the arithmetic of training, and the first batch of it was timed.
    validation = max(0, len(plan.images.x_val) - VALIDATION_BATCH) / plan.config.batch / 3
    return one + step * (len(plan.images.x_train) // plan.config.batch * epochs - steps + validation)


def _sample(plan: Plan) -> tuple[list[Request], float]:
    """Children that the agent samples, and the seconds that it takes for itself in the whole search."""
    config, sampler = plan.config, Sampler(len(plan.images.x_val))
    envs = make_envs(plan, BATCH_OF_NETWORKS, sampler)
    rng, seconds = np.random.default_rng(config.seed), []
    agent = make_agent(config.agent, envs.single_observation_space, envs.single_action_space, rng=rng)
    envs.reset(seed=config.seed)
    for _ in range(SAMPLED_BATCHES):
        start = time.perf_counter()
        play(envs, agent)
        seconds.append(time.perf_counter() - start)
    batches = -(-sum(config.stage_sizes) // BATCH_OF_NETWORKS)
    return sampler.requests, seconds[0] + (batches - 1) * min(seconds[1:])


def lines(found: Estimate) -> Iterator[str]:
    """An estimate for people."""
    yield "  multiply-adds   parameters   seconds a child   layers"
    for cost in found.classes:
        yield f"{cost.multiply_adds:15,} {cost.parameters:12,} {cost.seconds:17.1f}   {cost.architecture}"
    children = f"{found.networks} children of {mean(cost.seconds for cost in found.classes):.1f} s"
    waiting = max(0.0, found.workers - found.start)
    yield (
        f"about {_clock(found.total)} in all: {_clock(found.startup)} to start up, {_clock(found.start)} for the start "
        f"network, {_clock(waiting)} until the workers are there, {children}, {found.at_once} at once, "
        f"{_clock(found.agent)} for the agent"
    )


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds, as far as they matter."""
    minutes, hours = seconds / 60, seconds / 3600
    return f"{hours:.1f} h" if hours >= 2 else f"{minutes:.0f} min" if minutes >= 3 else f"{seconds:.0f} s"
