"""Search for a better network: `python scripts/search.py --help`."""

import os
import sys
from collections.abc import Sequence

import tyro

from eas_tf.errors import EASError
from eas_tf.search.config import SearchConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Run a search; 0 if it ended, 2 for bad input, 130 after Ctrl-C."""
    # TensorFlow's own log would stand between the lines of progress.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        config = tyro.cli(SearchConfig, args=argv, prog="search.py")
        # TensorFlow takes seconds to import; --help and wrong options need none of it.
        from eas_tf.search.driver import search
        from eas_tf.search.progress import Progress

        path = search(config, Progress(config.networks + 1))
        print(f"Everything is in {path}")
    except EASError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted: what was finished is kept.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
