"""One seed of a final training: from checkpoint to checkpoint, and what it leaves. See `final.py` for the files."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from eas_tf.errors import InvalidConfiguration, RunDamaged, Stopped
from eas_tf.search.config import versions
from eas_tf.search.final_plan import FinalPlan
from eas_tf.search.limits import Interruption
from eas_tf.search.progress import Progress
from eas_tf.search.run_directory import storing, write_whole
from eas_tf.surgery import LayerGraph, initialise, load_network, lower, save_network
from eas_tf.training.flat_weights import TrainingState
from eas_tf.training.trainer import Measured, Trained, Trainer, measure


@dataclass(frozen=True, kw_only=True, eq=False)
class _Checkpoint:
    """A training that is not at its end."""

    state: TrainingState
    losses: list[float] = field(default_factory=list)
    """Of each epoch that is over, in nats."""
    seconds: float
    """That it took."""


class FinalSeed:
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
        result = read_json(file, again)
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
        images, test = self._plan.trained_on, Measured(math.nan, math.nan, ())
        if images.x_test is not None and images.y_test is not None:
            test = measure(load_network(self.network_file), images.x_test, images.y_test)
        names = ("validation_accuracy", "validation_loss", "test_accuracy", "test_loss")
        measured_values = zip(names, (trained.accuracy, trained.loss, test.accuracy, test.loss), strict=True)
        result = {
            **self._plan.settings,
            "inherited": self._inherited and self._inherited.digest,
            "seed": self._seed,
            **{name: value if math.isfinite(value) else None for name, value in measured_values},
            "validation_found": trained.found,
            "test_found": test.found,
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


def read_json(path: Path, otherwise: str) -> dict[str, Any]:
    """The content of a file that this training has written.

    Raises:
        RunDamaged: If it cannot be read, with what to do.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise RunDamaged(f"{path} is damaged: copy it back, {otherwise}. {error}") from error
    return content if isinstance(content, dict) else {}
