"""The trainings of this process, from checkpoint to checkpoint: the start network's, and the last one by the clock."""

import json
from collections.abc import Callable
from dataclasses import replace

from eas_tf.errors import Stopped
from eas_tf.evaluation import Request, Result
from eas_tf.evaluation.child import Child
from eas_tf.evaluation.start import start_key, train_start
from eas_tf.runs.directory import RunDirectory
from eas_tf.runs.progress import Progress
from eas_tf.search.limits import Limits
from eas_tf.search.plan import Plan
from eas_tf.surgery import LayerGraph
from eas_tf.training.checkpoint import Checkpoint
from eas_tf.training.loop import TrainingState
from eas_tf.training.recipe import Recipe
from eas_tf.training.trainer import Trained, Trainer


def trained_start(
    plan: Plan,
    run: RunDirectory,
    trainer: Trainer,
    limits: Limits,
    progress: Progress,
    request: Request,
    seconds_left: Callable[[], float] | None = None,
) -> Child:
    """Train the start network, or go on with that from its checkpoint.

    Args:
        plan: What is searched.
        run: Where the checkpoint is.
        trainer: Has the images.
        limits: End it.
        progress: Told of each epoch.
        request: The start network.
        seconds_left: For a training that ends with its time.

    Raises:
        Stopped: If somebody wants it to end, after the epoch.
    """
    if limits.reason():
        raise Stopped("The start network was not trained.")
    key = start_key(plan.images, plan.start, plan.start_recipe, request.seed)
    file = Checkpoint(run.checkpoints / "start.npz", key, stops=lambda: bool(limits.reason()))
    state = file.resume()
    recipe = timed(plan.start_recipe, seconds_left, state)
    of = "" if seconds_left else f" of {recipe.epochs}"
    if state:
        progress.say(f"the start network goes on after epoch {state.epoch}{of}")

    def on_epoch(epoch: int, loss: float) -> None:
        progress.epoch(epoch, None if seconds_left else recipe.epochs, loss)

    trained = train_start(
        trainer,
        plan.images,
        plan.start,
        recipe,
        seed=request.seed,
        on_epoch=on_epoch,
        on_state=file.offer,
        resume_from=state,
    )
    return finished(trained)


def trained_on(
    parent: LayerGraph,
    recipe: Recipe,
    run: RunDirectory,
    trainer: Trainer,
    limits: Limits,
    progress: Progress,
    seed: int,
    seconds_left: Callable[[], float],
) -> Child:
    """Train the network that was found for the time that is left, or go on with that from its checkpoint.

    Args:
        parent: With the weights that it begins with.
        recipe: How.
        run: Where the checkpoint is.
        trainer: Has the images.
        limits: End it.
        progress: Told of each epoch.
        seed: Decides the order of the images, and what is done to them.
        seconds_left: Until it shall end.

    Raises:
        Stopped: If somebody wants it to end, after the epoch.
    """
    key = json.dumps([parent.digest, recipe.as_json(), seed])
    file = Checkpoint(run.checkpoints / "final.npz", key, stops=lambda: limits.interrupted)
    state = file.resume()
    if state:
        progress.say(f"it goes on after epoch {state.epoch}")
    if limits.interrupted:
        raise Stopped("The network that was found was not trained to its end.")
    trained = trainer.train(
        parent,
        timed(recipe, seconds_left, state),
        seed=seed,
        on_epoch=lambda epoch, loss: progress.epoch(epoch, None, loss),
        on_state=file.offer,
        resume_from=state,
    )
    return finished(trained)


def timed(recipe: Recipe, seconds_left: Callable[[], float] | None, state: TrainingState | None) -> Recipe:
    """The recipe of a training that has so many seconds left, from where it is."""
    if seconds_left is None:
        return recipe
    return replace(recipe, seconds=(state.seconds if state else 0.0) + max(1e-3, seconds_left()))


def finished(trained: Trained) -> Child:
    """A network that was trained in this process, as a child."""
    return Child(
        result=Result(
            accuracy=trained.accuracy,
            loss=trained.loss,
            seconds=trained.seconds,
            found=trained.found,
            epochs=trained.epochs,
        ),
        graph=trained.graph,
    )
