"""An error instead of a hang where a process was forked after TensorFlow was used. Importing this loads no TensorFlow.

A fork copies TensorFlow's state but not its threads, so the copy waits without end for what they should compute.
Whether TensorFlow was imported does not matter, only whether it has computed anything.
"""

import os
import sys

from eas_tf.errors import InvalidConfiguration

_too_late = False


def check_fork() -> None:
    """Must come before every first use of TensorFlow in a process.

    Raises:
        InvalidConfiguration: If TensorFlow was used before this process was forked.
    """
    if _too_late:
        raise InvalidConfiguration(
            "This process was forked from one that had used TensorFlow, and would hang in TensorFlow. Expected: a "
            'process started by "spawn". Received: one started by "fork". Use AsyncVectorEnv(..., context="spawn"), '
            'make_vec(..., vector_kwargs={"context": "spawn"}) or multiprocessing.get_context("spawn"), or fork before '
            "TensorFlow is first used."
        )


def _note_fork() -> None:
    """Remember in a forked process whether TensorFlow had been used: afterwards that cannot be seen."""
    global _too_late
    # The public functions of TensorFlow would start it. Where a later version names this otherwise, nothing is noted.
    context = getattr(sys.modules.get("tensorflow.python.eager.context"), "_context", None)
    _too_late |= bool(getattr(context, "_initialized", False))


if hasattr(os, "register_at_fork"):  # Windows has no forks.
    os.register_at_fork(after_in_child=_note_fork)
