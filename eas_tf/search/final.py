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
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import tensorflow as tf
from filelock import FileLock, Timeout

from eas_tf.architecture import parse_transformation
from eas_tf.errors import InvalidConfiguration, RunBusy, RunDamaged, Stopped
from eas_tf.evaluation.child import grown, measured
from eas_tf.search.config import versions
from eas_tf.search.final_plan import FinalPlan
from eas_tf.search.limits import Interruption
from eas_tf.search.progress import Progress
from eas_tf.search.record import Network
from eas_tf.search.run_directory import storing, weights_file, write_whole
from eas_tf.surgery import LayerGraph, initialise, load_network, lower, save_network
from eas_tf.training.strategy import make_strategy
from eas_tf.training.trainer import Trained, Trainer, TrainingState, evaluate


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
        seeds = [_Seed(plan, seed, inherited) for seed in range(plan.config.seed, plan.config.seed + plan.config.seeds)]
        for seed in seeds:
            _ = seed.result() or seed.checkpoint()  # a damaged file is told of now, and not after hours of training
        progress.say(_headline(plan))
        if inherited and not weights_file(plan.config.run, plan.network.id).exists():
            progress.say(f"network {plan.network.id}'s own weights are not kept: it begins as it was grown, untrained")
        results = []
        for number, seed in enumerate(seeds):
            result = seed.result() or seed.train(trainer, progress, interruption, number * plan.recipe.epochs)
            progress.say(_line(result, seed.network_file))
            results.append(result)
    for name in ("validation accuracy", "test accuracy"):
        if len(results) > 1 and (text := spread([result[name.replace(" ", "_")] for result in results])):
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
            measured(_recorded_weights(plan, parent), plan.images),
            plan.architecture(parent),
            [parse_transformation(text) for text in network.transformations.split()],
            seed=network.seed,
            symmetry_breaking=plan.symmetry_breaking,
        )
        return graph
    kept = [str(number) for number in plan.networks if weights_file(run, number).exists()]
    raise InvalidConfiguration(
        f"{run} keeps neither the weights of network {network.id} nor its parent's: add --from-scratch, or train one "
        f"whose weights are kept: {', '.join(kept) or 'there is none'}."
    )


def _recorded_weights(plan: FinalPlan, network: Network) -> LayerGraph:
    # A network that another one stood for has no digest, because it was not trained itself.
    return _loaded(weights_file(plan.config.run, network.id), network.digest or None, "or add --from-scratch")


