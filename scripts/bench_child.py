"""One whole child on the digits (build, trace, 20 epochs, validation) against Keras's compile, fit and evaluate.

Both start from the same layer graph with the same weights, alternate in one process, and see the same images. Keras has
a cached `tf.data` pipeline and no L2, which would only cost it more time. Prints medians and their ratio.
"""

import statistics
import sys
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from eas_tf import data
from eas_tf.architecture import PlainCNN
from eas_tf.surgery import LayerGraph, initialise, lower
from eas_tf.training.recipe import Recipe
from eas_tf.training.trainer import Trainer

REPETITIONS = 5
RECIPE = Recipe(epochs=20, batch=64)
NETWORKS = {
    convolutions: ", ".join(
        [
            *["C(16,3,1)"] * (convolutions // 2),
            "P(2,2,MAX)",
            *["C(32,3,1)"] * (convolutions // 2),
            "P(4,4,AVG)",
            "FC(64)",
            "SM(10)",
        ]
    )
    for convolutions in (6, 12)
}


def with_keras(graph: LayerGraph, images: data.ImageData) -> float:
    """Train and validate as a user of Keras would; the validation accuracy."""
    steps = len(images.x_train) // RECIPE.batch * RECIPE.epochs
    rate = keras.optimizers.schedules.CosineDecay(RECIPE.learning_rate, steps)
    training = tf.data.Dataset.from_tensor_slices((images.x_train, images.y_train)).cache()
    training = training.shuffle(len(images.x_train)).batch(RECIPE.batch, drop_remainder=True).prefetch(2)
    validation = tf.data.Dataset.from_tensor_slices((images.x_val, images.y_val)).batch(512).cache()
    model = graph.to_keras()
    model.compile(
        keras.optimizers.SGD(rate, momentum=RECIPE.momentum, nesterov=True),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    model.fit(training, epochs=RECIPE.epochs, verbose=0)
    return float(model.evaluate(validation, verbose=0)[1])


def seconds(child: Callable[[], float]) -> tuple[float, float]:
    """How long a child took, and its validation accuracy."""
    start = time.perf_counter()
    accuracy = child()
    return time.perf_counter() - start, accuracy


def main() -> int:
    """Print a line for each network."""
    images = data.load("digits")
    trainer = Trainer(images)
    print(f"tensorflow {tf.__version__}, keras {keras.__version__}, {REPETITIONS} repetitions, alternating, medians")
    for convolutions, text in NETWORKS.items():
        architecture = PlainCNN.parse(text, images.input_shape)
        graph = initialise(lower(architecture, images.mean, images.std), rng=np.random.default_rng(0))
        ours, theirs = [], []
        for repetition in range(REPETITIONS):
            seed = repetition
            ours.append(seconds(lambda: trainer.train(graph, RECIPE, seed=seed).accuracy))  # noqa: B023 - called now
            theirs.append(seconds(lambda: with_keras(graph, images)))  # noqa: B023 - called now
        a, b = (statistics.median(time for time, _ in runs) for runs in (ours, theirs))
        print(
            f"{convolutions:2} convolutions: eas_tf {a:.2f} s, Keras {b:.2f} s, ratio {a / b:.2f}; median accuracy "
            f"{statistics.median(x for _, x in ours):.3f} and {statistics.median(x for _, x in theirs):.3f}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
