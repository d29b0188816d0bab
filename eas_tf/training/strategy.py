"""One network on several devices: which `tf.distribute` strategy trains it."""

from functools import cache

import tensorflow as tf

from eas_tf.training.config import StrategyName, check_strategy


def make_strategy(name: StrategyName = "auto") -> tf.distribute.Strategy:
    """The strategy of that name, over all GPUs, or all logical CPUs where there is no GPU.

    Raises:
        InvalidConfiguration: If there is no such strategy.
    """
    check_strategy(name)
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        devices = gpus or tf.config.list_logical_devices("CPU")
        return _mirrored(tuple(device.name for device in devices))
    return tf.distribute.get_strategy()


@cache
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    # A second strategy would count its collective operations from the start again, and TensorFlow would take them for
    # the first one's: a network of another shape then fails with "Shape mismatch in the collective instance".
    return tf.distribute.MirroredStrategy(devices)
