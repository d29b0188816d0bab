"""Tests run in a process for each core, each with two logical CPU devices for `MirroredStrategy` to mirror."""

import os

import psutil
import pytest

from eas_tf.training.silence import silent_import

os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # Several processes share a GPU.

with silent_import():
    import tensorflow as tf

    _CPU = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(_CPU, [tf.config.LogicalDeviceConfiguration()] * 2)

#: Processes of tests, each of which has a TensorFlow of its own.
MOST_PROCESSES = 4


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """With `-s` none but this one, whose output is seen."""
    return 0 if config.getoption("capture") == "no" else min(MOST_PROCESSES, psutil.cpu_count() or 1)
