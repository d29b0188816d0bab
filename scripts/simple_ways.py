"""Simple ways of training, for `compare_budget.py`: a residual network in Keras's `fit`, and KerasTuner."""

from contextlib import suppress
from math import cos, pi
from typing import TYPE_CHECKING, Any, Protocol

from eas_tf.training.silence import silent_import

if TYPE_CHECKING:
    import keras

    from eas_tf.data import ImageData


class Clock(Protocol):
    """A budget."""

    def left(self) -> float:
        """Seconds for training."""

    def share(self) -> float:
        """How much of them is over, from 0 to 1."""


def fit(images: "ImageData", clock: Clock, seed: int) -> "keras.Model":
    """Three residual blocks, SGD with a cosine, crops and flips, in Keras's `fit`, as a careful user writes it."""
    with silent_import():
        import keras
        import tensorflow as tf

    keras.utils.set_random_seed(seed)
    model = residual(images)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True), "sparse_categorical_crossentropy")

    class ByTheClock(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras's signature
            self.model.optimizer.learning_rate.assign(0.05 * (1 + cos(pi * clock.share())))

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras's signature
            self.model.stop_training = clock.left() <= 0
            if self.model.stop_training:
                raise StopIteration

    def changed(image: Any, label: Any) -> Any:
        height, width, channels = images.input_shape
        image = tf.pad(image, [[4, 4], [4, 4], [0, 0]], "REFLECT" if min(height, width) > 4 else "CONSTANT")
        image = tf.image.random_crop(image, [height, width, channels])
        return tf.image.random_flip_left_right(image), label

    batches = tf.data.Dataset.from_tensor_slices((images.x_train, images.y_train)).cache()
    batches = batches.shuffle(len(images.x_train), seed=seed)
    if images.crop_and_flip:
        batches = batches.map(changed, num_parallel_calls=tf.data.AUTOTUNE)
    batch = min(64, len(images.x_train))
    with suppress(StopIteration):
        model.fit(
            batches.batch(batch, drop_remainder=True).prefetch(2),
            epochs=1_000_000,
            verbose=0,
            callbacks=[ByTheClock()],
        )
    return model


def residual(images: "ImageData") -> "keras.Model":
    """A small residual network: 16, 32 and 64 filters."""
    import keras

    layers = keras.layers
    decay = keras.regularizers.L2(2.5e-4)  # 5e-4 as searches count it

    def convolved(values: Any, filters: int, stride: int = 1, kernel: int = 3) -> Any:
        values = layers.Conv2D(
            filters, kernel, stride, "same", use_bias=False, kernel_regularizer=decay, kernel_initializer="he_normal"
        )(values)
        return layers.BatchNormalization()(values)

    inputs = keras.Input(images.input_shape)
    values = layers.Normalization(mean=images.mean, variance=[each**2 for each in images.std])(inputs)
    values = layers.ReLU()(convolved(values, 16))
    for filters, stride in ((16, 1), (32, 2), (64, 2)):
        shortcut = values if stride == 1 else convolved(values, filters, stride, 1)
        values = layers.ReLU()(convolved(values, filters, stride))
        values = layers.ReLU()(layers.Add()([convolved(values, filters), shortcut]))
    outputs = layers.Dense(images.classes, "softmax")(layers.GlobalAveragePooling2D()(values))
    return keras.Model(inputs, outputs)


def tuned(images: "ImageData", clock: Clock, seed: int, folder: dict[str, Any], *, hyperband: bool) -> "keras.Model":
    """KerasTuner on plain networks of four to twelve convolutions, ten epochs a trial."""
    with silent_import():
        import keras
        import keras_tuner

    layers = keras.layers
    keras.utils.set_random_seed(seed)

    def build(choices: Any) -> keras.Model:
        model = keras.Sequential([keras.Input(images.input_shape), layers.Rescaling(1 / 255)])
        if images.crop_and_flip:
            model.add(layers.RandomFlip("horizontal"))
            model.add(layers.RandomTranslation(0.125, 0.125))
        for block in range(choices.Int("blocks", 2, 4)):
            for _ in range(choices.Int(f"layers_{block}", 2, 3)):
                model.add(layers.Conv2D(choices.Choice(f"filters_{block}", [16, 32, 64, 128]), 3, padding="same"))
                model.add(layers.BatchNormalization())
                model.add(layers.ReLU())
            model.add(layers.MaxPooling2D(padding="same"))
        model.add(layers.GlobalAveragePooling2D())
        model.add(layers.Dense(images.classes, "softmax"))
        rate = choices.Float("rate", 1e-4, 1e-2, sampling="log")
        model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    class Deadline(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras's signature
            if clock.left() <= 0:
                raise TimeoutError

    if not hyperband:
        tuner = keras_tuner.RandomSearch(build, "val_accuracy", max_trials=10_000, seed=seed, **folder)
        epochs = {"epochs": 10}
    else:
        tuner = keras_tuner.Hyperband(build, "val_accuracy", max_epochs=30, seed=seed, **folder)
        epochs = {}
    with suppress(TimeoutError):
        tuner.search(
            images.x_train,
            images.y_train,
            batch_size=64,
            validation_data=(images.x_val, images.y_val),
            callbacks=[Deadline()],
            verbose=0,
            **epochs,
        )
    (model,) = tuner.get_best_models(1)
    return model
