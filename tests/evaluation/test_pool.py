"""Worker processes: the same results as in one process, whatever happens to one of them."""

import contextlib
import gc
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import tensorflow as tf
from families import DIGITS, RECIPE, batch_of_ten, request, trained_family, without_seconds

from eas_tf.architecture import Net2Wider
from eas_tf.data import ImageData
from eas_tf.errors import InvalidConfiguration, WorkersFailed
from eas_tf.evaluation import process, share
from eas_tf.evaluation.engine_config import EngineConfig
from eas_tf.evaluation.pool import PoolEngine
from eas_tf.evaluation.share import pick_workers
from eas_tf.machine import free_memory

HERE = str(Path(__file__).parent)
KILLED = "WorkerEnded: its process was ended by SIGKILL, as the system does when memory runs out"
TWO = EngineConfig(workers=2, child_seconds=20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pool")


@pytest.fixture(scope="module")
def family(folder):
    return trained_family(folder)[0]


@pytest.fixture(scope="module")
def engine(folder):
    engine = PoolEngine(TWO, DIGITS, folder)
    engine.start()
    yield engine
    engine.close()
    assert [path.name for path in folder.iterdir()] == ["start.keras"]


@pytest.fixture(scope="module")
def asked(family):
    return batch_of_ten(family)


@pytest.fixture(scope="module")
def undisturbed(engine, family, asked):
    return run(engine, family, asked)


def run(engine, family, requests):
    return {
        number: without_seconds(child.result) for number, child in engine.run([(family, each) for each in requests])
    }


def workers():
    """The living worker processes of this one."""
    living = []
    for each in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "spawn_main" in " ".join(each.cmdline()):
                living.append(each)
    return living


def check_full_size_within_ten_seconds():
    end = time.monotonic() + 10
    while len(workers()) != 2:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_results_are_those_of_one_process_with_as_many_threads(family, asked, undisturbed):
    """On most processors to the last bit. In a process of its own, because TensorFlow is set up once in a process."""
    program = f"""
import sys
sys.path.insert(0, {HERE!r})
from eas_tf.evaluation.worker import configure
configure(threads=1, operations=2)
from pathlib import Path
from dataclasses import replace
from families import ARCHITECTURE, DIGITS, RECIPE, batch_of_ten
from eas_tf.evaluation.child import ChildTrainer, Family
from eas_tf.evaluation.engines import InlineEngine
from eas_tf.training.trainer import Trainer
family = Family(parent=Path({str(family.parent)!r}), digest={family.digest!r}, architecture=ARCHITECTURE,
                data=DIGITS.fingerprint, recipe=RECIPE)
asked = batch_of_ten(family)
children = dict(InlineEngine(ChildTrainer(Trainer(DIGITS), DIGITS)).run([(family, each) for each in asked]))
for number in range(len(asked)):
    print(repr(children[number].result.accuracy), repr(children[number].result.loss), children[number].graph.digest)
"""
    lines = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    ).stdout.splitlines()
    inline = [tuple(map(float, line.split()[:2])) for line in lines]
    expected = [(undisturbed[number].accuracy, undisturbed[number].loss) for number in range(len(asked))]
    np.testing.assert_allclose(inline, expected, rtol=2e-5)


def test_the_trained_networks_come_back(engine, family):
    wider = request(family, Net2Wider(0, 9))
    ((_, child),) = engine.run([(family, wider)])
    assert child.graph.to_keras().count_params() > wider.architecture.parameter_count
    assert "conv_1" in child.graph


@pytest.mark.slow
def test_children_whose_workers_are_killed_once_are_trained_again(engine, family, asked, undisturbed):
    """One in the middle of the batch, which may just have been about to begin, and one that is busy without end."""
    endless = replace(asked[4], recipe=replace(RECIPE, epochs=10**7))
    results = {}
    for number, child in engine.run([(family, each) for each in [*asked[:4], endless, *asked[5:]]]):
        results[number] = without_seconds(child.result)
        if len(results) in (3, 8):
            workers()[0].kill()
    assert sorted(results) == list(range(10))
    assert results.pop(4).failure in (KILLED, "TimeLimit: it took longer than 20 s")
    assert all(result == undisturbed[number] for number, result in results.items())
    check_full_size_within_ten_seconds()


