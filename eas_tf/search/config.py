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
from eas_tf.evaluation.engine_config import ChildrenConfig
from eas_tf.evaluation.price import Price
from eas_tf.metrics import Metric
from eas_tf.paths import expanded
from eas_tf.registration import ENVIRONMENTS
from eas_tf.training.config import check_least

#: For data sets without an environment of their own.
_DEFAULTS = {"space": "paper", "epochs": 20, "start_epochs": 20, "batch": 64}


@dataclass(frozen=True, kw_only=True)
class SearchConfig(Schedule, ChildrenConfig):
    """Grow a trained network: train a start network, then search for better ones among its children."""

    download: bool = False
    """Let tensorflow-datasets download a data set that is not there."""
    agent: str = "reinforce"
    """reinforce: the paper's controller. random: random search in the same space on the same schedule. evolution:
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
    max_hours: float | None = None
    """Begin no child after so many hours of work, those before a resume included."""
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
        _ = self.price
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
                f"`space` {self.space} has no schedule: it decides itself how many steps an episode has, and "
                "`deepen_steps` and `widen_steps` mean nothing there. A search needs a space that has one, such as "
                f'paper; environments take any: gym.make("EAS-Surrogate-v0", space={self.space!r}).'
            )
        if self.strategy == "mirrored" and self.engine != "inline":
            raise InvalidConfiguration(
                "`strategy` mirrored trains one network at a time on all devices: add `engine` inline. Where a network "
                "fits on one device, several at once are faster."
            )

    def _check_numbers(self) -> None:
        check_least(self, 1, "networks", "max_params", "max_networks", "patience", "keep")
        check_least(self, 0, "seed", "promote_epochs", "restart_every")
        if self.max_hours is not None and not 0 < self.max_hours < inf:
            raise InvalidConfiguration(f"`max_hours` must be positive. Received: {self.max_hours}")
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
        if self.promote_epochs is None:
            missing["promote_epochs"] = 5 * (self.epochs or defaults["epochs"])
        # Another process may go on with the run from another directory.
        if self.dataset.lower().endswith(".npz") and not self.dataset.startswith("~"):
            missing["dataset"] = str(Path(self.dataset).absolute())
        if self.cache:
            missing["cache"] = self.cache.absolute()
        if self.output is None:
            stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
            missing["output"] = Path("runs") / f"{Path(self.dataset).stem}-{self.agent}-{self.seed}-{stamp}"
        return ResolvedConfig(**{**asdict(self), **missing})


@dataclass(frozen=True, kw_only=True)
class ResolvedConfig(SearchConfig):
    """A configuration with nothing left to defaults."""

    space: str
    epochs: int
    start_epochs: int
    batch: int
    promote_epochs: int
    output: Path

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