def _loaded(path: Path, digest: str | None, otherwise: str) -> LayerGraph:
    """A network that must be the one of this digest.

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
            f"digest {digest[:12]}… Received: {graph.digest[:12]}…"
        )
    return graph


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
        digest = _json(file, again).get("inherited")
        return None if plan.config.from_scratch else _loaded(network_file, digest, again)
    if inherited:
        with storing(network_file):
            save_network(inherited, network_file)
    content = {**plan.settings, "inherited": inherited and inherited.digest}
    write_whole(file, (json.dumps(content, indent=2) + "\n").encode())
    return inherited


def _json(path: Path, otherwise: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise RunDamaged(f"{path} is damaged: copy it back, {otherwise}. {error}") from error
    return content if isinstance(content, dict) else {}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Checkpoint:
    """A training that is not at its end."""

    state: TrainingState
    losses: list[float] = field(default_factory=list)
    """Of each epoch that is over, in nats."""
    seconds: float
    """That it took."""


class _Seed:
    """One training.

    Args:
        plan: How.
        seed: Decides all that is random.
        inherited: The weights to begin with; None for random ones.
    """

    def __init__(self, plan: FinalPlan, seed: int, inherited: LayerGraph | None) -> None:
        self._plan, self._seed, self._inherited = plan, seed, inherited
        self._stem = plan.folder / f"seed-{seed}"
        told = [plan.settings, inherited and inherited.digest, seed]
        self._key = sha256(json.dumps(told).encode()).hexdigest()

    @property
    def network_file(self) -> Path:
        """The trained network."""
        return self._stem.with_suffix(".keras")

    @property
    def _checkpoint_file(self) -> Path:
        return self._stem.with_suffix(".npz")

    def result(self) -> dict[str, Any] | None:
        """How it did; None if it is not at its end.

        Raises:
            RunDamaged: If the trained network is not the one that was written.
        """
        file = self._stem.with_suffix(".json")
        if not file.exists():
            return None
        again = f"or delete {file} to train it again"
        result = _json(file, again)
        content = self.network_file.read_bytes() if self.network_file.exists() else b""
        if result.get("key") != self._key or result.get("sha256") != sha256(content).hexdigest():
            raise RunDamaged(f"{self.network_file} is not as {file} tells of it: copy it back, {again}.")
        return result

    def checkpoint(self) -> _Checkpoint | None:
        """The last one, if there is one.

        Raises:
            RunDamaged: If it is not as it was written, or of another training.
        """
        path = self._checkpoint_file
        if not path.exists():
            return None
        content = path.read_bytes()
        content, digest = content[:-32], content[-32:]
        if sha256(content).digest() != digest:
            raise RunDamaged(f"{path} is damaged: delete it, and seed {self._seed} is trained from its beginning.")
        with np.load(BytesIO(content), allow_pickle=False) as file:
            values = {name: file[name] for name in file.files}
        if values.pop("key", None) != self._key:
            raise RunDamaged(f"{path} is of another training: delete it, and seed {self._seed} begins anew.")
        epoch, losses, seconds = int(values.pop("epoch")), values.pop("losses").tolist(), float(values.pop("seconds"))
        return _Checkpoint(state=TrainingState(epoch=epoch, **values), losses=losses, seconds=seconds)

    def _write(self, checkpoint: _Checkpoint) -> None:
        values = {**vars(checkpoint.state), "losses": checkpoint.losses, "seconds": checkpoint.seconds}
        file = BytesIO()
        np.savez(file, **values, key=self._key)
        write_whole(self._checkpoint_file, file.getvalue() + sha256(file.getbuffer()).digest())

    def train(self, trainer: Trainer, progress: Progress, interruption: Interruption, done: int) -> dict[str, Any]:
        """Go on from the checkpoint, or begin, and test the network at the end.

        Args:
            trainer: Has the images.
            progress: Told of each epoch.
            interruption: Ends it after the epoch.
            done: Epochs of other seeds.

        Raises:
            Stopped: If it was interrupted; there is a checkpoint then.
        """
        last = self.checkpoint()
        losses, before = (last.losses, last.seconds) if last else ([], 0.0)
        epochs, start = self._plan.recipe.epochs, time.monotonic()
        written = start
        progress.begin(done + len(losses), lambda: None)
        if last:
            progress.say(f"seed {self._seed} goes on after epoch {len(losses)}")

        def on_epoch(epoch: int, loss: float) -> None:
            losses.append(loss)
            progress.step(f"seed {self._seed}, epoch {epoch}/{epochs}, loss {loss:.3f}")

        def on_state(state: Callable[[], TrainingState]) -> None:
            nonlocal written
            if interruption.asked or time.monotonic() - written >= self._plan.config.checkpoint_seconds:
                self._write(_Checkpoint(state=state(), losses=losses, seconds=before + time.monotonic() - start))
                written = time.monotonic()
            self._stop_if_asked(interruption)

        self._stop_if_asked(interruption)
        graph, seed = self._beginning()
        try:
            trained = trainer.train(
                graph,
                self._plan.recipe,
                seed=seed,
                on_epoch=on_epoch,
                on_state=on_state,
                resume_from=last.state if last else None,
            )
        except (tf.errors.ResourceExhaustedError, MemoryError) as error:
            raise InvalidConfiguration(
                f"Network {self._plan.network.id} needs more memory in training than there is: train it on a larger "
                f"device, or on several with --strategy mirrored. {(str(error).splitlines() or [''])[0]}"
            ) from error
        return self._finish(trained, losses, before + time.monotonic() - start)

    def _stop_if_asked(self, interruption: Interruption) -> None:
        if interruption.asked:
            raise Stopped(f"Seed {self._seed} is not at its end.")

    def _beginning(self) -> tuple[LayerGraph, int]:
        """The network before its training, and the seed of that: from scratch as a start network is trained."""
        weights, training = np.random.SeedSequence(self._seed).spawn(2)
        graph = self._inherited
        if graph is None:
            images = self._plan.images
            lowered = lower(self._plan.architecture(self._plan.network), images.mean, images.std)
            graph = initialise(lowered, rng=np.random.default_rng(weights))
        return graph, int(training.generate_state(1)[0] >> 1)

    def _finish(self, trained: Trained, losses: list[float], seconds: float) -> dict[str, Any]:
        """Write the network, test what was written, write how it did."""
        with storing(self.network_file):
            save_network(trained.graph, self.network_file)
        images, test = self._plan.trained_on, (math.nan, math.nan)
        if images.x_test is not None and images.y_test is not None:
            test = evaluate(load_network(self.network_file), images.x_test, images.y_test)
        names = ("validation_accuracy", "validation_loss", "test_accuracy", "test_loss")
        measured_values = zip(names, (trained.accuracy, trained.loss, *test), strict=True)
        result = {
            **self._plan.settings,
            "inherited": self._inherited and self._inherited.digest,
            "seed": self._seed,
            **{name: value if math.isfinite(value) else None for name, value in measured_values},
            "training_losses": losses,
            "training_images": len(images.x_train),
            "seconds": seconds,
            "devices": [device.name for device in tf.config.list_logical_devices()],
            "versions": versions(),
            "digest": trained.graph.digest,
            "sha256": sha256(self.network_file.read_bytes()).hexdigest(),
            "key": self._key,
        }
        write_whole(self._stem.with_suffix(".json"), (json.dumps(result, indent=2) + "\n").encode())
        self._checkpoint_file.unlink(missing_ok=True)
        return result


def _headline(plan: FinalPlan) -> str:
    begin = "random" if plan.config.from_scratch else "inherited"
    text = (
        f"network {plan.network.id}, {plan.network.architecture}: {plan.recipe.epochs} epoch"
        f"{'s' * (plan.recipe.epochs > 1)} from {begin} weights on "
        f"{len(plan.trained_on.x_train):,} training images"
    )
    also = ", validation images included: there is no validation accuracy"
    return text + also if plan.config.all_data else text


def _line(result: dict[str, Any], path: Path) -> str:
    """How one seed did."""
    named = {"validation": result["validation_accuracy"], "test": result["test_accuracy"]}
    told = ", ".join(f"{name} accuracy {100 * value:.2f} %" for name, value in named.items() if value is not None)
    return f"seed {result['seed']}: {told}, {result['seconds']:.1f} s, in {path}"


def spread(accuracies: list[float | None]) -> str:
    """Mean and sample standard deviation of two or more accuracies (fractions), in percent; empty if there are none."""
    values = [100 * accuracy for accuracy in accuracies if accuracy is not None]
    return f"mean {fmean(values):.2f} %, standard deviation {stdev(values):.2f}" if len(values) > 1 else ""
