"""What calls a network on many images takes no more memory than training: in processes that may not have more."""

import resource
import subprocess
import sys

import numpy as np
import pytest

from eas_tf.architecture import PlainCNN
from eas_tf.search.driver import accuracy
from eas_tf.surgery import graph as graphs
from eas_tf.surgery import initialise, lower, measure_moments
from eas_tf.surgery import moments as moments_module

#: 22 million values an image, half of what the command of case 20 has: 512 images at once would take 46 GB.
CALL = """
import resource, numpy as np
from eas_tf.architecture import parse_architecture
from eas_tf.search.driver import accuracy
from eas_tf.surgery import initialise, lower, measure_moments
from eas_tf.training.trainer import evaluate
net = parse_architecture("C(128,1,1), P(8,8,MAX), FC(16), SM(2)", (256, 256, 1))
graph = initialise(lower(net, (128.0,), (60.0,)), rng=np.random.default_rng(0))
x = np.random.default_rng(1).integers(0, 256, (64, 256, 256, 1), dtype=np.uint8)
y = np.arange(64, dtype=np.int32) % 2
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
{call}
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "call", ["evaluate(graph, x, y)", "accuracy(graph.to_keras(), x, y)", "measure_moments(graph, x, batch=512)"]
)
def test_a_call_on_large_images_takes_three_gigabytes_at_most(call, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", CALL.format(call=call)],
        cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (8_000_000_000, 8_000_000_000)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-500:]
    assert int(done.stdout) < 3e9


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
    received = measure_moments(network, images, batch=512)
    for one, other in zip(expected.nodes, received.nodes, strict=True):
        if one.moments:
            np.testing.assert_array_equal(one.moments.mean, other.moments.mean)
