"""The paper's data sets from tensorflow-datasets all the way through a child, on generated images of their shape."""

from dataclasses import replace

import pytest
import tensorflow_datasets as tfds
from strategies import widen_together

from eas_tf import data
from eas_tf.architecture import space_named
from eas_tf.evaluation import Request
from eas_tf.evaluation.child import ChildTrainer, Family
from eas_tf.evaluation.engines import InlineEngine
from eas_tf.evaluation.start import train_start
from eas_tf.surgery import save_network
from eas_tf.training.recipe import RATE_FROM_SCRATCH, Recipe
from eas_tf.training.trainer import Trainer


@pytest.mark.parametrize("name", ["cifar10", "svhn_cropped"])
def test_a_child_is_trained(name, tmp_path):
    with tfds.testing.mock_data(num_examples=200):
        images = data.load(name, data_dir=str(tmp_path))
    assert (len(images.x_train), len(images.x_val), images.classes) == (150, 50, 10)
    space = space_named("toy")
    architecture = space.start_network(images.input_shape, images.classes)
    recipe = Recipe(epochs=1, batch=50, crop_and_flip=images.crop_and_flip)
    trainer = Trainer(images)
    start = train_start(trainer, images, architecture, replace(recipe, learning_rate=RATE_FROM_SCRATCH), seed=0)
    save_network(start.graph, tmp_path / "start.keras")
    family = Family(
        parent=tmp_path / "start.keras",
        digest=start.graph.digest,
        architecture=architecture,
        data=images.fingerprint,
        recipe=recipe,
    )
    wider = widen_together(space, architecture, [0, 2])
    child = space.climbed(architecture, [0, 2])
    request = Request(parent=family.digest, transformations=wider, architecture=child, seed=0)
    ((_, trained),) = InlineEngine(ChildTrainer(trainer, images)).run([(family, request)])
    result = trained.result
    assert result.failure is None
    assert 0 <= result.accuracy <= 1
    assert result.accuracy * 50 == pytest.approx(round(result.accuracy * 50))
