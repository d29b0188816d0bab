"""Every registered id keeps Gymnasium's contract, is rebuilt from its spec, and is cheap."""

import json
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env, data_equivalence
from playing import OBSERVATION, rollout, surrogate

from eas_tf.registration import ENVIRONMENTS, register_environments

ids = pytest.mark.parametrize("name", ENVIRONMENTS)


def test_the_ids_are_the_documented_ones():
    documented = {
        "Digits",
        "Cifar10",
        "Cifar100",
        "Svhn",
        "FashionMnist",
        "Surrogate",
        "DenseNet-Digits",
        "DenseNet-Cifar10",
        "NASBench201",
    }
    assert set(ENVIRONMENTS) == {f"EAS-{name}-v0" for name in documented}
    assert set(ENVIRONMENTS) <= set(gym.registry)


@ids
def test_check_env_is_content(name):
    """Warnings are errors in all tests, and Gymnasium's are Python warnings."""
    check_env(surrogate(name).unwrapped)


def classes(name):
    return ENVIRONMENTS[name].get("classes", 10)


@ids
def test_the_spec_survives_json_and_rebuilds_the_environment(name):
    prices = {"price_parameters": 0.07, "price_multiply_adds": 0.01, "price_start": f"C(8,3,1), SM({classes(name)})"}
    layerwise = {"schedule": ["widen", "deepen", "deepen"], "max_parameters": 4_000_000}
    env = surrogate(name, **prices, **({} if "NASBench" in name else layerwise))
    rebuilt = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert rebuilt.spec == env.spec
    assert rebuilt.unwrapped.process == env.unwrapped.process
    assert rebuilt.observation_space == env.observation_space
    assert rebuilt.action_space == env.action_space
    steps, again = (rollout(one, seed=3, actions=5) for one in (env, rebuilt))
    assert len(steps) == (7 if "NASBench" in name else 4)
    assert data_equivalence(steps, again)


@pytest.mark.parametrize(
    ("name", "images", "classes"),
    [
        ("EAS-Digits-v0", (8, 8, 1), 10),
        ("EAS-Cifar10-v0", (32, 32, 3), 10),
        ("EAS-Cifar100-v0", (32, 32, 3), 100),
        ("EAS-Svhn-v0", (32, 32, 3), 10),
        ("EAS-FashionMnist-v0", (28, 28, 1), 10),
        ("EAS-DenseNet-Digits-v0", (8, 8, 1), 10),
        ("EAS-DenseNet-Cifar10-v0", (32, 32, 3), 10),
        ("EAS-Surrogate-v0", (32, 32, 3), 10),
    ],
)
def test_the_start_network_is_for_the_images_of_the_data_set(name, images, classes):
    """The episode is the paper's: five insertions, then four widening steps, and ends in termination alone."""
    env = surrogate(name)
    steps = rollout(env, seed=0, actions=0)
    network = env.unwrapped.architecture
    assert (network.input_shape, network.classes) == (images, classes)
    assert env.spec.max_episode_steps is None
    assert [int(step[OBSERVATION]["kind"]) for step in steps] == [0] * 5 + [1] * 4 + [2]
    assert [int(step[OBSERVATION]["steps_left"]) for step in steps] == list(range(9, -1, -1))
    assert not any(truncated for _, _, _, truncated, _ in steps)


def test_ids_can_be_made_with_the_module_named_and_registered_twice():
    before = dict(gym.registry)
    with pytest.warns(UserWarning, match="Overriding environment"):
        register_environments()
    assert gym.registry == before
    assert gym.make("eas_tf:EAS-Surrogate-v0").spec.id == "EAS-Surrogate-v0"


def test_a_child_of_a_registered_environment_is_really_trained_unless_told_otherwise():
    """Which evaluator an id has is part of what it promises; it is built when the first episode ends."""
    kinds = {name: kwargs.get("evaluator", "train") for name, kwargs in ENVIRONMENTS.items()}
    assert {name for name, kind in kinds.items() if kind == "surrogate"} == {"EAS-Surrogate-v0"}


_WITHOUT_TENSORFLOW = """
import json, sys, time
import eas_tf, eas_tf.envs
import gymnasium as gym
seconds = []
for _ in range(7):
    start = time.process_time()
    env = gym.make("EAS-Cifar10-v0")
    seconds.append(time.process_time() - start)
env.reset(seed=0)
env.step(env.action_space.sample())
heavy = {"tensorflow", "keras", "tensorflow_datasets", "matplotlib", "ray"} & set(sys.modules)
print(json.dumps({"seconds": sorted(seconds)[3], "heavy": sorted(heavy)}))
"""


def test_importing_making_and_stepping_load_no_tensorflow_and_making_takes_milliseconds():
    """0.5 to 1 ms when this was written; the bound leaves room for a busy machine."""
    command = [sys.executable, "-W", "error", "-c", _WITHOUT_TENSORFLOW]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    report = json.loads(done.stdout)
    assert report["heavy"] == []
    assert report["seconds"] < 0.02


@ids
def test_spaces_are_of_kinds_that_libraries_know(name):
    """Dict of Box and Discrete for observations; int8 masks of the shapes of the action spaces."""
    env = surrogate(name)
    observation, info = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert observation["layers"].dtype == np.int32
    mask, actions = info["action_mask"], env.action_space
    assert mask.keys() == actions.keys()
    for kind, part in actions.items():
        assert mask[kind].shape == (tuple(part.nvec) if isinstance(part, gym.spaces.MultiDiscrete) else part.shape)
    assert {part.dtype for part in mask.values()} == {np.dtype(np.int8)}
