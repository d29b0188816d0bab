"""A trained start network on the digits, and requests for its children."""

from dataclasses import replace

from eas_tf import data
from eas_tf.architecture import Net2Deeper, Net2Wider, space_named
from eas_tf.evaluation import Request
from eas_tf.evaluation.child import Family
from eas_tf.evaluation.start import train_start
from eas_tf.surgery import save_network
from eas_tf.training.recipe import RATE_FROM_SCRATCH, Recipe
from eas_tf.training.trainer import Trainer

RECIPE = Recipe(epochs=1, batch=64)
SCRATCH = replace(RECIPE, epochs=4, learning_rate=RATE_FROM_SCRATCH)
DIGITS = data.load("digits")
ARCHITECTURE = space_named("digits").start_network(DIGITS.input_shape, DIGITS.classes)


def trained_family(folder, recipe=RECIPE, trainer=None):
    """A family whose parent was trained for four epochs, and what is known of the parent."""
    start = train_start(trainer or Trainer(DIGITS), DIGITS, ARCHITECTURE, SCRATCH, seed=0)
    path = folder / "start.keras"
    save_network(start.graph, path)
    family = Family(
        parent=path, digest=start.graph.digest, architecture=ARCHITECTURE, data=DIGITS.fingerprint, recipe=recipe
    )
    return family, start


def request(family, *transformations, seed=0, recipe=None):
    child = family.architecture
    for transformation in transformations:
        child = transformation.apply(child)
    return Request(
        parent=str(family.architecture), transformations=transformations, architecture=child, seed=seed, recipe=recipe
    )


def batch_of_ten(family):
    """Children of several kinds, each with a seed of its own."""
    wider = [request(family, Net2Wider(0, 8 + i), seed=i) for i in range(6)]
    return wider + [request(family, Net2Deeper(1, 1, 3), Net2Wider(i, 20), seed=i) for i in (0, 2, 3, 5)]


def without_seconds(result):
    return replace(result, seconds=0.0)
