"""The final training of a network that a search has found: long, several times, from checkpoint to checkpoint.

It leaves in `RUN/final/NETWORK-…/`:

| file | what it is |
|---|---|
| `settings.json`, `inherited.keras` | how it is trained, and what all seeds begin with, unless from scratch |
| `seed-0.npz` | a checkpoint, while seed 0 is in training |
| `seed-0.keras`, `seed-0.json` | the trained network, and how it did; the latter is written last |
| `lock` | held by the process that trains |
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from filelock import FileLock, Timeout

from eas_tf.architecture import Architecture, parse_move
from eas_tf.errors import InvalidConfiguration, RunBusy, RunDamaged
from eas_tf.evaluation.child import grown, measured
from eas_tf.files import write_whole
from eas_tf.final.plan import FinalPlan
from eas_tf.final.seed import FinalSeed, read_json
from eas_tf.metrics import as_found
from eas_tf.report.leaderboard import in_percent, measures
from eas_tf.report.recall import hidden
from eas_tf.runs.directory import weights_file
from eas_tf.runs.interruption import Interruption
from eas_tf.runs.progress import Progress
from eas_tf.runs.record import Network
from eas_tf.storing import storing
from eas_tf.surgery import LayerGraph, load_network, save_network, with_parts
from eas_tf.training.strategy import make_strategy
from eas_tf.training.trainer import Trainer


def final_training(plan: FinalPlan, progress: Progress, interruption: Interruption) -> list[dict[str, Any]]:
    """Train all seeds that are not trained yet, and tell how all did.

    Args:
        plan: What to train, and how.
        progress: Told of each epoch and each seed.
        interruption: Ends the training after the epoch, with a checkpoint.

    Returns:
        The results by seed, as `seed-0.json` has them.

    Raises:
        InvalidConfiguration: If there are no weights to inherit, or the devices cannot share a batch; nothing is
            written then.
        RunBusy: If another process trains the same.
        RunDamaged: If a file is not as it was written.
        TrainingDiverged: If the loss of an epoch is not finite.
        StorageFailed: If the disk is full.
        Stopped: If it was interrupted.
    """
    trainer = Trainer(plan.trained_on, make_strategy(plan.config.strategy))
    trainer.check_batch(plan.recipe.batch)
    # Before anything is written.
    begun = (plan.folder / "settings.json").exists()
    inherited = None if plan.config.from_scratch or begun else inherited_weights(plan)
    with _owned(plan.folder):
        inherited = _settled(plan, inherited)
        seeds = [
            FinalSeed(plan, seed, inherited) for seed in range(plan.config.seed, plan.config.seed + plan.config.seeds)
        ]
        for seed in seeds:
            _ = (
                seed.result() or seed.checkpoint().read()
            )  # a damaged file is told of now, and not after hours of training
        progress.say(_headline(plan))
        if inherited and not weights_file(plan.config.run, plan.network.id).exists():
            progress.say(f"network {plan.network.id}'s own weights are not kept: it begins as it was grown, untrained")
        results = []
        for number, seed in enumerate(seeds):
            result = seed.result() or seed.train(trainer, progress, interruption, number * plan.recipe.epochs)
            told = in_percent(_measures(plan, result))
            progress.say(f"seed {result['seed']}: {told}, {result['seconds']:.1f} s, in {seed.network_file}")
            for which in ("validation", "test"):
                found = as_found(result.get(f"{which}_found", ()))  # which earlier versions did not write
                if text := hidden(found, plan.images.class_names, which, "the network"):
                    progress.say(text)
            results.append(result)
        for note in filter(None, [plan.images.note, *plan.images.cautions]):
            progress.say(note)
    all_measures = [_measures(plan, result) for result in results]
    for name in all_measures[0]:
        if text := spread([each.get(name) for each in all_measures]):
            progress.say(f"{name} of {len(results)} seeds: {text}")
    return results


def inherited_weights(plan: FinalPlan) -> LayerGraph:
    """The network as the search trained it; if its weights are not kept, as it was grown from its parent.

    Raises:
        InvalidConfiguration: If its parent's weights are not kept either.
        RunDamaged: If weights are not those that the record tells of.
    """
    network, run = plan.network, plan.config.run
    if weights_file(run, network.id).exists():
        return _recorded_weights(plan, network)
    parent = None if network.parent is None else plan.networks[network.parent]
    if parent and weights_file(run, parent.id).exists():
        graph, _ = grown(
            measured(_recorded_weights(plan, parent), plan.images, plan.recipe.batch),
            plan.architecture(parent),
            [parse_move(text) for text in network.transformations.split()],
            seed=network.seed,
            symmetry_breaking=plan.symmetry_breaking,
        )
        return graph
    kept = [str(number) for number in plan.networks if weights_file(run, number).exists()]
    raise InvalidConfiguration(
        f"{run} keeps neither the weights of network {network.id} nor its parent's: add `from_scratch`, or train one "
        f"whose weights are kept: {', '.join(kept) or 'there is none'}."
    )


def _recorded_weights(plan: FinalPlan, network: Network) -> LayerGraph:
    # A network that another one stood for has no digest, because it was not trained itself.
    file, architecture = weights_file(plan.config.run, network.id), plan.architecture(network)
    return _loaded(file, architecture, network.digest or None, "or add `from_scratch`")


def _loaded(path: Path, architecture: Architecture, digest: str | None, otherwise: str) -> LayerGraph:
    """A network of an architecture, with its parts, that must be the one of this digest.

    Raises:
        RunDamaged: If it is another one, or cannot be read.
    """
    try:
        graph = load_network(path)
    except InvalidConfiguration as error:
        raise RunDamaged(f"{error}. Copy the file back, {otherwise}.") from error
    if digest is not None and graph.digest != digest:
        raise RunDamaged(
            f"{path} is another network than the one that was written: copy the file back, {otherwise}. Expected "
            f"digest {digest[:12]}... Received: {graph.digest[:12]}..."
        )
    return with_parts(graph, architecture)


@contextmanager
def _owned(folder: Path) -> Iterator[None]:
    """The folder is there, and this process' alone."""
    lock = FileLock(folder / "lock")
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:  # an OSError, too
            raise RunBusy(f"Another process trains in {folder}. Wait until it is done, or end it.") from None
    try:
        for left in folder.glob("*.partial*"):
            left.unlink()
        yield
    finally:
        lock.release()


