"""Ray: the same results as worker processes give, and what happens to lost workers and machines."""

import time
from dataclasses import replace

import psutil
import pytest
from families import DIGITS, RECIPE, batch_of_ten, trained_family, without_seconds

from eas_tf.errors import WorkersFailed
from eas_tf.evaluation.engine_config import EngineConfig
from eas_tf.evaluation.pool import PoolEngine

ray = pytest.importorskip("ray", reason="Ray is an extra")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

from eas_tf.evaluation.ray_engine import RayEngine  # noqa: E402 - only where Ray is installed

LOCAL = EngineConfig(engine="ray", workers=2, ray_address="local", child_seconds=30)


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    return trained_family(tmp_path_factory.mktemp("ray"))[0]


@pytest.fixture(scope="module")
def asked(family):
    return batch_of_ten(family)


@pytest.fixture(scope="module")
def undisturbed(family, asked, tmp_path_factory):
    engine = PoolEngine(EngineConfig(workers=2), DIGITS, tmp_path_factory.mktemp("pool"))
    results = run(engine, family, asked)
    engine.close()
    return results


def run(engine, family, requests):
    return {
        number: without_seconds(child.result) for number, child in engine.run([(family, each) for each in requests])
    }


def ray_workers():
    processes = psutil.Process().children(recursive=True)
    return [each for each in processes if "ray::_train" in " ".join(each.cmdline())]


def test_results_and_faults(family, asked, undisturbed):
    engine = RayEngine(LOCAL, DIGITS)
    try:
        assert run(engine, family, asked) == undisturbed
        assert str(engine) == "Ray, 2 at once"
        bad = replace(asked[2], recipe=replace(RECIPE, learning_rate=1e30))
        endless = replace(asked[6], recipe=replace(RECIPE, epochs=10**7))
        results = {}
        for number, child in engine.run(
            [(family, each) for each in [*asked[:2], bad, *asked[3:6], endless, *asked[7:]]]
        ):
            results[number] = without_seconds(child.result)
            if len(results) == 4:
                time.sleep(0.3)
                ray_workers()[0].kill()
        failures = {number: result.failure for number, result in results.items() if result.failure}
        assert failures.pop(2) == "TrainingDiverged: The loss was nan in epoch 1 of 1."
        assert failures.pop(6).startswith(("TimeLimit: it took longer than 30 s", "WorkerEnded: "))
        assert all(reason == "WorkerEnded: WorkerCrashedError, its process was ended" for reason in failures.values())
        assert len(failures) <= 1
        assert sorted(results) == list(range(10))
        assert all(results[n] == undisturbed[n] for n in results if not results[n].failure)
        assert run(engine, family, asked[:4]) == {number: undisturbed[number] for number in range(4)}
    finally:
        engine.close()


def test_children_of_a_lost_machine_are_trained_on_another(family, asked, undisturbed):
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    other = cluster.add_node(num_cpus=1)
    engine = RayEngine(replace(LOCAL, workers="auto", ray_address=cluster.address, child_seconds=None), DIGITS)
    try:
        results = {}
        for number, child in engine.run([(family, each) for each in asked]):
            results[number] = without_seconds(child.result)
            if len(results) == 3:
                cluster.remove_node(other, allow_graceful=False)
        assert results == undisturbed
    finally:
        engine.close()
        cluster.shutdown()


@pytest.mark.parametrize("address", ["127.0.0.1:6399", "auto"])
def test_a_cluster_that_does_not_answer_is_one_line_within_ten_seconds(address):
    start = time.monotonic()
    with pytest.raises(WorkersFailed, match=r"No Ray cluster answers at .*ray start --head"):
        RayEngine(replace(LOCAL, ray_address=address), DIGITS)
    assert time.monotonic() - start < 10
