"""A whole search: stages of batches of episodes.

What the record has already is not done again, so that a search that ended at any moment goes on as if it had not.
"""

import json
import time
from contextlib import ExitStack, closing
from datetime import datetime
from shlex import quote
from typing import Any

from eas_tf.data import ImageData
from eas_tf.errors import EASError, InvalidConfiguration, NoNetwork, SearchFailed, Stopped
from eas_tf.evaluation import SurrogateEvaluator
from eas_tf.evaluation.cache import ResultCache
from eas_tf.evaluation.engine import Engine, LookupEngine
from eas_tf.evaluation.engines import make_engine
from eas_tf.evaluation.start import memory_of_step
from eas_tf.runs.directory import CHECKPOINTS, RunDirectory
from eas_tf.runs.interruption import Interruption
from eas_tf.runs.progress import Progress
from eas_tf.runs.record import Run
from eas_tf.runs.versions import versions
from eas_tf.runs.workclock import WORK_CLOCK, WorkClock
from eas_tf.search.batches import Batches
from eas_tf.search.ending import accuracy as accuracy
from eas_tf.search.ending import measure, report
from eas_tf.search.limits import Limits
from eas_tf.search.networks import Networks
from eas_tf.search.plan import Plan
from eas_tf.search.rounds import Rounds, make_timetable
from eas_tf.storing import storing
from eas_tf.training.strategy import make_strategy
from eas_tf.training.trainer import Trainer


def search(
    plan: Plan, progress: Progress, interruption: Interruption | None = None, begun: float | None = None
) -> None:
    """Run a search, or go on with one, and leave in `plan.config.output` what it found; see `eas_tf.runs.directory`.

    Args:
        plan: What to search.
        progress: Told of all that happens.
        interruption: Ends the search after the children that are in training.
        begun: When the time of a search by the clock began to count, as `time.monotonic` has it; by default now.

    Raises:
        InvalidConfiguration: If the devices cannot share a batch equally, or the images are not those of the run that
            is to go on; nothing is written then.
        TrainingDiverged: If the start network's training diverges.
        SearchFailed: If too many children fail, one after the other.
        NoNetwork: If a budget was used up before the start network was trained.
        Stopped: If it was interrupted.
    """
    config, interruption, begun = plan.config, interruption or Interruption(""), begun or time.monotonic()
    trainer = Trainer(plan.images, make_strategy(config.strategy)) if plan.trains else None
    by_clock = None
    if trainer:
        trainer.check_batch(config.batch)
        by_clock = make_timetable(plan, trainer, begun)
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
        run.write_json("split.json", _split(plan.loaded) if plan.loaded else {})
        run.record.update(config=json.dumps(config.as_json()), ended="")
        with storing(run.path):
            engine.start()
        progress.say(f"children are trained by {engine}")
        limits = Limits(config, interruption, _worked(run, begun, ends) if by_clock else run.record.run().seconds)
        networks = Networks(plan, run, engine, trainer, limits, progress)
        why: EASError | None = None
        ended = "finished"
        try:
            if trainer and by_clock:
                Rounds(plan, run, engine, trainer, limits, networks, progress, *by_clock).run()
            else:
                Batches(plan, run, engine, cache, limits, networks, progress).run()
        except Stopped as stopped:
            ended = limits.reason()
            why = stopped if interruption.asked else None if len(networks) else _no_network(plan)
        except SearchFailed as failure:
            ended, why = "failed", failure
        if ended != "finished":
            progress.say(f"The search ends here: {ended}")
        if len(networks):
            report(plan, run, networks, progress, train_again=not why)
        # Whatever happens to this process while it measures the best network: the search has ended.
        run.record.update(ended=ended, seconds=networks.seconds())
        if len(networks):
            measure(plan, run, networks, progress)
        if why:
            raise why


def _worked(run: RunDirectory, begun: float, ends: ExitStack) -> float:
    """Seconds of work on a run so far, which are noted from now on."""
    clock = ends.enter_context(WorkClock(run.path / WORK_CLOCK, run.record.run().seconds, begun))
    return clock.worked()


def _no_network(plan: Plan) -> NoNetwork:
    return NoNetwork(
        f"`max_hours` {plan.config.max_hours} is used up, and the start network is not at its end. Its epochs so far "
        f"are kept. To go on: `resume` {quote(str(plan.config.output))} with a larger `max_hours`."
    )


def _engine(plan: Plan, trainer: Trainer | None, progress: Progress) -> Engine:
    if not trainer:
        return LookupEngine(SurrogateEvaluator(plan.space))

    def on_epoch(epoch: int, loss: float) -> None:
        progress.epoch(epoch, plan.recipe.epochs if plan.config.hours is None else None, loss)

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
        fingerprint=plan.loaded.fingerprint if plan.loaded else "",
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
    if plan.loaded and plan.loaded.fingerprint != expected:
        raise InvalidConfiguration(
            f"The images of {plan.config.dataset} have changed since {run.path} began: a search needs the same ones to "
            f"its end. Expected fingerprint {expected[:12]}... Received: {plan.loaded.fingerprint[:12]}..."
        )


def _tell_versions(run: RunDirectory, progress: Progress) -> None:
    begun, now = json.loads(run.record.run().versions), versions()
    changed = [f"{name} {begun.get(name)} ({now[name]} now)" for name in now if begun.get(name) != now[name]]
    if changed:
        progress.say(
            f"This run has begun with {', '.join(changed)}: the last digits may differ, and with them decisions."
        )
