"""What this process may use of the machine, as its container and its environment say. Imports no TensorFlow."""

import math
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

#: Where Linux tells of this process' control groups, in the files `cgroup` and `mountinfo`.
PROC = Path("/proc/self")

#: Bytes of the limit, of the usage, and of reclaimable page cache in `memory.stat`: version 2 of control groups, and 1.
_MEMORY = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)

#: What `CUDA_VISIBLE_DEVICES` may name: anything else ends its list.
_GPU = re.compile(r"\d+|(GPU|MIG)-\S+")


def free_memory(proc: Path = PROC) -> int:
    """Bytes of memory that this process may still take: what the machine has, and each of its control groups.

    Args:
        proc: Where the control groups are told of.
    """
    free = psutil.virtual_memory().available
    for group in _groups("memory", proc):
        for limit, usage, cache in _MEMORY:
            most, used = _numbers(group / limit), _numbers(group / usage)
            if most and used:
                free = min(free, most[0] - used[0] + _statistic(group / "memory.stat", cache))
    return max(0, free)


def own_memory() -> int:
    """Bytes of memory that this process itself may still take: what is free, within its own limits (`ulimit`)."""
    free, info = free_memory(), psutil.Process().memory_info()
    with suppress(ImportError):  # Windows has no such limits.
        import resource

        for limit, used in (("RLIMIT_DATA", "data"), ("RLIMIT_AS", "vms")):
            most = resource.getrlimit(getattr(resource, limit))[0]
            if most != resource.RLIM_INFINITY:
                free = min(free, most - getattr(info, used, most))
    return max(0, free)


def usable_cores(proc: Path = PROC) -> int:
    """Cores that this process may keep busy: of its affinity, and of its control groups' quotas, rounded up.

    Args:
        proc: Where the control groups are told of.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for group in _groups("cpu", proc):
        times = _numbers(group / "cpu.max") or _numbers(group / "cpu.cfs_quota_us", group / "cpu.cfs_period_us")
        if len(times) == 2 and min(times) > 0:
            cores = min(cores, math.ceil(times[0] / times[1]))
    return cores


def visible_gpus(count: int) -> list[str]:
    """What to set `CUDA_VISIBLE_DEVICES` to for each of the GPUs that this process sees: a number or a name.

    Args:
        count: How many it sees.
    """
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    if told is None:
        return [str(number) for number in range(count)]
    entries = [entry.strip() for entry in told.split(",")]
    valid = next((number for number, entry in enumerate(entries) if not _GPU.fullmatch(entry)), len(entries))
    return entries[:valid][:count]


def _groups(controller: str, proc: Path) -> Iterator[Path]:
    """The control groups that this process is in, and those that they are in, as far as they can be seen from here."""
    try:
        cgroup, mounts = (proc / "cgroup").read_text(), (proc / "mountinfo").read_text()
    except OSError:  # no Linux
        return
    paths: dict[str, str] = {}  # by controller; version 2 has one path for all of them, and no name here
    for line in cgroup.splitlines():
        _, controllers, path = line.split(":", 2)
        paths |= dict.fromkeys(controllers.split(","), path)
    for line in mounts.splitlines():
        place, _, kind = line.partition(" - ")
        root, mounted = place.split()[3:5]
        version, *_, options = kind.split()
        if version == "cgroup2" or (version == "cgroup" and controller in options.split(",")):
            path = paths.get("" if version == "cgroup2" else controller, "/")
            inner = Path(os.path.relpath(path, root))
            group = Path(mounted)
            yield group
            # A group outside what is mounted here cannot be seen.
            for part in () if ".." in inner.parts else inner.parts:
                group /= part
                yield group


def _numbers(*paths: Path) -> list[int]:
    """All numbers in files; empty if one is not there, or says that there is no limit."""
    with suppress(OSError, ValueError):
        return [int(word) for path in paths for word in path.read_text().split()]
    return []


def _statistic(path: Path, name: str) -> int:
    with suppress(OSError, ValueError):
        return int(dict(line.split() for line in path.read_text().splitlines())[name])
    return 0
