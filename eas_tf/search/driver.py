"""A whole search: stages of batches of episodes.

What the record has already is not done again, so that a search that ended at any moment goes on as if it had not.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from shlex import quote
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from eas_tf.agents import make_agent
from eas_tf.agents.base import Agent
from eas_tf.data import ImageData
from eas_tf.errors import EASError, InvalidConfiguration, NoNetwork, RunDamaged, SearchFailed, Stopped
from eas_tf.evaluation import Request, Result, SurrogateEvaluator
from eas_tf.evaluation.cache import ResultCache
from eas_tf.evaluation.child import Child
from eas_tf.evaluation.engine import Engine, SurrogateEngine, make_engine
from eas_tf.evaluation.start import memory_of_step
from eas_tf.evaluation.train import TrainEvaluator
from eas_tf.metrics import as_found, count_found
from eas_tf.report.leaderboard import draw_progress, in_percent, leaderboard, measures
from eas_tf.report.recall import hidden
from eas_tf.runs.directory import CHECKPOINTS, GENERATIONS, RunDirectory
from eas_tf.runs.interruption import Interruption
from eas_tf.runs.progress import Progress
from eas_tf.runs.record import Batch, Run
from eas_tf.runs.versions import versions
from eas_tf.search.episodes import make_envs, play
from eas_tf.search.limits import Limits
from eas_tf.search.networks import Networks
from eas_tf.search.plan import Plan
from eas_tf.storing import storing
from eas_tf.surgery import LayerGraph
from eas_tf.training.strategy import make_strategy
from eas_tf.training.trainer import VALIDATION_BATCH, Trainer

#: Networks that an agent samples before it learns (paper: 10).
BATCH_OF_NETWORKS = 10


def search(plan: Plan, progress: Progress, interruption: Interruption | None = None) -> None:
    """Run a search, or go on with one, and leave in `plan.config.output` what it found; see `eas_tf.runs.directory`.

    Args:
        plan: What to search.
        progress: Told of all that happens.
        interruption: Ends the search after the children that are in training.

    Raises:
        InvalidConfiguration: If the devices cannot share a batch equally, or the images are not those of the run that
            is to go on; nothing is written then.
        TrainingDiverged: If the start network's training diverges.
        SearchFailed: If too many children fail, one after the other.
        NoNetwork: If a budget was used up before the start network was trained.
        Stopped: If it was interrupted.
    """
    config, interruption = plan.config, interruption or Interruption("")
    trainer = Trainer(plan.images, make_strategy(config.strategy))
    trainer.check_batch(config.batch)
    with ExitStack() as ends:
        engine = ends.enter_context(closing(_engine(plan, trainer, progress)))
        cache = ends.enter_context(closing(ResultCache(config.cache))) if config.cache else None
        run = ends.enter_context(RunDirectory(config.output, None if config.resume else _new_run(plan)))
        _check_images(plan, run)
        ends.enter_context(progress)
        _tell_versions(run, progress)
        for note in plan.notes:
            progress.say(note)
        run.write_json("config.json", {**config.as_json(), "versions": versions()})
        run.write_json("split.json", _split(plan.images))
        run.record.update(config=json.dumps(config.as_json()), ended="")
        with storing(run.path):
            engine.start()
        progress.say(f"children are trained by {engine}")
        limits = Limits(config, interruption, run.record.run().seconds)
        networks = Networks(plan, run, engine, trainer, limits, progress)
        why: EASError | None = None
        ended = "finished"
        try:
            _Search(plan, run, engine, cache, limits, networks, progress).run()
        except Stopped as stopped:
            ended = limits.reason()
            why = stopped if interruption.asked else None if len(networks) else _no_network(plan, ended)
        except SearchFailed as failure:
            ended, why = "failed", failure
        if ended != "finished":
            progress.say(f"The search ends here: {ended}")
        if len(networks):
            _report(plan, run, networks, progress, train_again=not why)
        # Whatever happens to this process while it measures the best network: the search has ended.
        run.record.update(ended=ended, seconds=networks.seconds())
        if len(networks):
            _measure(plan, run, networks, progress)
        if why:
            raise why


def _no_network(plan: Plan, reason: str) -> NoNetwork:
    return NoNetwork(
        f"{reason}, and the start network is not at its end. Its epochs so far are kept. To go on: --resume "
        f"{quote(str(plan.config.output))} with a larger --max-hours."
    )


def _engine(plan: Plan, trainer: Trainer, progress: Progress) -> Engine:
    if not plan.trains:
        return SurrogateEngine(plan.space)

    def on_epoch(epoch: int, loss: float) -> None:
        progress.epoch(epoch, plan.recipe.epochs, loss)

    folder = plan.config.output
    return make_engine(
        plan.config,
        trainer,
        plan.images,
        folder,
        checkpoints=folder / CHECKPOINTS,
        on_epoch=on_epoch,
        step=memory_of_step(plan.images, plan.start, plan.recipe.batch),
    )


def _new_run(plan: Plan) -> Run:
    return Run(
        config=json.dumps(plan.config.as_json()),
        versions=json.dumps(versions()),
        fingerprint=plan.images.fingerprint,
        created=datetime.now().isoformat(" ", "seconds"),
    )


def _split(images: ImageData) -> dict[str, Any]:
    """Which images were held out, by their places in the data set's own `x_train`: none if it has an `x_val`."""
    held_out = [] if images.validation == "own" else images.validation_indices.tolist()
    return {
        "fingerprint": images.fingerprint,
        "class_names": list(images.class_names),
        "cautions": list(images.cautions),
        "validation": images.validation,
        "validation_indices": held_out,
    }


