"""Layers for training: the same weights and results as Keras's layers, by other means."""

from typing import Any

import keras
import tensorflow as tf


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Batch norm by TensorFlow's fused kernel, which Keras 3 does not use; for one device.

    In training it traces in half the time and gives up to 1.6 times the images per second on a CPU. At inference it
    is Keras's own layer, so that a network's measured accuracy is that of its saved file.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise `[n, h, w, c]` or `[n, c]`, n known, by the batch's statistics, and move the moving ones."""
        if not training:
            return super().call(inputs, training=training, mask=mask)
        channels = inputs.shape[-1]
        values = inputs.shape.num_elements() // channels
        # The kernel moves the variance by the unbiased one of a channel's values, Keras by the biased one. The rule is
        # linear: what goes in is divided by their ratio, and what comes out is multiplied by it.
        biased = max(values - 1, 1) / values
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs if inputs.shape.rank == 4 else tf.reshape(inputs, [-1, 1, 1, channels]),
            scale=self.gamma,
            offset=self.beta,
            mean=self.moving_mean,
            variance=self.moving_variance * (1 / biased),
            epsilon=self.epsilon,
            exponential_avg_factor=1 - self.momentum,
        )
        self.moving_mean.assign(mean)
        self.moving_variance.assign(variance * biased)
        return outputs if inputs.shape.rank == 4 else tf.reshape(outputs, inputs.shape)


class PixelNormalization(keras.layers.Normalization):
    """Normalization with a mean and a variance of each pixel, all the same.

    TensorFlow is several times slower where what it repeats is as short as a pixel's channels.
    """

    def finalize_state(self) -> None:
        """Repeat what Keras repeats for each pixel."""
        super().finalize_state()
        image = self._build_input_shape[1:]
        if None not in image:
            self.mean: Any = tf.broadcast_to(self.mean, [1, *image])
            self.variance: Any = tf.broadcast_to(self.variance, [1, *image])


class SynchronizedBatchNormalization(keras.layers.BatchNormalization):
    """Batch norm by the statistics of all devices' images together, so that the number of devices changes nothing."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "synchronized": True})


class HalvedConv2D(keras.layers.Conv2D):
    """A convolution whose forward pass is two operations, one for each half of the batch; for two cores.

    Backward there are two operations anyway, the gradients of inputs and kernel. On small images TensorFlow is faster
    with one core for each operation than with two for one, and then half of the machine would wait in the forward pass:
    a step takes up to 15 % less.
    """

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """Convolve `[n, h, w, c]`, n known and even; all else is left to Keras."""
        plain = self.groups == 1 and set(self.dilation_rate) == {1} and self.data_format == "channels_last"
        if tf.executing_eagerly() or inputs.shape[0] % 2 or not plain:
            return super().convolution_op(inputs, kernel)
        options = {"strides": [1, *self.strides, 1], "padding": self.padding.upper()}

        @tf.custom_gradient
        def convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Any]:
            def gradient(outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                return (
                    tf.raw_ops.Conv2DBackpropInput(
                        input_sizes=inputs.shape, filter=kernel, out_backprop=outputs, **options
                    ),
                    tf.raw_ops.Conv2DBackpropFilter(
                        input=inputs, filter_sizes=kernel.shape, out_backprop=outputs, **options
                    ),
                )

            halves = [tf.raw_ops.Conv2D(input=half, filter=kernel, **options) for half in tf.split(inputs, 2)]
            return tf.concat(halves, 0), gradient

        return convolve(inputs, tf.convert_to_tensor(kernel))
