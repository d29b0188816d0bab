"""What a search tells at its end: the leaderboard, a picture, and what the best network does on the images."""

import json
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from eas_tf.metrics import as_found, count_found
from eas_tf.report.leaderboard import draw_progress, in_percent, leaderboard, measures
from eas_tf.report.recall import hidden
from eas_tf.runs.directory import RunDirectory
from eas_tf.runs.progress import Progress
from eas_tf.search.networks import Networks
from eas_tf.search.plan import Plan
from eas_tf.storing import storing
from eas_tf.surgery import LayerGraph
from eas_tf.training.trainer import VALIDATION_BATCH


def report(plan: Plan, run: RunDirectory, networks: Networks, progress: Progress, *, train_again: bool) -> None:
    """The leaderboard, the picture, and the best network."""
    config = plan.config
    with storing(run.path):
        title = f"{config.dataset}, {config.agent}, seed {config.seed}"
        draw_progress(networks.all, title, run.path / "progress.png", config.metric)
    progress.say(leaderboard(networks.all, config.metric))
    if plan.trains:
        networks.publish_best(train_again=train_again)


def measure(plan: Plan, run: RunDirectory, networks: Networks, progress: Progress) -> None:
    """What start network and best network do on the images, and the digest of all that the search found.

    Both are told on the test images: the best of many on few validation images is lucky.
    """
    if plan.trains:
        images = plan.images
        found = as_found(json.loads(networks[0].found))
        named = measures("validation", networks[0].accuracy, found, plan.config.metric)
        try:
            if run.weights(0).exists():
                named |= _does(plan, run.weights(0), ("test",))[0]
            progress.say(f"start network: {in_percent(named)}")
            run.write_json("tested.json", {"start": named, "best": _say_what_the_best_does(plan, run, progress)})
        except (tf.errors.ResourceExhaustedError, MemoryError):
            progress.say(f"best network:  not measured, because there is not enough memory; it is whole, in {run.best}")
        for note in filter(None, [images.note, *images.cautions]):
            progress.say(note)
    progress.say(f"decisions and results: {run.record.digest()}")


def _say_what_the_best_does(plan: Plan, run: RunDirectory, progress: Progress) -> dict[str, float]:
    """How the saved network does on the images that it was not trained on; what its accuracy hides is said, too."""
    named, unseen = _does(plan, run.best, ("validation", "test"))
    progress.say(f"best network:  {in_percent(named)}, in {run.best}")
    for line in filter(None, unseen):
        progress.say(line)
    if any(unseen) and plan.config.metric == "accuracy":
        progress.say("A new search with metric balanced_accuracy counts every class alike, however rare it is.")
    return named


def _does(plan: Plan, path: Path, which: Sequence[str]) -> tuple[dict[str, float], list[str]]:
    """What the measures say of a saved network on some images, and what these hide."""
    images, named, unseen = plan.images, dict[str, float](), []
    model = keras.models.load_model(path, compile=False, safe_mode=True)
    for name, x, y in (("validation", images.x_val, images.y_val), ("test", images.x_test, images.y_test)):
        if name not in which or x is None or y is None:
            continue
        found = count_found(classified(model, x, plan.recipe.batch) == y, y, images.classes)
        named |= measures(name, sum(right for right, _ in found) / len(y), found, plan.config.metric)
        unseen.append(hidden(found, images.class_names, name))
    return named, unseen


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