def _settled(plan: FinalPlan, inherited: LayerGraph | None) -> LayerGraph | None:
    """The weights to begin with as all processes of this training have them: the search may delete its own."""
    file, network_file = plan.folder / "settings.json", plan.folder / "inherited.keras"
    if file.exists():
        again = f"or delete {plan.folder} to begin anew"
        digest = read_json(file, again).get("inherited")
        return (
            None if plan.config.from_scratch else _loaded(network_file, plan.architecture(plan.network), digest, again)
        )
    if inherited:
        with storing(network_file):
            save_network(inherited, network_file)
    content = {**plan.settings, "inherited": inherited and inherited.digest}
    write_whole(file, (json.dumps(content, indent=2) + "\n").encode())
    return inherited


def _headline(plan: FinalPlan) -> str:
    begin = "random" if plan.config.from_scratch else "inherited"
    text = (
        f"network {plan.network.id}, {plan.network.architecture}: {plan.recipe.epochs} epoch"
        f"{'s' * (plan.recipe.epochs > 1)} from {begin} weights on "
        f"{len(plan.trained_on.x_train):,} training images"
    )
    also = ", validation images included: there is no validation accuracy"
    return text + also if plan.config.all_data else text


def _measures(plan: FinalPlan, result: dict[str, Any]) -> dict[str, float]:
    """How one seed did."""
    named: dict[str, float] = {}
    for which in ("validation", "test"):
        found = as_found(result.get(f"{which}_found", ()))
        named |= measures(which, result[f"{which}_accuracy"], found, plan.recipe.metric)
    return named


def spread(accuracies: list[float | None]) -> str:
    """Mean and sample standard deviation of two or more accuracies (fractions), in percent; empty if there are none."""
    values = [100 * accuracy for accuracy in accuracies if accuracy is not None]
    return f"mean {fmean(values):.2f} %, standard deviation {stdev(values):.2f}" if len(values) > 1 else ""
