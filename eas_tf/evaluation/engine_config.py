"""What is told of an engine. Imports no TensorFlow: the command line is made from it."""

from dataclasses import dataclass
from math import inf
from typing import Literal, TypeAlias, get_args

from eas_tf.errors import InvalidConfiguration

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
            raise InvalidConfiguration(f"The engines are {', '.join(get_args(EngineName))}. Received: {self.engine!r}")
        if self.stopping not in get_args(StoppingName):
            rules = ", ".join(get_args(StoppingName))
            raise InvalidConfiguration(f"`stopping` is one of {rules}. Received: {self.stopping!r}")
        if self.workers != "auto" and self.workers < 1:
            raise InvalidConfiguration(f'`workers` is "auto" or at least 1. Received: {self.workers!r}')
        if self.workers_per_gpu < 1:
            raise InvalidConfiguration(f"`workers_per_gpu` must be at least 1. Received: {self.workers_per_gpu}")
        if self.child_seconds is not None and not 0 < self.child_seconds < inf:
            raise InvalidConfiguration(f"`child_seconds` must be positive. Received: {self.child_seconds}")
