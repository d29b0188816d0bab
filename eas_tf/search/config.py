"""What a search is told: one dataclass, from which the command line is made. Imports no TensorFlow."""

import sys
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from eas_tf.architecture import space_named
from eas_tf.errors import InvalidConfiguration
from eas_tf.evaluation.engine_config import EngineConfig
from eas_tf.registration import ENVIRONMENTS

#: For data sets without an environment of their own.
_DEFAULTS = {"space": "paper", "epochs": 20, "start_epochs": 20, "batch": 64}

_PACKAGES = ("eas_tf", "tensorflow", "keras", "gymnasium", "numpy", "tensorflow-datasets")


@dataclass(frozen=True, kw_only=True)
class SearchConfig(EngineConfig):
    """Grow a trained network: train a start network, then search for better ones among its children."""

    dataset: str = "digits"
    """digits, synthetic, cifar10, cifar100, svhn_cropped, fashion_mnist, mnist, or a path to your own .npz file (keys
    x_train, y_train, and optionally x_test, y_test)."""
    agent: Literal["reinforce", "random"] = "reinforce"
    """The paper's controller, or random search in the same space on the same schedule."""
    space: str | None = None
    """paper, large, toy or digits. By default digits for the digits, paper for all else."""
    start: str | None = None
    """Layer string of the start network, such as "C(16,3,1), P(2,2,MAX), FC(64), SM(10)". By default the space's."""
    networks: int = 40
    """How many children to train (paper: 300 in its first stage)."""
    epochs: int | None = None
    """Passes over the training images for each child. By default 4 for the digits, 20 for all else (paper: 20)."""
    start_epochs: int | None = None
    """The same for the start network. By default 12 for the digits, 20 for all else."""
    batch: int | None = None
    """Images in one training step. By default 32 for the digits, 64 for all else (paper: 64)."""
    max_params: int | None = None
    """No network gets more trainable weights than this."""
    deepen_steps: int = 5
    """Insertions in an episode (paper: 5)."""
    widen_steps: int = 4
    """Widening steps in an episode, after the insertions (paper: 4)."""
    symmetry_breaking: Literal["shares", "noise"] = "shares"
    """How replicated channels are made to differ: by unequal shares, which keeps the function exactly, or by the
    paper's noise."""
    strategy: Literal["auto", "single", "mirrored"] = "auto"
    """Train each network on one device, or mirrored on all."""
    seed: int = 0
    """Decides the start network, all decisions, and the training."""
    data_dir: str | None = None
    """Where tensorflow-datasets keeps its data."""
    download: bool = False
    """Let tensorflow-datasets download a data set that is not there."""
    cache: Path | None = None
    """An SQLite file of results, which this search reads and adds to, so that no child is trained twice over several
    searches. By default none."""
    dry_run: bool = False
    """Train nothing: estimate the time of the whole search from a few steps of each size of network."""
    output: Path | None = None
    """The run directory, new or empty. By default a new one in ./runs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("networks", "epochs", "start_epochs", "batch", "max_params"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidConfiguration(f"--{name.replace('_', '-')} must be at least 1. Received: {value}")
        for name in ("deepen_steps", "widen_steps", "seed"):
            if getattr(self, name) < 0:
                raise InvalidConfiguration(
                    f"--{name.replace('_', '-')} must not be negative. Received: {getattr(self, name)}"
                )
        if not self.deepen_steps + self.widen_steps:
            raise InvalidConfiguration("An episode needs a step: set --deepen-steps or --widen-steps to at least 1.")
        if self.space is not None:
            space_named(self.space)
        if self.strategy == "mirrored" and self.engine != "inline":
            raise InvalidConfiguration(
                "--strategy mirrored trains one network at a time on all devices: add --engine inline. Where a network "
                "fits on one device, several at once are faster."
            )

    def resolved(self) -> "ResolvedConfig":
        """The configuration with nothing left to defaults.

        Data sets with an environment of their own have that environment's defaults.
        """
        registered = [kwargs for kwargs in ENVIRONMENTS.values() if kwargs.get("dataset") == self.dataset]
        defaults: dict[str, Any] = {**_DEFAULTS, **(registered[0] if registered else {})}
        missing = {name: defaults[name] for name in _DEFAULTS if getattr(self, name) is None}
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
    output: Path

    @property
    def schedule(self) -> tuple[str, ...]:
        """The kind of each step of an episode."""
        return ("deepen",) * self.deepen_steps + ("widen",) * self.widen_steps

    def as_json(self) -> dict[str, Any]:
        """The configuration, and the versions of all that a result depends on, as JSON types."""
        versions = {"python": sys.version.split()[0], **{package: version(package) for package in _PACKAGES}}
        settings = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}
        return {**settings, "versions": versions}