@pytest.mark.slow
def test_a_child_whose_worker_is_killed_twice_has_failed(engine, family, asked):
    endless = replace(asked[4], recipe=replace(RECIPE, epochs=10**7))
    run(engine, family, asked[:2])  # Both workers are there now.
    with ThreadPoolExecutor() as threads:
        future = threads.submit(run, engine, family, [endless])
        for seconds in (4, 14):
            time.sleep(seconds)
            for each in workers():
                each.kill()
        assert future.result()[0].failure == KILLED
    assert not run(engine, family, asked[:1])[0].failure
    check_full_size_within_ten_seconds()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"learning_rate": 1e30}, "TrainingDiverged: The loss was nan in epoch 1 of 1.", id="diverging"),
        pytest.param({"epochs": 10**7}, "TimeLimit: it took longer than 20 s", id="endless", marks=pytest.mark.slow),
    ],
)
def test_a_bad_child_does_not_disturb_the_others(engine, family, asked, undisturbed, change, reason):
    bad = replace(asked[4], recipe=replace(RECIPE, **change))
    results = run(engine, family, [*asked[:4], bad, *asked[5:]])
    assert results[4].failure == reason
    assert results[4].accuracy == 0
    assert {**results, 4: None} == {**undisturbed, 4: None}
    check_full_size_within_ten_seconds()


@pytest.mark.slow
def test_a_child_that_needs_too_much_memory_is_a_failed_one(family, asked, undisturbed, tmp_path):
    """One whose kernel NumPy cannot hold, and one whose training needs more and more until the limit is reached."""
    huge = request(family, Net2Wider(0, 65_536), Net2Wider(2, 65_536))
    growing = request(family, Net2Wider(0, 4_096), Net2Wider(2, 4_096), recipe=replace(RECIPE, batch=1_024))
    small = PoolEngine(TWO, DIGITS, tmp_path)
    small._workers = replace(small._workers, memory=2_500_000_000)
    try:
        results = run(small, family, [asked[0], huge, growing, asked[1]])
    finally:
        small.close()
    assert results[1].failure.startswith("MemoryError: Unable to allocate")
    assert results[2].failure.partition(":")[0] in ("MemoryError", "ResourceExhaustedError", "WorkerEnded")
    assert (results[0], results[3]) == (undisturbed[0], undisturbed[1])


@pytest.mark.slow
def test_a_worker_that_was_killed_between_two_batches_is_replaced(engine, family, asked, undisturbed):
    for each in workers():
        each.kill()
    time.sleep(0.5)
    assert run(engine, family, asked[:2]) == {number: undisturbed[number] for number in (0, 1)}


@pytest.mark.slow
def test_a_batch_that_is_given_up_leaves_the_workers_ready(engine, family, asked, undisturbed):
    first = next(engine.run([(family, each) for each in asked]))
    assert without_seconds(first[1].result) == undisturbed[first[0]]
    assert run(engine, family, asked[:2]) == {number: undisturbed[number] for number in (0, 1)}


def test_a_run_within_a_run(engine, family, asked, undisturbed):
    outer = engine.run([(family, each) for each in asked[:4]])
    results = dict([next(outer)])
    ((_, inner),) = engine.run([(family, asked[4])])
    results |= dict(outer)
    assert without_seconds(inner.result) == undisturbed[4]
    assert {number: without_seconds(child.result) for number, child in results.items()} == {
        number: undisturbed[number] for number in range(4)
    }


@pytest.mark.slow
def test_workers_that_cannot_start_are_an_error(family, asked, tmp_path, capfd):
    engine = PoolEngine(EngineConfig(workers=1), DIGITS, tmp_path)
    engine.start()
    (images,) = tmp_path.glob("workers-*/images.npz")
    images.unlink()
    with pytest.raises(WorkersFailed, match="ended 3 times before it had trained anything"):
        run(engine, family, asked[:1])
    engine.close()
    assert "images.npz" in capfd.readouterr().err


