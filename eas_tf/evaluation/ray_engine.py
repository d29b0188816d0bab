"""Children on the machines of a Ray cluster. Ray does all that has to do with the network."""

import gc
import logging
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from eas_tf.data import ImageData
from eas_tf.errors import InvalidConfiguration, WorkersFailed
from eas_tf.evaluation.child import WORKER_ENDED, Child, ChildTrainer, Family, failed
from eas_tf.evaluation.engine import UNLIMITED, Admission, AwakeClock
from eas_tf.evaluation.engine_config import EngineConfig
from eas_tf.evaluation.process import CHILDREN_PER_WORKER
from eas_tf.evaluation.protocol import Request
from eas_tf.evaluation.worker import configure
from eas_tf.machine import usable_cores
from eas_tf.surgery import LayerGraph

try:
    import ray
except ImportError as error:
    raise InvalidConfiguration("`engine` ray needs Ray: pip install 'eas_tf[ray]'") from error

#: Seconds in which a cluster must answer.
PATIENCE = 8

#: How often a child is tried again whose machine was lost.
RETRIES = 2


class RayEngine:
    """Trains children as tasks of Ray, each on one core, or on its share of a GPU where the cluster has any.

    Args:
        config: Where the cluster is, how many children at once, and how long each may take.
        images: The data set; it reaches the machines through Ray's object store, without the test images.

    Raises:
        WorkersFailed: If the cluster does not answer.
    """

    def __init__(self, config: EngineConfig, images: ImageData) -> None:
        self._config, self._images = config, replace(images, x_test=None, y_test=None)
        self._stored: dict[str, Any] = {}
        self._ours = not ray.is_initialized()
        if self._ours:
            _connect(config.ray_address)

    def start(self) -> None:
        """Send the images."""
        if not self._stored:
            self._stored = {"images": ray.put(self._images)}

    def run(
        self, asked: Sequence[tuple[Family, Request]], admission: Admission = UNLIMITED
    ) -> Iterator[tuple[int, Child]]:
        """The children with their places in what is asked, in the order in which they are finished."""
        self._send({family.digest: family for family, _ in asked})
        waiting = deque((number, RETRIES) for number in range(len(asked)))
        running: dict[Any, tuple[int, int, float]] = {}
        clock = AwakeClock()

        def may_start() -> bool:
            return waiting[0][1] < RETRIES or admission.may_start()

        try:
            while running or (waiting and may_start()):
                while waiting and len(running) < self.at_once and may_start():
                    number, retries = waiting.popleft()
                    if retries == RETRIES:
                        admission.started()
                    running[self._submit(*asked[number])] = number, retries, clock.seconds()
                done, _ = ray.wait(list(running), timeout=1)
                for task in done:
                    number, retries, since = running.pop(task)
                    child = _child(task, clock.seconds() - since, retries)
                    if child:
                        yield number, child
                    else:
                        waiting.appendleft((number, retries - 1))
                if admission.must_end():
                    return
                for task in self._overdue(running, clock.seconds()):
                    number, _, since = running.pop(task)
                    ray.cancel(task, force=True)
                    reason = f"TimeLimit: it took longer than {self._config.child_seconds:g} s"
                    yield number, failed(reason, clock.seconds() - since)
        finally:
            for task in running:
                ray.cancel(task, force=True)

    @property
    def at_once(self) -> int:
        """How many children may be trained at once now."""
        if self._config.workers != "auto":
            return self._config.workers
        has = ray.cluster_resources()
        return max(1, int(has.get("GPU", 0) * self._config.workers_per_gpu or has.get("CPU", 1)))

    def _send(self, families: Mapping[str, Family]) -> None:
        """Send parents that are not there yet; those that nobody needs any more are forgotten."""
        self.start()
        kept = {name: self._stored[name] for name in ("images", *families) if name in self._stored}
        new = {digest: ray.put(family.load()) for digest, family in families.items() if digest not in kept}
        self._stored = kept | new

    def _submit(self, family: Family, request: Request) -> Any:
        gpus = 1 / self._config.workers_per_gpu if ray.cluster_resources().get("GPU") else 0
        task = _train.options(num_gpus=gpus)
        return task.remote(self._stored["images"], self._stored[family.digest], family, request)

    def _overdue(self, running: dict[Any, tuple[int, int, float]], now: float) -> list[Any]:
        limit = self._config.child_seconds
        return [task for task, (*_, since) in running.items() if limit and now - since > limit]

    def close(self) -> None:
        """Disconnect, if this engine has connected."""
        if self._ours:
            ray.shutdown()
            self._ours, self._stored = False, {}

    def __str__(self) -> str:
        return f"Ray, {self.at_once} at once"


def _connect(address: str) -> None:
    if address != "local" and not _answers(address):
        raise WorkersFailed(
            f"No Ray cluster answers at {address!r}. Start one with `ray start --head`, name its address with "
            "`ray_address` host:6379, or let `ray_address` local start one on this machine."
        )
    # A cluster of one's own has the cores of its container; what is there already has its own.
    cores = usable_cores() if address == "local" else None
    ray.init(address, num_cpus=cores, log_to_driver=False, logging_level=logging.ERROR)


def _answers(address: str) -> bool:
    """Whether a cluster is there, asked by another process, because `ray.init` would try for 80 s."""
    check = [sys.executable, "-m", "ray.scripts.scripts", "health-check"]
    where = [] if address == "auto" else ["--address", address]
    try:
        return subprocess.run([*check, *where], capture_output=True, timeout=PATIENCE, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _child(task: Any, seconds: float, retries: int) -> Child | None:
    """A finished task's child; None if it is to be tried again, because its machine was lost."""
    try:
        return ray.get(task)
    except (ray.exceptions.NodeDiedError, ray.exceptions.LocalRayletDiedError) as error:
        return None if retries else failed(f"MachineLost: {type(error).__name__}, {RETRIES + 1} times", seconds)
    except ray.exceptions.OutOfMemoryError:
        return failed("OutOfMemory: Ray ended it before its machine's memory ran out", seconds)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.RaySystemError) as error:
        return failed(f"{WORKER_ENDED}: {type(error).__name__}, its process was ended", seconds)


_trainers: dict[str, ChildTrainer] = {}


#: A worker of a cluster has the settings of its machine, and imports Keras before any line here.
_SETTINGS = {"env_vars": {"KERAS_BACKEND": "tensorflow", "KERAS_NNX_ENABLED": "0"}}


@ray.remote(num_cpus=1, max_retries=0, max_calls=CHILDREN_PER_WORKER, runtime_env=_SETTINGS)
def _train(images: ImageData, parent: LayerGraph, family: Family, request: Request) -> Child:
    """Train one child in a worker process of Ray, which keeps the data set and the parent for the next one."""
    if family.data not in _trainers:
        from eas_tf.training.trainer import Trainer

        if not _trainers:
            configure(threads=1, operations=1)
        _trainers.clear()
        _trainers[family.data] = ChildTrainer(Trainer(images), images)
    child = _trainers[family.data].train(family, request, parent=parent)
    gc.collect()
    return child
