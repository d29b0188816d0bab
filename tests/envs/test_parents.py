"""Episodes that begin with another network than the start network, and the other options of `reset`."""

import gymnasium as gym
import numpy as np
import pytest
from playing import INFO, RecordingEvaluator, rollout, surrogate

from eas_tf.architecture import PlainCNN, parse_architecture
from eas_tf.envs import EASEnv, EASVectorEnv
from eas_tf.errors import InvalidArchitecture, InvalidConfiguration

PARENT = "C(32,3,1), P(2,2,MAX), C(64,3,1), P(4,4,AVG), FC(64), SM(10)"


@pytest.mark.parametrize("parent", [PARENT, PlainCNN.parse(PARENT)])
def test_an_episode_begins_with_its_parent_and_the_next_with_the_start_network(parent):
    env = surrogate()
    _, info = env.reset(seed=0, options={"parent": parent})
    assert info["architecture"] == PARENT
    assert info["parameters"] == parse_architecture(PARENT).parameter_count
    expected = EASEnv(start=PARENT, evaluator="surrogate").reset(seed=0)[1]["action_mask"]
    np.testing.assert_array_equal(info["action_mask"]["deepen"], expected["deepen"])
    for options in (None, {}, {"parent": None}):
        assert env.reset(options=options)[1]["architecture"] != PARENT


def test_what_is_evaluated_grew_from_the_parent():
    class Asked(RecordingEvaluator):
        parent = ""

    evaluator = Asked()
    env = EASEnv(evaluator=evaluator, schedule=["widen"])
    env.reset(seed=0, options={"parent": PARENT})
    env.step({"widen": np.isin(np.arange(50), [0])})
    ((request,),) = evaluator.calls
    assert str(request.architecture) == PARENT.replace("C(32", "C(64")
    assert request.transformations[0].apply(parse_architecture(PARENT)) == request.architecture


def test_each_episode_of_a_batch_may_have_its_own():
    envs = EASVectorEnv(2, evaluator="surrogate", schedule=["widen"])
    _, infos = envs.reset(seed=0, options={"parent": [PARENT, None]})
    assert infos["architecture"].tolist() == [PARENT, str(envs.process.start)]
    action = {"deepen": np.zeros((2, 3), int), "widen": np.zeros((2, 50), np.int8)}
    envs.step(action)
    *_, infos = envs.step(action)
    assert infos["architecture"].tolist() == [str(envs.process.start)] * 2
    _, infos = envs.reset(options={"parent": infos["architecture"]})
    assert infos["architecture"].tolist() == [str(envs.process.start)] * 2
    with pytest.raises(InvalidConfiguration, match="one for each of 2"):
        envs.reset(options={"parent": [PARENT] * 3})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"parents": PARENT}, InvalidConfiguration, "has the option `parent`. Received: parents"),
        ({"parent": "C(8,3"}, InvalidArchitecture, "position"),
        ({"parent": PARENT.replace("C(32", "C(600")}, InvalidArchitecture, "wider than the last rung"),
        ({"parent": PARENT.replace("SM(10)", "SM(7)")}, InvalidConfiguration, "for 7 classes"),
        ({"parent": PlainCNN.parse(PARENT, (64, 64, 3))}, InvalidConfiguration, "images of .64, 64, 3."),
        ({"parent": 0}, InvalidArchitecture, "no plain network"),
        (["parent"], InvalidConfiguration, "are a dictionary"),
        ({"parent": "DenseNet-BC: C(24,3,1), 2xD(12), SM(10)"}, InvalidArchitecture, "no plain network"),
    ],
)
@pytest.mark.parametrize("batch", [False, True])
def test_bad_options_are_refused_and_change_nothing(options, error, message, batch):
    env = EASVectorEnv(2, evaluator="surrogate") if batch else surrogate()
    env.reset(seed=0)
    with pytest.raises(error, match=message):
        env.reset(seed=1, options=options)
    if not batch:
        assert rollout(env, seed=0, actions=0)[-1][INFO]["accuracy"] > 0


def test_children_grow_from_the_weights_of_a_child_that_was_trained(tmp_path):
    """Also where its weights are kept no longer, and where its result is a cached one."""
    options = {"schedule": ["widen"], "epochs": 1, "start_epochs": 1, "cache_dir": str(tmp_path), "render_mode": None}
    told = []
    for _ in range(2):
        env = gym.make("EAS-Digits-v0", **options)
        start = env.reset(seed=0)[1]["architecture"]
        assert env.reset(options={"parent": start})[1]["architecture"] == start
        with pytest.raises(InvalidConfiguration, match="Nothing was trained here since"):
            env.reset(options={"parent": start.replace("C(4,", "C(8,")})
        first = wider(env, 0)
        _, info = env.reset(seed=1, options={"parent": first["architecture"]})
        assert info["architecture"] == first["architecture"] != start
        second = wider(env, 2)
        with pytest.raises(InvalidConfiguration, match=r"there are none of C.12"):
            env.reset(options={"parent": start.replace("C(4,", "C(12,")})
        told.append((first["accuracy"], second["accuracy"], second["architecture"]))
        env.close()
    assert told[0] == told[1]
    assert told[0][1] > 0.6, "a network from random weights reaches about 0.3 in one epoch"
    assert not list(tmp_path.glob("networks-*"))


def wider(env, layer):
    action = {
        "deepen": np.zeros(3, int),
        "widen": np.eye(env.observation_space["layers"].shape[0], dtype=np.int8)[layer],
    }
    return env.step(action)[-1]
