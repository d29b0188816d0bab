"""A search from Python, without a command line."""

import warnings
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eas_tf.backend import use_tensorflow
from eas_tf.errors import InvalidConfiguration
from eas_tf.fields import check_names
from eas_tf.runs.progress import ClockProgress, Progress
from eas_tf.runs.ranking import ranked
from eas_tf.runs.record import Network, Record
from eas_tf.search.config import SearchConfig
from eas_tf.text import printable

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search has found."""

    directory: Path
    """The run directory: record, weights, pictures, and `best.keras` if networks were trained."""
    networks: tuple[Network, ...]
    """All networks in their order, the start network first."""

    @property
    def best(self) -> Network:
        """The one with the best score."""
        return ranked(self.networks)[0]

    def model(self) -> "keras.Model":
        """The best network, which takes raw pixels from 0 to 255, `[n, height, width, channels]`.

        Raises:
            InvalidConfiguration: If nothing was trained.
        """
        import keras

        path = self.directory / "best.keras"
        if not path.exists():
            raise InvalidConfiguration(f"There is no {path}: accuracies came from a closed form.")
        model: keras.Model = keras.models.load_model(path, compile=False, safe_mode=True)
        return model


def run(config: SearchConfig | None = None, progress: Progress | None = None, **options: Any) -> Found:
    """Run a search, and return what it found. `Ctrl-C` ends it at once; what was finished is in the run directory.

    `run(SearchConfig(networks=40))` and `run(networks=40)` are the same new search. `run(resume="runs/mine")` goes on
    with a run, by its own configuration and the options that are given beside `resume`.

    Args:
        config: What to search, and for how long; by default `SearchConfig()`. Not with `resume`.
        progress: Told of all that happens; by default it prints.
        options: Fields of `SearchConfig`, instead of those of `config` or of the run.

    Raises:
        EASError: If something does not fit, or too many children fail.
    """
    if not isinstance(config, SearchConfig | None):
        raise InvalidConfiguration(
            "run(SearchConfig(...)) or run(networks=...) is a new search; run(resume=...) goes on with the run of a "
            f"directory. Received: {printable(repr(config))}"
        )
    if not isinstance(progress, Progress | None):
        raise InvalidConfiguration(f"`progress` is a Progress or None. Received: {printable(repr(progress))}")
    check_names(options, [field.name for field in fields(SearchConfig)], "A search")
    use_tensorflow(warnings.warn)
    from eas_tf.search.driver import search
    from eas_tf.search.plan import Plan
    from eas_tf.search.resuming import asked_config
    from eas_tf.search.threads import as_one_worker

    resume = SearchConfig(resume=options.get("resume")).resume  # whether it is a path
    # A whole configuration does not tell what was said in it from what was left out.
    if config is not None and (resume or config.resume):
        raise InvalidConfiguration(
            "A run goes on by its own configuration: call run(resume=...), with the options that shall change beside "
            f"it, and without a SearchConfig. Received: `resume` {str(resume or config.resume)!r}"
        )
    asked = asked_config(lambda default: replace(config or default, **options), resume=resume)
    if asked.dry_run:
        raise InvalidConfiguration("`dry_run` is for the command line; see `eas_tf.search.dry_run.estimate`.")
    plan = Plan.of(asked)
    hours = plan.config.hours
    progress = progress or (ClockProgress(hours * 3600) if hours else Progress(plan.networks))
    as_one_worker(plan, progress.say)
    search(plan, progress)
    directory = plan.config.output
    record = Record(directory / "run.sqlite")
    try:
        return Found(directory=directory, networks=tuple(record.networks()))
    finally:
        record.close()
