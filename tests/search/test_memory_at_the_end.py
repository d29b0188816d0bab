"""What calls a network on many images takes no more memory than training: in processes that may not have more."""

import os
import resource
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from eas_tf.architecture import PlainCNN
from eas_tf.search.driver import accuracy
from eas_tf.surgery import graph as graphs
from eas_tf.surgery import initialise, lower, measure_moments
from eas_tf.surgery import moments as moments_module

#: 22 million values an image, half of what the command of case 20 has: 16 images at once would take 1.5 GB.
CALL = """
import resource, numpy as np
from eas_tf.architecture import parse_architecture
from eas_tf.search.driver import accuracy
from eas_tf.surgery import initialise, lower, measure_moments
from eas_tf.training.trainer import evaluate
net = parse_architecture("C(128,1,1), P(8,8,MAX), FC(16), SM(2)", (256, 256, 1))
graph = initialise(lower(net, (128.0,), (60.0,)), rng=np.random.default_rng(0))
x = np.random.default_rng(1).integers(0, 256, (16, 256, 256, 1), dtype=np.uint8)
y = np.arange(16, dtype=np.int32) % 2
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
{call}
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.parametrize(
    "call",
    [
        "evaluate(graph, x, y)",
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in ("accuracy(graph.to_keras(), x, y)", "measure_moments(graph, x)")
        ),
    ],
)
def test_a_call_on_large_images_takes_as_much_memory_as_a_few_of_them_need(call, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", CALL.format(call=call)],
        cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (8_000_000_000, 8_000_000_000)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-500:]
    assert int(done.stdout) < 6e8


@pytest.fixture
def network():
    architecture = PlainCNN.parse("C(4,3,1), P(2,2,MAX), C(8,3,1), FC(8), SM(3)", (8, 8, 2))
    return initialise(lower(architecture), rng=np.random.default_rng(0))


@pytest.fixture
def images():
    return np.random.default_rng(1).integers(0, 256, (50, 8, 8, 2)).astype(np.uint8)


def test_the_accuracy_is_predicts_in_parts_as_large_as_memory_allows(network, images, monkeypatch):
    labels = np.arange(50) % 3
    model = network.to_keras()
    expected = (model.predict(images, verbose=0).argmax(-1) == labels).mean()
    assert accuracy(model, images, labels) == expected
    monkeypatch.setattr(graphs, "VALUES_AT_ONCE", 7 * sum(int(np.prod(node.shape)) for node in network.nodes))
    assert network.batch_in_memory(512) == 7
    sizes = []
    inner = model.call
    monkeypatch.setattr(model, "call", lambda x, **options: (sizes.append(len(x)), inner(x, **options))[1])
    assert accuracy(model, images, labels) == expected
    assert sizes == [7] * 7 + [1]


def test_moments_in_parts_are_the_same_to_the_last_bit(network, images, monkeypatch):
    whole = measure_moments(network, images)
    monkeypatch.setattr(moments_module, "VALUES_IN_FLOAT64", 300)
    parts = measure_moments(network, images)
    for one, other in zip(whole.nodes, parts.nodes, strict=True):
        if one.moments:
            np.testing.assert_array_equal(one.moments.mean, other.moments.mean)
            np.testing.assert_array_equal(one.moments.variance, other.moments.variance)


def test_moments_of_a_large_batch_are_measured_in_as_many_calls_as_memory_needs(network, images, monkeypatch):
    expected = measure_moments(network, images, batch=5)
    monkeypatch.setattr(graphs, "VALUES_AT_ONCE", 5 * sum(int(np.prod(node.shape)) for node in network.nodes))
    received = measure_moments(network, images)
    for one, other in zip(expected.nodes, received.nodes, strict=True):
        if one.moments:
            np.testing.assert_array_equal(one.moments.mean, other.moments.mean)


@contextmanager
def container(size):
    """What a process calls to be in a control group that may take so many bytes."""
    group = Path("/sys/fs/cgroup/memory", f"eas_tf-{os.getpid()}-{size}")
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(size))
    except OSError:
        pytest.skip("no control groups of version 1 can be made here")
    try:
        yield lambda: (group / "cgroup.procs").write_text(str(os.getpid()))
    finally:
        while (group / "cgroup.procs").read_text():  # of processes that are ending
            time.sleep(0.1)
        group.rmdir()


@pytest.fixture
def large(tmp_path):
    """Few images to train on, and 1.8 GB of values for all that are only looked at."""
    rng, y = np.random.default_rng(0), np.arange(300) % 2
    x = rng.integers(0, 256, (300, 256, 256, 3), dtype=np.uint8)
    np.savez(tmp_path / "large.npz", x_train=x[:24], y_train=y[:24], x_val=x, y_val=y, x_test=x, y_test=y)
    return tmp_path / "large.npz"


def python(script, *options, folder, size):
    with container(size) as enter:
        return subprocess.run(
            [sys.executable, Path(__file__).parents[2] / "scripts" / script, *options],
            cwd=folder, capture_output=True, text=True, timeout=280, check=False, preexec_fn=enter,
        )  # fmt: skip


@pytest.mark.slow
def test_a_search_on_large_images_is_the_same_in_small_containers(large, tmp_path):
    """Validation took 2 GiB, whatever there was: the system killed searches and workers."""
    options = "--dataset", large, "--networks=2", "--epochs=1", "--start-epochs=1", "--batch=4", "--space=toy"
    options += ("--workers=1",)  # as many threads in both
    outs = []
    for size in (1_500_000_000, 8_000_000_000):
        done = python("search.py", *options, f"--output={size}", folder=tmp_path, size=size)
        assert done.returncode == 0, done.stderr
        assert "failed" not in done.stdout
        outs += [line for line in done.stdout.splitlines() if line.startswith("decisions and results: ")]
    assert len(outs) == 2 == 1 + (outs[0] == outs[1])
    for command in (("search.py", *options, "--dry-run"), ("train.py", "1500000000", "--epochs=1")):
        assert python(*command, folder=tmp_path, size=1_500_000_000).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_step_for_which_there_is_no_memory_is_one_line(large, tmp_path, more):
    """The system killed the search, and nothing said why."""
    options = "--dataset", large, "--batch=24", "--start=C(256,3,1), P(8,8,MAX), FC(8), SM(2)", "--output=run", *more
    done = python("search.py", *options, folder=tmp_path, size=2_500_000_000)
    assert done.returncode == 2
    *_, line = done.stderr.splitlines()
    assert "--batch" in line
    assert " GB are free" in line
