"""Threads of the process that searches: as many as one worker with all cores has.

So it does not matter to the results which engine trains, nor whether a search is begun from Python or by its script.
"""

from collections.abc import Callable

from eas_tf.evaluation.share import pick_threads
from eas_tf.evaluation.worker import configure
from eas_tf.machine import usable_cores
from eas_tf.search.plan import Plan


def as_one_worker(plan: Plan, say: Callable[[str], None]) -> None:
    """Set TensorFlow up in this process, unless it was used already.

    Args:
        plan: Decides by the size of its images.
        say: Told where TensorFlow has other threads and cannot be set up any more.
    """
    if not plan.trains:
        return
    import tensorflow as tf

    threads, cores = pick_threads(plan.start.input_shape, usable_cores()), usable_cores()
    try:
        configure(threads, cores)
    except RuntimeError:  # it was used before
        found = tf.config.threading.get_intra_op_parallelism_threads()
        if found != threads:
            say(
                f"TensorFlow was used in this process before, with {found or 'its own number of'} threads for an "
                f"operation instead of {threads}: the last digits may differ from those of scripts/search.py."
            )
