"""What the machine looks like from a container, told by files like those of Linux."""

import math
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from eas_tf.machine import free_memory, usable_cores, visible_gpus

GB = 10**9
NO_LIMIT = 9223372036854771712
V2 = "0::{path}\n"
V1 = "5:cpu,cpuacct:{path}\n4:memory:{path}\n1:name=systemd:/other\n"


class Container:
    """The files by which Linux tells of control groups: of a process in `path`, seen from a container in `root`."""

    def __init__(self, folder, version, *, path="/", root="/", hybrid=False):
        self.version, self.proc, self._folder = version, folder / "proc", folder / "fs"
        mounts = {"cgroup2 cgroup2 rw": "unified" if hybrid else "."}
        if version == 1:
            v1 = {"cgroup cgroup rw,memory": "memory", "cgroup cgroup rw,cpu,cpuacct": "cpu,cpuacct"}
            mounts = v1 | (mounts if hybrid else {})
        lines = [
            f"31 23 0:{number} {root} {self._folder / place} rw,relatime shared:9 - {kind}\n"
            for number, (kind, place) in enumerate(mounts.items())
        ]
        self.proc.mkdir(parents=True)
        (self.proc / "mountinfo").write_text("22 1 8:1 / / rw - ext4 /dev/root rw\n" + "".join(lines))
        told = V1 if version == 1 else V2
        (self.proc / "cgroup").write_text((told + ("0::/\n" if hybrid else "")).format(path=path))

    def memory(self, limit, usage, cache=0, *, group="."):
        """Limit, usage and inactive page cache, in bytes."""
        if self.version == 1:
            files = {"memory.limit_in_bytes": limit or NO_LIMIT, "memory.usage_in_bytes": usage}
            files["memory.stat"] = f"inactive_file 1\nrss 5\ntotal_inactive_file {cache}"
        else:
            files = {"memory.max": limit or "max", "memory.current": usage}
            files["memory.stat"] = f"anon 5\ninactive_file {cache}\nactive_file 7"
        self._write("memory", group, files)
        return self

    def cpu(self, quota, period=100_000, *, group="."):
        """Microseconds of a period; None for no limit."""
        if self.version == 1:
            files = {"cpu.cfs_quota_us": quota or -1, "cpu.cfs_period_us": period}
        else:
            files = {"cpu.max": f"{quota or 'max'} {period}"}
        self._write("cpu,cpuacct", group, files)
        return self

    def _write(self, controller, group, files):
        folder = self._folder / (controller if self.version == 1 else ".") / group
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_text(f"{content}\n")


@pytest.fixture(params=[1, 2], ids=["v1", "v2"])
def version(request):
    return request.param


def affinity():
    return len(os.sched_getaffinity(0))


def test_a_container_of_one_gigabyte_and_half_a_core(tmp_path, version):
    """Case 18: the machine's 21 GB and two cores were taken for it."""
    container = Container(tmp_path, version).memory(GB, 300_000_000, 100_000_000).cpu(50_000)
    assert free_memory(container.proc) == 800_000_000
    assert usable_cores(container.proc) == 1


def test_no_limits(tmp_path, version):
    container = Container(tmp_path, version).memory(None, 300_000_000).cpu(None)
    assert free_memory(container.proc) == pytest.approx(psutil.virtual_memory().available, rel=0.2)
    assert usable_cores(container.proc) == affinity()


def test_the_tightest_group_around_a_process_counts(tmp_path, version):
    container = Container(tmp_path, version, path="/pod/job/step")
    container.memory(None, 0).memory(2 * GB, GB, group="pod").memory(3 * GB, GB, group="pod/job/step")
    container.cpu(10**9).cpu(100_000, group="pod/job").cpu(None, group="pod/job/step")
    assert free_memory(container.proc) == GB
    assert usable_cores(container.proc) == 1


