"""The final training of a network that a search has found: `python scripts/train.py --help`."""

import os
import shlex
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import tyro

from eas_tf.backend import use_tensorflow
from eas_tf.errors import Stopped, exit_code
from eas_tf.final.plan import FinalConfig, FinalPlan
from eas_tf.machine import usable_cores
from eas_tf.runs.interruption import Interruption
from eas_tf.runs.progress import Progress
from eas_tf.training.silence import silent_import


def main(argv: Sequence[str] | None = None) -> int:
    """Train a network, or go on with that; 0 if it is done."""
    config = tyro.cli(FinalConfig, args=argv, prog="train.py")
    use_tensorflow(print)
    plan = FinalPlan.of(config)
    with silent_import():
        from eas_tf.evaluation.pool import pick_threads
        from eas_tf.evaluation.worker import configure
        from eas_tf.final.training import final_training

        # As the search trains: so a network that is trained as it was there is the same.
        cores = usable_cores()
        configure(pick_threads(plan.images, cores), cores)
    chosen = [] if config.network is not None else ["--network", str(plan.network.id)]
    go_on = shlex.join(["python", sys.argv[0], *(sys.argv[1:] if argv is None else argv), *chosen])
    # In a thread, because an epoch is one call of TensorFlow, during which its thread hears no signal.
    pool = ThreadPoolExecutor(1)
    try:
        with (
            Interruption("Finishing the epoch. Ctrl-C again ends at once.") as interruption,
            Progress(config.seeds * config.epochs, first="building the network") as progress,
        ):
            pool.submit(final_training, plan, progress, interruption).result()
    except Stopped:
        print(f"Interrupted. To go on: {go_on}", file=sys.stderr)
        return Stopped.exit_code
    except KeyboardInterrupt:
        print(f"Ended at once. To go on from the last checkpoint: {go_on}", file=sys.stderr, flush=True)
        os._exit(Stopped.exit_code)
    print(f"Everything is in {plan.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