def _check_images(plan: Plan, run: RunDirectory) -> None:
    expected = run.record.run().fingerprint
    if plan.images.fingerprint != expected:
        raise InvalidConfiguration(
            f"The images of {plan.config.dataset} have changed since {run.path} began: a search needs the same ones to "
            f"its end. Expected fingerprint {expected[:12]}... Received: {plan.images.fingerprint[:12]}..."
        )


def _tell_versions(run: RunDirectory, progress: Progress) -> None:
    begun, now = json.loads(run.record.run().versions), versions()
    changed = [f"{name} {begun.get(name)} ({now[name]} now)" for name in now if begun.get(name) != now[name]]
    if changed:
        progress.say(
            f"This run has begun with {', '.join(changed)}: the last digits may differ, and with them decisions."
        )


@dataclass(frozen=True, kw_only=True)
class _Slot:
    """A batch, done or to come."""

    number: int
    stage: int
    place: int
    """In its stage, from 0."""
    size: int


class _Search:
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
        self._batches = {batch.id: batch for batch in run.record.batches()}
        seeds = np.random.SeedSequence(plan.config.seed).spawn(3)
        self._start_seed, self._env_seed = (int(seed.generate_state(1)[0] >> 1) for seed in seeds[:2])
        self._rng = np.random.default_rng(seeds[2])

    def run(self) -> None:
        """All that is left.

        Raises:
            Stopped: If it shall end before.
        """
        self._progress.begin(len(self._networks), self._limits.seconds_left)
        self._networks.train_start(self._start_seed)
        agent, learned = self._agent(), 0
        for batch in sorted(self._batches.values(), key=lambda batch: -batch.id):
            if batch.state and (state := self._state(batch)):
                agent.restore(state)
                learned = batch.id
                break
        for slot in self._slots():
            if slot.number > learned:
                if slot.place == 0 and slot.stage > 1 and self._plan.config.controller == "reset":
                    agent = self._agent()
                self._play(slot, agent)

    def _state(self, batch: Batch) -> dict[str, np.ndarray] | None:
        state = self._run.read_state(batch)
        finished = sum(bool(each.state) for each in self._batches.values())
        if state is None and batch.id > finished - GENERATIONS:
            self._progress.say(
                f"{self._run.path / batch.state} is damaged or not there: the agent learns again from the record, from "
                "the batch before."
            )
        return state

    def _agent(self) -> Agent:
        envs = make_envs(self._plan, self._plan.start, 1, SurrogateEvaluator(self._plan.space))
        return make_agent(
            self._plan.config.agent, envs.single_observation_space, envs.single_action_space, rng=self._rng
        )

    def _slots(self) -> Iterator[_Slot]:
        """The batches of all stages: as large as they were, and to come as large as they may be."""
        number = 0
        for stage, left in enumerate(self._plan.config.stage_sizes, 1):
            place = 0
            while left > 0:
                number += 1
                begun = self._batches.get(number)
                size = begun.size if begun and begun.stage == stage else min(BATCH_OF_NETWORKS, left)
                yield _Slot(number=number, stage=stage, place=place, size=size)
                left, place = left - size, place + 1

    def _parent(self, slot: _Slot) -> int:
        """The network that the children of a batch grow from."""
        every = self._plan.config.restart_every
        if slot.number in self._batches:
            return self._batches[slot.number].parent
        if slot.place == 0:
            return self._networks.promote(slot.stage) if slot.stage > 1 else 0
        return self._networks.best.id if every and slot.place % every == 0 else self._batches[slot.number - 1].parent

    def _play(self, slot: _Slot, agent: Agent) -> None:
        parent = self._parent(slot)
        self._commit(Batch(id=slot.number, stage=slot.stage, parent=parent, size=slot.size))
        family = self._networks.grow_from(parent)
        # The best of a stage comes before the batches of the next, and belongs to no batch.
        before = [n for n in self._networks.all if n.batch < slot.number and n.stage <= slot.stage]
        first = len(before)
        evaluator = TrainEvaluator(
            family,
            self._engine,
            validation_images=len(self._plan.images.x_val),
            stopping=self._plan.config.stopping,
            cache=self._cache,
            on_child=partial(self._finished, slot, first),
            recall=partial(self._recall, first),
            admission=self._limits,
        )
        for network in before:
            if network.kind == "child" and network.parent == parent:
                evaluator.remember(self._networks.request(network), self._networks.result(network))
        envs = make_envs(self._plan, family.architecture, slot.size, evaluator)
        envs.reset(seed=self._env_seed + sum(network.kind == "child" for network in before))
        rewards, learned = play(envs, agent)
        self._learned(slot, parent, rewards, learned, agent)

    def _finished(self, slot: _Slot, first: int, number: int, request: Request, child: Child) -> None:
        row = self._networks.row(
            first + number,
            "child",
            request,
            child,
            stage=slot.stage,
            batch=slot.number,
            epochs=self._plan.recipe.epochs,
        )
        self._networks.add(row, child.graph)

    def _recall(self, first: int, number: int, request: Request) -> Result | None:
        """The result of a child that another process has finished.

        Raises:
            RunDamaged: If it had asked for another one.
        """
        if first + number not in self._networks:
            return None
        network = self._networks[first + number]
        asked = " ".join(map(str, request.transformations)), request.seed
        if asked != (network.transformations, network.seed):
            raise RunDamaged(
                f"{self._run.path} cannot go on exactly: the agent now asks for {asked[0]!r} as network {network.id}, "
                f"and had asked for {network.transformations!r}. Has it begun with other versions (config.json), or on "
                "another kind of processor? Go on there, or begin a new run."
            )
        return self._networks.result(network)

    def _learned(self, slot: _Slot, parent: int, rewards: np.ndarray, learned: dict[str, float], agent: Agent) -> None:
        name, digest = self._run.write_state(slot.number, agent.state())
        self._commit(
            Batch(
                id=slot.number,
                stage=slot.stage,
                parent=parent,
                size=slot.size,
                reward=float(rewards.mean()),
                learned=json.dumps(learned),
                state=name,
                sha256=digest,
            )
        )
        self._run.forget_checkpoints()
        self._run.forget_states(before=slot.number - GENERATIONS + 1)
        self._run.copy_record()
        account = "".join(f", {name} {value:.4g}" for name, value in learned.items())
        self._progress.say(f"batch of {slot.size}: mean reward {rewards.mean():.3f}{account}")

    def _commit(self, batch: Batch) -> None:
        self._run.record.add(batch, seconds=self._networks.seconds())
        self._batches[batch.id] = batch