def test_a_worker_that_has_grown_is_replaced(engine, family, asked):
    before = {each.pid for each in workers()}
    worker = engine._processes[0]
    growth, worker._growth = worker._growth, -1
    next(engine.run([(family, each) for each in asked[:1]]))
    worker._growth = growth
    check_full_size_within_ten_seconds()
    assert len({each.pid for each in workers()} - before) == 1


@pytest.mark.slow
def test_workers_end_with_the_process_that_started_them(family, tmp_path):
    """Even if that is killed."""
    program = f"""
import sys
sys.path.insert(0, {HERE!r})
from pathlib import Path
from families import ARCHITECTURE, DIGITS, RECIPE, request
from eas_tf.architecture import Net2Wider
from eas_tf.evaluation.child import Family
from eas_tf.evaluation.engine_config import EngineConfig
from eas_tf.evaluation.pool import PoolEngine
if __name__ == "__main__":
    family = Family(parent=Path({str(family.parent)!r}), digest={family.digest!r}, architecture=ARCHITECTURE,
                    data=DIGITS.fingerprint, recipe=RECIPE)
    engine = PoolEngine(EngineConfig(workers=2), DIGITS, Path({str(tmp_path)!r}))
    for _ in engine.run([(family, request(family, Net2Wider(0, 8 + i))) for i in range(4)]):
        print("trained", flush=True)
    sys.stdin.read()
"""
    (tmp_path / "program.py").write_text(program)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "program.py"], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    for _ in range(4):
        assert process.stdout.readline() == "trained\n"
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_busy_workers_end_with_it_too(tmp_path, ending):
    """At once, and not after a child that would have taken days; what is asked to end also tidies up."""
    script = str(Path(HERE).parents[1] / "scripts" / "search.py")
    options = ["--epochs", "10000000", "--start-epochs", "1", "--workers", "2", "--output", str(tmp_path / "out")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen([sys.executable, script, *options], **pipes) as search:
        assert any("start" in line and "parameters" in line for line in search.stdout)
        workers = psutil.Process(search.pid).children(recursive=True)
        assert len(workers) >= 2
        time.sleep(10)  # until they are training
        search.send_signal(ending)
        if ending == signal.SIGTERM:  # The first would wait for the children.
            assert any("Finishing the children" in line for line in search.stdout)
            search.send_signal(ending)
        search.communicate(timeout=10)
    _, alive = psutil.wait_procs(workers, timeout=5)
    for each in alive:
        each.kill()
    assert not alive
    assert search.returncode == (130 if ending == signal.SIGTERM else -ending)
    folders = any("workers" in path.name for path in (tmp_path / "out").iterdir())
    assert folders == (ending == signal.SIGKILL)


def images_of(size, shape=(32, 32, 3)):
    array = SimpleNamespace(nbytes=size)
    return SimpleNamespace(x_train=array, x_val=array, input_shape=shape)


def test_the_machine_is_shared_out():
    cores = len(os.sched_getaffinity(0))
    auto = pick_workers(EngineConfig(), images_of(0))
    assert auto.count * auto.cores <= cores
    assert auto.memory * auto.count < psutil.virtual_memory().total
    alone = pick_workers(EngineConfig(workers=1), images_of(0))
    assert (alone.cores, alone.threads) == (cores, cores)
    alone = pick_workers(EngineConfig(workers=1), images_of(0, (8, 8, 1)))
    assert (alone.cores, alone.threads) == (cores, 1)
    assert str(pick_workers(EngineConfig(workers=1), images_of(0))).startswith("1 worker, ")


def test_gpus_are_shared_out():
    config = EngineConfig(workers_per_gpu=2)
    assert pick_workers(config, images_of(0), ["0", "1"]).gpus == ("0", "0", "1", "1")
    assert str(pick_workers(config, images_of(0), ["0"])) == "2 workers, GPU 0, 0"
    with pytest.raises(InvalidConfiguration, match="`workers` 5 do not fit on 2 GPUs with 2 on each"):
        pick_workers(replace(config, workers=5), images_of(0), ["0", "1"])


def test_more_workers_than_memory_are_refused_before_anything_starts():
    with pytest.raises(
        InvalidConfiguration, match=r"`workers` 100000 need about .* GB of memory, and .* GB are free. Take"
    ):
        pick_workers(EngineConfig(workers=100_000), images_of(0))
    # Automatic choice takes what fits, and where nothing does, says what to do.
    one = int((free_memory() - share.OWN_MEMORY - share.LEAST_MEMORY) / 4 * 0.9)
    assert pick_workers(EngineConfig(), images_of(one)).count == 1
    with pytest.raises(InvalidConfiguration, match=r"at least 4000\.3 GB of memory, and .* are free.*`engine` inline"):
        pick_workers(EngineConfig(), images_of(10**12))


@pytest.mark.parametrize("end", ["close", "forget"])
def test_workers_that_are_ended_while_they_start_up_say_nothing(tmp_path, capfd, end):
    """Names of locks were gone before the new process had looked them up, and it ended in a traceback."""
    for wait in (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0):
        engine = PoolEngine(EngineConfig(workers=2), DIGITS, tmp_path)
        engine.start()
        pools = [process._pool for process in engine._processes]
        time.sleep(wait)
        began = time.monotonic()
        if end == "close":
            engine.close()
        else:
            del engine
            gc.collect()
            for each in pools:
                each.join()
        assert time.monotonic() - began < 20
    assert capfd.readouterr().err == ""


def test_no_worker_is_started_for_no_children(tmp_path):
    engine = PoolEngine(TWO, DIGITS, tmp_path)
    before = {each.pid for each in workers()}
    assert list(engine.run([])) == []
    assert {each.pid for each in workers()} == before
    assert not list(tmp_path.iterdir())


def test_workers_have_the_memory_of_a_step_each():
    """A worker was given the memory that small networks need, however large the start network's values are."""
    config, free = EngineConfig(), free_memory() - share.OWN_MEMORY
    assert pick_workers(config, images_of(0), step=free // 3).count == 1
    assert pick_workers(EngineConfig(workers=1), images_of(0), step=free // 3).memory > free * 2 // 3
    with pytest.raises(InvalidConfiguration, match=r"A worker needs at least .* GB of memory.*smaller batches"):
        pick_workers(config, images_of(0), step=2 * free)
    # The values of children on a GPU are in its memory.
    assert pick_workers(config, images_of(0), ["0"], step=2 * free).count == 1


def test_a_worker_has_the_gpu_that_the_environment_names(tmp_path, monkeypatch):
    """Case 17: it was told number 0, of all that the driver has."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    gpu = tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")
    listed = tf.config.list_physical_devices
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [gpu] if kind == "GPU" else listed(kind))
    engine = PoolEngine(EngineConfig(), DIGITS, tmp_path)
    engine.start()
    try:
        (process,) = engine._processes
        assert process._pool.schedule(os.getenv, args=["CUDA_VISIBLE_DEVICES"]).result() == "3"
        adjusted = process._pool.schedule(Path.read_text, args=[Path("/proc/self/oom_score_adj")]).result()
        assert adjusted == "1000\n"
    finally:
        engine.close()


def test_images_reach_the_workers_without_the_test_images(tmp_path):
    DIGITS.save(tmp_path / "images.npz")
    loaded = ImageData.load(tmp_path / "images.npz")
    assert loaded.x_test is None
    assert loaded.y_test is None
    assert loaded.fingerprint == DIGITS.fingerprint
    assert (loaded.name, loaded.mean, loaded.std) == (DIGITS.name, DIGITS.mean, DIGITS.std)
    assert not loaded.x_train.flags.writeable


@pytest.mark.parametrize(
    "options",
    [
        {"engine": "cloud"},
        {"workers": 0},
        {"workers_per_gpu": 0},
        {"child_seconds": 0.0},
        {"child_seconds": float("nan")},
    ],
    ids=str,
)
def test_an_engine_that_makes_no_sense_is_refused(options):
    with pytest.raises(InvalidConfiguration, match="Received"):
        EngineConfig(**options)


def test_reasons():
    assert process._reason(3) == "WorkerEnded: its process ended with exit code 3"
    assert process._reason(-signal.SIGSEGV) == "WorkerEnded: its process was ended by SIGSEGV"
