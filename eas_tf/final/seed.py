"""One seed of a final training: from checkpoint to checkpoint, and what it leaves. See `training.py` for the files."""

import json
import math
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from eas_tf.errors import InvalidConfiguration, RunDamaged, Stopped
from eas_tf.files import write_whole
from eas_tf.final.plan import FinalPlan
from eas_tf.runs.interruption import Interruption
from eas_tf.runs.progress import Progress
from eas_tf.runs.versions import versions
from eas_tf.storing import storing
from eas_tf.surgery import LayerGraph, initialise, load_network, lower, save_network
from eas_tf.training.checkpoint import Checkpoint
from eas_tf.training.trainer import Measured, Trained, Trainer, measure


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

    def checkpoint(self, interruption: Interruption | None = None) -> Checkpoint:
        """Where the training is kept that is not at its end; it ends after the epoch in which somebody interrupts."""
        every = self._plan.config.checkpoint_seconds
        stops = (lambda: interruption.asked) if interruption else (lambda: False)
        return Checkpoint(self._stem.with_suffix(".npz"), self._key, every=every, stops=stops)

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
        file = self.checkpoint(interruption)
        last, epochs = file.read(), self._plan.recipe.epochs
        before = len(last.losses) if last else 0
        progress.begin(done + before, lambda: None)
        if last:
            progress.say(f"seed {self._seed} goes on after epoch {before}")

        def on_epoch(epoch: int, loss: float) -> None:
            progress.step(f"seed {self._seed}, epoch {epoch}/{epochs}, loss {loss:.3f}")

        if interruption.asked:
            raise Stopped(f"Seed {self._seed} is not at its end.")
        graph, seed = self._beginning()
        try:
            trained = trainer.train(
                graph, self._plan.recipe, seed=seed, on_epoch=on_epoch, on_state=file.offer, resume_from=last
            )
        except (tf.errors.ResourceExhaustedError, MemoryError) as error:
            raise InvalidConfiguration(
                f"Network {self._plan.network.id} needs more memory in training than there is: train it on a larger "
                f"device, or on several with --strategy mirrored. {(str(error).splitlines() or [''])[0]}"
            ) from error
        return self._finish(trained, file, progress)

    def _beginning(self) -> tuple[LayerGraph, int]:
        """The network before its training, and the seed of that: from scratch as a start network is trained."""
        weights, training = np.random.SeedSequence(self._seed).spawn(2)
        graph = self._inherited
        if graph is None:
            images = self._plan.images
            lowered = lower(self._plan.architecture(self._plan.network), images.mean, images.std)
            graph = initialise(lowered, rng=np.random.default_rng(weights))
        return graph, int(training.generate_state(1)[0] >> 1)

    def _finish(self, trained: Trained, file: Checkpoint, progress: Progress) -> dict[str, Any]:
        """Write the network, test what was written, write how it did."""
        with storing(self.network_file):
            save_network(trained.graph, self.network_file)
        images, test = self._plan.trained_on, Measured(math.nan, math.nan, ())
        if images.x_test is not None and images.y_test is not None:
            try:
                test = measure(load_network(self.network_file), images.x_test, images.y_test, self._plan.recipe.batch)
            except (tf.errors.ResourceExhaustedError, MemoryError):
                progress.say(f"seed {self._seed} is not tested, because there is not enough memory")
        names = ("validation_accuracy", "validation_loss", "test_accuracy", "test_loss")
        measured_values = zip(names, (trained.accuracy, trained.loss, test.accuracy, test.loss), strict=True)
        result = {
            **self._plan.settings,
            "inherited": self._inherited and self._inherited.digest,
            "seed": self._seed,
            **{name: value if math.isfinite(value) else None for name, value in measured_values},
            "validation_found": [list(each) for each in trained.found],
            "test_found": [list(each) for each in test.found],
            "training_losses": list(trained.losses),
            "training_images": len(images.x_train),
            "seconds": trained.seconds,
            "devices": [device.name for device in tf.config.list_logical_devices()],
            "versions": versions(),
            "digest": trained.graph.digest,
            "sha256": sha256(self.network_file.read_bytes()).hexdigest(),
            "key": self._key,
        }
        write_whole(self._stem.with_suffix(".json"), (json.dumps(result, indent=2) + "\n").encode())
        file.delete()
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
