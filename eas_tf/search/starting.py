"""The training of the start network: as long as its recipe says, from checkpoint to checkpoint."""

from eas_tf.errors import Stopped
from eas_tf.evaluation import Request, Result
from eas_tf.evaluation.child import Child
from eas_tf.evaluation.start import start_key, train_start
from eas_tf.runs.directory import RunDirectory
from eas_tf.runs.progress import Progress
from eas_tf.search.limits import Limits
from eas_tf.search.plan import Plan
from eas_tf.training.checkpoint import Checkpoint
from eas_tf.training.trainer import Trainer


def trained_start(
    plan: Plan, run: RunDirectory, trainer: Trainer, limits: Limits, progress: Progress, request: Request
) -> Child:
    """Train the start network, or go on with that from its checkpoint.

    Raises:
        Stopped: If somebody wants it to end, after the epoch.
    """
    if limits.reason():
        raise Stopped("The start network was not trained.")
    key = start_key(plan.images, plan.start, plan.start_recipe, request.seed)
    file = Checkpoint(run.checkpoints / "start.npz", key, stops=lambda: bool(limits.reason()))
    state = file.resume()
    if state:
        progress.say(f"the start network goes on after epoch {state.epoch} of {plan.start_recipe.epochs}")

    def on_epoch(epoch: int, loss: float) -> None:
        progress.epoch(epoch, plan.start_recipe.epochs, loss)

    trained = train_start(
        trainer,
        plan.images,
        plan.start,
        plan.start_recipe,
        seed=request.seed,
        on_epoch=on_epoch,
        on_state=file.offer,
        resume_from=state,
    )
    result = Result(accuracy=trained.accuracy, loss=trained.loss, seconds=trained.seconds, found=trained.found)
    return Child(result=result, graph=trained.graph)
