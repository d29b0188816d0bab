"""What is told of an engine, and of what it trains. Imports no TensorFlow: the command line is made from it."""

from dataclasses import dataclass
from math import inf
from typing import Literal, TypeAlias, get_args

from eas_tf.data import CropAndFlip
from eas_tf.errors import InvalidConfiguration
from eas_tf.training.config import TrainingConfig, check_least

#: Those that train.
EngineName: TypeAlias = Literal["pool", "inline", "ray"]
StoppingName: TypeAlias = Literal["off", "watch", "median"]


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Where children are trained, how many at once, and when one is given up."""

    engine: EngineName | Literal["surrogate"] = "pool"
    """pool: worker processes on this machine. inline: this process. ray: the machines of a Ray cluster. surrogate:
    nothing is trained, and accuracies come from a closed form, to try agents and options."""
    workers: int | Literal["auto"] = "auto"
    """How many children are trained at once. auto: one on each core or GPU, as far as memory allows."""
    workers_per_gpu: int = 1
    """Workers that share a GPU, where there are GPUs."""
    child_seconds: float | None = None
    """A child that takes longer is given up."""
    stopping: StoppingName = "off"
    """median: a child ends early that is worse than the median of earlier ones after as many epochs. watch: all are
    trained to their end, and their accuracy after each epoch is recorded. Both cost a validation after each epoch."""
    ray_address: str = "auto"
    """Where the Ray cluster is, for engine ray: auto for the one of this machine, local for a new one."""

    def __post_init__(self) -> None:
        if self.engine not in (*get_args(EngineName), "surrogate"):
            engines = ", ".join((*get_args(EngineName), "surrogate"))
            raise InvalidConfiguration(f"`engine` is one of {engines}. Received: {self.engine!r}")
        if self.stopping not in get_args(StoppingName):
            rules = ", ".join(get_args(StoppingName))
            raise InvalidConfiguration(f"`stopping` is one of {rules}. Received: {self.stopping!r}")
        if self.workers != "auto" and self.workers < 1:
            raise InvalidConfiguration(f'`workers` is "auto" or at least 1. Received: {self.workers!r}')
        check_least(self, 1, "workers_per_gpu")
        if self.child_seconds is not None and not 0 < self.child_seconds < inf:
            raise InvalidConfiguration(f"`child_seconds` must be positive. Received: {self.child_seconds}")


@dataclass(frozen=True, kw_only=True)
class ChildrenConfig(EngineConfig, TrainingConfig):
    """How a start network and its children are trained, and where."""

    dataset: str = "digits"
    crop_and_flip: CropAndFlip = "auto"
    dropout: float = 0.0
    epochs: int | None = None
    """Passes over the training images for each child. By default 4 for the digits, 20 for all else (paper: 20)."""
    start_epochs: int | None = None
    """The same for the start network. By default 12 for the digits (in densenet-digits 4), 20 for all else."""
    batch: int | None = None
    """Images in one training step. By default 32 for the digits, 64 for all else (paper: 64), or fewer for a
    small data set."""

    def __post_init__(self) -> None:
        EngineConfig.__post_init__(self)
        TrainingConfig.__post_init__(self)
        check_least(self, 1, "epochs", "start_epochs", "batch")