def test_a_container_that_is_told_of_its_group_outside(tmp_path, version):
    """Docker without a namespace of groups: the path is the host's, what is mounted the container's own group."""
    for name, path in (("in", "/docker/7f"), ("deeper", "/docker/7f/job"), ("outside", "/docker/3a"), ("above", "/..")):
        container = Container(tmp_path / name, version, path=path, root="/docker/7f").memory(GB, 0).cpu(100_000)
        if name == "deeper":
            container.memory(GB // 2, 0, group="job")
        assert free_memory(container.proc) == (GB // 2 if name == "deeper" else GB)
        assert usable_cores(container.proc) == 1


def test_both_versions_at_once(tmp_path):
    container = Container(tmp_path, 1, hybrid=True).memory(GB, 0).cpu(100_000)
    assert free_memory(container.proc) == GB
    assert usable_cores(container.proc) == 1


def test_more_than_the_limit_is_in_use(tmp_path, version):
    assert free_memory(Container(tmp_path, version).memory(GB, GB + 1).proc) == 0


@pytest.mark.parametrize("quota", [1_000, 99_000, 100_000, 101_000, 10**8])
def test_part_of_a_core_counts_as_one(tmp_path, version, quota):
    expected = min(affinity(), math.ceil(quota / 100_000))
    assert usable_cores(Container(tmp_path, version).cpu(quota).proc) == expected


@pytest.mark.parametrize("limit", ["RLIMIT_DATA", "RLIMIT_AS"])
def test_a_process_knows_its_own_limit(limit):
    program = f"""
import resource
from eas_tf.machine import free_memory, own_memory
free = free_memory()
assert abs(own_memory() - free) < 0.2 * free
resource.setrlimit(resource.{limit}, (2_000_000_000, resource.RLIM_INFINITY))
print(own_memory())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 1 * GB < int(done.stdout) < 2 * GB


@pytest.mark.parametrize("content", ["", "nonsense"])
def test_files_that_make_no_sense_limit_nothing(tmp_path, version, content):
    container = Container(tmp_path, version).memory(content or " ", content).cpu(content or " ", content)
    assert free_memory(container.proc) > GB
    assert usable_cores(container.proc) >= 1


def test_where_there_are_no_such_files(tmp_path):
    assert free_memory(tmp_path) > 0
    assert usable_cores(tmp_path) == affinity()


def test_affinity_counts():
    program = "import os; os.sched_setaffinity(0, [0]); from eas_tf.machine import usable_cores; print(usable_cores())"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "1\n"


@pytest.fixture
def group():
    """A control group of this machine, of 1 GB and half a core, for other processes."""
    name = f"eas_tf-{os.getpid()}"
    folders = {kind: Path("/sys/fs/cgroup", kind, name) for kind in ("memory", "cpu")}
    made = []
    try:
        for folder in folders.values():
            folder.mkdir()
            made.append(folder)
        (folders["memory"] / "memory.limit_in_bytes").write_text(str(GB))
        (folders["cpu"] / "cpu.cfs_quota_us").write_text("50000")
    except OSError:
        pytest.skip("no control groups of version 1 can be made here")
    else:
        yield folders.values()
    finally:
        for folder in made:
            folder.rmdir()


def test_a_group_of_this_machine(group):
    program = f"""
import os
for folder in {[str(folder) for folder in group]}:
    open(folder + "/cgroup.procs", "w").write(str(os.getpid()))
from eas_tf.machine import free_memory, usable_cores
print(usable_cores(), free_memory())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    cores, free = map(int, done.stdout.split())
    assert cores == 1
    assert 0.8 * GB < free < GB


@pytest.mark.parametrize(
    ("told", "count", "expected"),
    [
        (None, 2, ["0", "1"]),
        (None, 0, []),
        ("3", 1, ["3"]),
        ("3,1", 2, ["3", "1"]),
        (" 5 , 2 ", 2, ["5", "2"]),
        ("GPU-8932f937-d72c,GPU-1a", 2, ["GPU-8932f937-d72c", "GPU-1a"]),
        ("MIG-GPU-8932f937/1/0", 1, ["MIG-GPU-8932f937/1/0"]),
        ("2,GPU-1a", 2, ["2", "GPU-1a"]),
        ("", 0, []),
        ("-1", 0, []),
        ("NoDevFiles", 0, []),
        ("1,-1,0", 1, ["1"]),
        ("1,no,0", 1, ["1"]),
        ("0,99,1", 1, ["0"]),  # CUDA, which knows that there is no 99, sees one
        ("0,,1", 1, ["0"]),
    ],
)
def test_gpus_are_those_that_the_environment_names(monkeypatch, told, count, expected):
    """Case 17: children trained on number 0, and the environment had said 3."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if told is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", told)
    assert visible_gpus(count) == expected
