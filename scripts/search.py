"""Search for a better network: `python scripts/search.py --help`."""

import os
import shlex
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import psutil

from eas_tf.backend import use_tensorflow
from eas_tf.errors import Stopped, exit_code
from eas_tf.search.resuming import read_config
from eas_tf.training.silence import silent_import


def main(argv: Sequence[str] | None = None) -> int:
    """Run a search, or go on with one; 0 if it is done or a budget is used up."""
    config = read_config(argv)
    use_tensorflow(print)
    # What follows takes seconds to import, which --help and wrong options need not wait for.
    from eas_tf.search.plan import Plan

    plan = Plan.of(config)
    with silent_import():
        from eas_tf.evaluation.scratch import close_all
        from eas_tf.search.driver import search
        from eas_tf.search.threads import as_one_worker

        as_one_worker(plan, print)
        if config.dry_run:
            from eas_tf.search.dry_run import estimate, lines

    if config.dry_run:
        print("\n".join([*plan.notes, *lines(estimate(plan))]))
        return 0
    from eas_tf.runs.interruption import Interruption
    from eas_tf.runs.progress import ClockProgress, Progress

    run = plan.config.output
    go_on = f"To go on: python {sys.argv[0]} --resume {shlex.quote(str(run))}"
    hours = plan.config.hours
    progress = ClockProgress(hours * 3600) if hours else Progress(plan.networks)
    begun = time.monotonic() - (time.time() - psutil.Process().create_time())
    # In a thread, because an epoch is one call of TensorFlow, during which its thread hears no signal.
    pool = ThreadPoolExecutor(1)
    try:
        with Interruption("Finishing the children that are in training. Ctrl-C again ends at once.") as interruption:
            pool.submit(search, plan, progress, interruption, begun).result()
    except Stopped:
        print(f"Interrupted. What was finished is kept. {go_on}", file=sys.stderr)
        return Stopped.exit_code
    except KeyboardInterrupt:
        progress.stop()
        close_all()
        print(f"Ended at once. What was finished is kept. {go_on}", file=sys.stderr, flush=True)
        os._exit(Stopped.exit_code)
    print(f"Everything is in {run}")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
