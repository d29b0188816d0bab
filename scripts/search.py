"""Search for a better network: `python scripts/search.py --help`."""

import signal
import sys
from collections.abc import Sequence

import tyro

from eas_tf.errors import EASError
from eas_tf.evaluation.engine_config import EngineConfig
from eas_tf.search.config import SearchConfig
from eas_tf.training.silence import silent_import


def main(argv: Sequence[str] | None = None) -> int:
    """Run a search; 0 if it ended, 2 for bad input, 130 after Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        config = tyro.cli(SearchConfig, args=argv, prog="search.py")
        # What follows takes seconds to import, which --help and wrong options need not wait for.
        from eas_tf.search.plan import Plan

        plan = Plan.of(config)
        with silent_import():
            from eas_tf.evaluation.pool import pick_workers
            from eas_tf.evaluation.worker import configure
            from eas_tf.search.driver import search

            # This process as one worker would be: so the engine does not matter to the results.
            alone = pick_workers(EngineConfig(workers=1), plan.images)
            configure(alone.threads, alone.cores)
            if config.dry_run:
                from eas_tf.search.dry_run import estimate, lines

        if config.dry_run:
            print("\n".join(lines(estimate(plan))))
            return 0
        from eas_tf.search.progress import Progress

        search(plan, Progress(config.networks + 1))
        print(f"Everything is in {plan.config.output}")
    except EASError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted. What was finished is kept.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
