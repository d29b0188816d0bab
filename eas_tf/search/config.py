"""What a search is told: one dataclass, from which the command line is made. Imports no TensorFlow."""

from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from eas_tf.agents import check_agent
from eas_tf.architecture import Schedule, space_named
from eas_tf.errors import InvalidConfiguration
from eas_tf.evaluation.engine_config import ChildrenConfig, EngineName
from eas_tf.evaluation.price import Price
from eas_tf.metrics import Metric
from eas_tf.paths import expanded
from eas_tf.registration import ENVIRONMENTS
from eas_tf.training.config import check_least

#: For data sets without an environment of their own.
_DEFAULTS = {"space": "paper", "epochs": 20, "start_epochs": 20, "batch": 64}

#: What a search by the clock decides for itself.
SCHEDULED = (
    *("networks", "stages", "epochs", "start_epochs", "promote_epochs", "restart_every", "controller"),
    *("max_hours", "max_networks", "patience", "stopping", "child_seconds", "cache", "dry_run", "extend"),
)


@dataclass(frozen=True, kw_only=True)
class SearchConfig(Schedule, ChildrenConfig):
    """Grow a trained network: train a start network, then search for better ones among its children."""

    engine: EngineName | Literal["surrogate"] | None = None  # type: ignore[assignment]  # until it is resolved
    """By default pool, and with --hours inline: one network after the other has the cores that the last training has.
    pool: worker processes on this machine. inline: this process. ray: the machines of a Ray cluster. surrogate:
    nothing is trained, and accuracies come from a closed form, to try agents and options."""
    download: bool = False
    """Let tensorflow-datasets download a data set that is not there."""
    agent: str | None = None
    """By default reinforce, and with --hours random, because so few networks teach an agent nothing. reinforce: the
    paper's controller. random: random search in the same space on the same schedule. evolution:
    regularised evolution, in which children differ from the best of some recent networks by one to three moves."""
    space: str | None = None
    """paper, large, toy, digits, densenet, densenet-rederive, densenet-small or densenet-digits. By default digits for
    the digits, paper for all else."""
    start: str | None = None
    """Layer string of the start network, such as "C(16,3,1), P(2,2,MAX), FC(64), SM(10)". By default the space's."""
    networks: int = 40
    """How many children to train (paper: 300 in its first stage)."""
    stages: Annotated[str | tuple[int, ...] | None, tyro.conf.arg(metavar="{None}|INT,INT,...")] = None
    """How many in each of several stages, such as 300,150 (the paper's). After each but the last the best network is
    trained longer, and the next stage grows that one. By default one stage of --networks."""
    promote_epochs: int | None = None
    """Passes over the training images for the best network of a stage, before the next one. By default five times
    those of a child (paper: 100); 0 takes it as it is."""
    restart_every: int = 0
    """After every so many batches of ten networks, children grow from the best network so far; 0 for never."""
    controller: Literal["keep", "reset"] = "keep"
    """Whether the agent takes what it has learned along into the next stage, or begins anew."""
    hours: float | None = None
    """Find the best network that so many hours buy, on this machine: the search plans everything in them, the last long
    training of what it found and its test included, and ends with them."""
    max_hours: float | None = None
    """End after so many hours of work, those before a resume included. Children that are in training then are given up,
    and a resume trains them anew."""
    max_networks: int | None = None
    """Train no more children than this in all, whatever the stages say."""
    patience: int | None = None
    """End after so many children without a new best one."""
    keep: int = 5
    """Keep the weights of so many of the best networks, beside those that children grow from."""
    max_params: int | None = None
    """No network gets more trainable weights than this."""
    metric: Metric = "accuracy"
    """What the reward, and what best means, are made of: the accuracy on the validation images, or the mean recall of
    all classes, however rare they are; training then counts all classes alike, too."""
    price_parameters: float = 0.0
    """What trainable weights cost: the reward, and what best means, are made of metric * (size / start's)^-price
    (MnasNet's is 0.07)."""
    price_multiply_adds: float = 0.0
    """The same for the multiply-adds of one image."""
    symmetry_breaking: Literal["shares", "noise"] = "shares"
    """How replicated channels are made to differ: by unequal shares, which keeps the function exactly, or by the
    paper's noise."""
    seed: int = 0
    """Decides the start network, all decisions, and the training."""
    cache: Path | None = None
    """An SQLite file of results, which this search reads and adds to, so that no child is trained twice over several
    searches. By default none."""
    dry_run: bool = False
    """Train nothing: estimate the time of the whole search from a few steps of each size of network."""
    output: Path | None = None
    """The run directory, new or empty. By default a new one in ./runs."""
    resume: Path | None = None
    """A run directory to go on with, exactly as if it had not ended. Other options may then be left out; those that
    decide about networks must be as they were."""
    extend: bool = False
    """With --resume: add networks or stages to a run that is finished, by a larger --networks or longer --stages."""

    def __post_init__(self) -> None:
        ChildrenConfig.__post_init__(self)
        Schedule.__post_init__(self)
        for name in ("cache", "output", "resume"):
            if (path := getattr(self, name)) is not None:
                object.__setattr__(self, name, expanded(path))
        self._check_numbers()
        self._check_mode()
        _ = self.price
        if self.agent is not None:
            check_agent(self.agent)
        if self.metric != "accuracy" and self.engine == "surrogate":
            raise InvalidConfiguration(
                f"`metric` {self.metric} needs networks that are trained: leave it out, or `engine` surrogate."
            )
        if self.extend and not self.resume:
            raise InvalidConfiguration("`extend` adds to a finished run: name it with `resume`.")
        if self.cache and self.output and self.cache.is_relative_to(self.output):
            raise InvalidConfiguration(f"`cache` outlives a run: name a file that is not in `output` {self.output}")
        if self.dry_run and (self.resume or self.engine == "surrogate"):
            raise InvalidConfiguration(
                "`dry_run` estimates a new search that trains: leave out `resume`, and `engine` surrogate."
            )
        if self.space is not None and not hasattr(space_named(self.space), "schedule"):
            raise InvalidConfiguration(
                f"`space` {self.space} has no schedule: it decides itself how many steps an episode has, and options "
                "for these mean nothing there. A search needs a space that has one, such as "
                f'paper; environments take any: gym.make("EAS-Surrogate-v0", space={self.space!r}).'
            )
        if self.strategy == "mirrored" and self._engine != "inline":
            raise InvalidConfiguration(
                "`strategy` mirrored trains one network at a time on all devices: add `engine` inline. Where a network "
                "fits on one device, several at once are faster."
            )

    @property
    def _engine(self) -> EngineName | Literal["surrogate"]:
        return self.engine or ("pool" if self.hours is None else "inline")

    def _check_mode(self) -> None:
        """Refuse what belongs to the paper's schedule beside what plans everything by the clock."""
        if self.hours is None:
            return
        others = [name for name in SCHEDULED if getattr(self, name) != getattr(SearchConfig, name)]
        if others:
            raise InvalidConfiguration(
                f"`hours` plans the whole search by the clock, and {', '.join(f'`{name}`' for name in others)} "
                f"belong{'s' * (len(others) == 1)} to the paper's schedule: give one or the other."
            )
        if self._engine not in ("pool", "inline"):
            raise InvalidConfiguration(f"`hours` is for `engine` pool or inline. Received: {self.engine}")

    def _check_numbers(self) -> None:
        check_least(self, 1, "networks", "max_params", "max_networks", "patience", "keep")
        check_least(self, 0, "seed", "promote_epochs", "restart_every")
        for name in ("hours", "max_hours"):
            if (value := getattr(self, name)) is not None and not 0 < value < inf:
                raise InvalidConfiguration(f"`{name}` must be positive. Received: {value}")
        if min(self.stage_sizes, default=0) < 1:
            raise InvalidConfiguration(
                f"`stages` is the children of each stage, at least 1, such as 300,150. Received: {self.stages!r}"
            )
        if self.stages is not None:  # One way of writing them, by which runs are compared.
            object.__setattr__(self, "stages", ",".join(map(str, self.stage_sizes)))

    @property
    def price(self) -> Price:
        """What size costs."""
        return Price(parameters=self.price_parameters, multiply_adds=self.price_multiply_adds)

    @property
    def stage_sizes(self) -> tuple[int, ...]:
        """The children of each stage."""
        if not isinstance(self.stages, str):
            return (self.networks,) if self.stages is None else self.stages
        sizes = self.stages.split(",")
        return tuple(map(int, sizes)) if all(size.strip().isdecimal() for size in sizes) else ()

    def resolved(self) -> "ResolvedConfig":
        """The configuration with nothing left to defaults.

        Data sets with an environment of their own have that environment's defaults; of several, the one in this space.
        """
        registered = [kwargs for kwargs in ENVIRONMENTS.values() if kwargs.get("dataset") == self.dataset]
        registered.sort(key=lambda kwargs: kwargs.get("space") != self.space)
        defaults: dict[str, Any] = {**_DEFAULTS, **(registered[0] if registered else {})}
        missing = {name: defaults[name] for name in _DEFAULTS if getattr(self, name) is None}
        missing["engine"] = self._engine
        if self.agent is None:
            missing["agent"] = "reinforce" if self.hours is None else "random"
        if self.promote_epochs is None:
            missing["promote_epochs"] = 5 * (self.epochs or defaults["epochs"])
        # Another process may go on with the run from another directory.
        if self.dataset.lower().endswith(".npz") and not self.dataset.startswith("~"):
            missing["dataset"] = str(Path(self.dataset).absolute())
        if self.cache:
            missing["cache"] = self.cache.absolute()
        if self.output is None:
            stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
            agent = missing.get("agent", self.agent)
            missing["output"] = Path("runs") / f"{Path(self.dataset).stem}-{agent}-{self.seed}-{stamp}"
        return ResolvedConfig(**{**asdict(self), **missing})


@dataclass(frozen=True, kw_only=True)
class ResolvedConfig(SearchConfig):
    """A configuration with nothing left to defaults."""

    agent: str
    engine: EngineName | Literal["surrogate"]
    space: str
    epochs: int
    start_epochs: int
    batch: int
    promote_epochs: int
    output: Path

    def _check_mode(self) -> None:
        """What was said, and what was left to defaults, cannot be told apart any more."""

    def as_json(self) -> dict[str, Any]:
        """The configuration as JSON types."""
        return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}


def resume_of(argv: Sequence[str] | None) -> str | None:
    """The run that a command line goes on with, whatever else it says.

    The rest is read on top of the configuration of that run: whether it fits cannot be told without it.
    """
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--resume", nargs="?")
    resume: str | None = parser.parse_known_args(argv)[0].resume
    return resume