def _report(plan: Plan, run: RunDirectory, networks: Networks, progress: Progress, *, train_again: bool) -> None:
    """The leaderboard, the picture, and the best network."""
    config = plan.config
    with storing(run.path):
        title = f"{config.dataset}, {config.agent}, seed {config.seed}"
        draw_progress(networks.all, title, run.path / "progress.png", config.metric)
    progress.say(leaderboard(networks.all, config.metric))
    if plan.trains:
        networks.publish_best(train_again=train_again)


def _measure(plan: Plan, run: RunDirectory, networks: Networks, progress: Progress) -> None:
    """What the saved network does on the images, and the digest of all that the search found."""
    if plan.trains:
        images = plan.images
        found = as_found(json.loads(networks[0].found))
        start = measures("validation", networks[0].accuracy, found, plan.config.metric)
        progress.say(f"start network: {in_percent(start)}")
        try:
            _say_what_it_does(plan, run, progress)
        except (tf.errors.ResourceExhaustedError, MemoryError):
            progress.say(f"best network:  not measured, because there is not enough memory; it is whole, in {run.best}")
        for note in filter(None, [images.note, *images.cautions]):
            progress.say(note)
    progress.say(f"decisions and results: {run.record.digest()}")


def _say_what_it_does(plan: Plan, run: RunDirectory, progress: Progress) -> None:
    """How the saved network does on the images that it was not trained on, and what its accuracy hides."""
    metric, images = plan.config.metric, plan.images
    best = keras.models.load_model(run.best, compile=False, safe_mode=True)
    texts, unseen = [], []
    for name, x, y in (("validation", images.x_val, images.y_val), ("test", images.x_test, images.y_test)):
        if x is None or y is None:
            continue
        found = count_found(classified(best, x, plan.recipe.batch) == y, y, images.classes)
        texts.append(in_percent(measures(name, sum(right for right, _ in found) / len(y), found, metric)))
        unseen.append(hidden(found, images.class_names, name))
    progress.say(f"best network:  {', '.join(texts)}, in {run.best}")
    for line in filter(None, unseen):
        progress.say(line)
    if any(unseen) and metric == "accuracy":
        progress.say("A new search with --metric balanced_accuracy counts every class alike, however rare it is.")


def accuracy(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> float:
    """The fraction of raw images `[n, height, width, channels]` that a model classifies right."""
    return float((classified(model, images) == labels).mean())


def classified(model: keras.Model, images: np.ndarray, trained: int = 1) -> np.ndarray:
    """The class in which a model puts each of the raw images, `[n]`; it was trained on so many in one step."""
    # Keras's predict would take as many images at once for a large network as for a small one.
    batch = LayerGraph.from_keras(model).batch_in_memory(VALIDATION_BATCH, trained)
    classes = [
        keras.ops.convert_to_numpy(model(images[start : start + batch].astype(np.float32), training=False)).argmax(-1)
        for start in range(0, len(images), batch)
    ]
    return np.concatenate(classes)
