"""Keras's global settings: none changes a result, and none ends in a traceback."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from strategies import widen_together

from eas_tf import data
from eas_tf.agents import make_agent
from eas_tf.architecture import space_named
from eas_tf.envs import EASVectorEnv
from eas_tf.evaluation.child import measured
from eas_tf.search.driver import accuracy
from eas_tf.search.episodes import play
from eas_tf.surgery import initialise, load_network, lower, save_network, transform
from eas_tf.training.recipe import Recipe
from eas_tf.training.trainer import Trainer

SEARCH = Path(__file__).parents[1] / "scripts" / "search.py"

#: How a user's script changes a global setting, and to what.
CHANGES = {
    "floatx-16": (keras.config.set_floatx, "float16"),
    "floatx-64": (keras.config.set_floatx, "float64"),
    "floatx-bf16": (keras.config.set_floatx, "bfloat16"),
    "mixed": (keras.config.set_dtype_policy, "mixed_float16"),
    "policy-64": (keras.config.set_dtype_policy, "float64"),
    "channels-first": (keras.config.set_image_data_format, "channels_first"),
    "epsilon": (keras.config.set_epsilon, 1e-2),
    "steps": (keras.config.set_max_steps_per_epoch, 1),
}


@pytest.fixture(params=CHANGES)
def change(request):
    """What changes one setting; afterwards all are as they were."""
    config, (setter, value) = keras.config, CHANGES[request.param]
    before = config.floatx(), config.dtype_policy(), config.image_data_format(), config.epsilon()
    yield lambda: setter(value)
    config.set_floatx(before[0])
    config.set_dtype_policy(before[1])
    config.set_image_data_format(before[2])
    config.set_epsilon(before[3])
    config.set_max_steps_per_epoch(None)


def results(space, folder, *, before=lambda: None, between=lambda: None):
    """All that a start network and its child come to, with changes before the first and between the two."""
    images, space = data.load("digits"), space_named(space)
    images = replace(images, x_train=images.x_train[:128], y_train=images.y_train[:128])
    architecture = space.start_network(images.input_shape, images.classes)
    before()
    trainer, recipe = Trainer(images), Recipe(epochs=1, crop_and_flip=True, dropout=0.2, label_smoothing=0.1)
    graph = initialise(lower(architecture, images.mean, images.std), rng=np.random.default_rng(0))
    start = trainer.train(graph, recipe, seed=0).graph
    between()
    steps = widen_together(space, architecture, [space.widen_mask(architecture).index(True)])
    child = transform(measured(start, images), architecture, steps, rng=np.random.default_rng(1))
    trained = trainer.train(child, recipe, seed=1)
    save_network(trained.graph, folder / "child.keras")
    assert load_network(folder / "child.keras").digest == trained.graph.digest
    last = accuracy(keras.models.load_model(folder / "child.keras"), images.x_val, images.y_val)
    return graph.digest, start.digest, trained.graph.digest, trained.loss, last


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return results("digits", tmp_path_factory.mktemp("plain"))


def test_no_setting_changes_a_plain_network(change, plain, tmp_path):
    assert results("digits", tmp_path, before=change) == plain


@pytest.mark.slow
def test_a_setting_may_change_between_parent_and_child(change, plain, tmp_path):
    assert results("digits", tmp_path, between=change) == plain


@pytest.mark.slow
def test_no_setting_changes_a_densenet(change, tmp_path_factory):
    expected = results("densenet-digits", tmp_path_factory.mktemp("plain"))
    change()
    assert results("densenet-digits", tmp_path_factory.mktemp("changed")) == expected


def learned():
    """The weights of an agent after its first update."""
    envs = EASVectorEnv(num_envs=2, evaluator="surrogate")
    spaces = envs.single_observation_space, envs.single_action_space
    agent = make_agent("reinforce", *spaces, rng=np.random.default_rng(0))
    envs.reset(seed=0)
    play(envs, agent)
    return agent.state()


def test_no_setting_changes_the_agent(change):
    expected = learned()
    change()
    received = learned()
    assert expected.keys() == received.keys()
    for name, value in expected.items():
        assert value.dtype == received[name].dtype
        np.testing.assert_array_equal(value, received[name])


def python(*arguments, cwd, **settings):
    environ = {name: value for name, value in os.environ.items() if not name.startswith("KERAS_")} | settings
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd, env=environ, capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip


def searched(folder, *options, **settings):
    """The digest of a search, and its output."""
    done = python(SEARCH, "--epochs=1", "--start-epochs=2", "--output=run", *options, cwd=folder, **settings)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("decisions and results: ")]
    return line, done.stdout


@pytest.fixture
def keras_home(tmp_path):
    """A function that writes a keras.json, and gives its folder."""

    def written(text):
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "keras.json").write_text(text)
        return str(tmp_path / "home")

    return written


ODD = {"floatx": "float16", "epsilon": 0.01, "image_data_format": "channels_first", "nnx_enabled": True}


@pytest.mark.slow
def test_a_search_is_the_same_under_any_backend_and_keras_json(keras_home, tmp_path):
    """The workers that are started have the settings too. JAX need not be installed."""
    (tmp_path / "a").mkdir()
    options = "--networks=1", "--workers=1"
    line, out = searched(tmp_path / "a", *options)
    assert "TensorFlow" not in out
    same, out = searched(tmp_path, *options, KERAS_BACKEND="jax", KERAS_HOME=keras_home(json.dumps(ODD)))
    assert same == line
    assert "Networks are trained with TensorFlow: the backend jax of KERAS_BACKEND is not used." in out


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"backend": "torch"}, {**ODD, "backend": "openvino", "floatx": "float64"}])
def test_a_backend_in_keras_json_is_not_used_either(keras_home, tmp_path, settings):
    home = keras_home(json.dumps(settings))
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    line, _ = searched(tmp_path / "a", "--engine=surrogate", "--networks=11")
    same, out = searched(tmp_path / "b", "--engine=surrogate", "--networks=11", KERAS_HOME=home)
    assert same == line
    assert f"the backend {settings['backend']} of {home}/keras.json is not used." in out


@pytest.mark.parametrize(
    "text",
    ['{"floatx": "bfloat16"}', "[1]", '{"epsilon": 1}', '{"image_data_format": "nhwc"}', "[" * 100_000],
    ids=["floatx", "list", "epsilon", "format", "deep"],
)
def test_a_keras_json_with_which_keras_cannot_be_imported_is_one_line(keras_home, tmp_path, text):
    home = keras_home(text)
    done = python(SEARCH, "--output=run", cwd=tmp_path, KERAS_HOME=home)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert line.startswith(f"error: Keras cannot be imported with the settings in {home}/keras.json: mend or delete")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH"])
@pytest.mark.parametrize("value", ["all", ""])
def test_a_variable_with_which_keras_cannot_be_imported_is_one_line(tmp_path, name, value):
    done = python(SEARCH, "--output=run", cwd=tmp_path, **{name: value})
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert line.startswith(f"error: Keras cannot be imported with the environment variable {name}: unset it.")
    assert line.endswith(f"Received: {value!r}")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("place", ["file", "variable"])
def test_what_jax_alone_may_be_asked_for_does_not_matter(keras_home, tmp_path, place):
    """Keras would import flax, which need not be there."""
    program = (
        "from eas_tf.backend import use_tensorflow; use_tensorflow(print); import keras; "
        "print(keras.config.is_nnx_enabled())"
    )
    home = {"KERAS_HOME": keras_home('{"nnx_enabled": true}')} if place == "file" else {"KERAS_NNX_ENABLED": "1"}
    assert python("-c", program, cwd=tmp_path, **home).stdout == "False\n"


def test_what_is_no_json_is_ignored_as_keras_ignores_it(keras_home, tmp_path):
    program = (
        "from eas_tf.backend import use_tensorflow; use_tensorflow(print); import keras; print(keras.backend.backend())"
    )
    done = python("-c", program, cwd=tmp_path, KERAS_HOME=keras_home('{"floatx": '))
    assert done.stdout == "tensorflow\n"


EPISODE = """
import gymnasium as gym, numpy as np, eas_tf
env = gym.make("{name}", epochs=1, start_epochs=1, cache_dir="cache", dataset="{dataset}", batch=32)
env.reset(seed=0)
for _ in range(9):
    step = env.step({{"deepen": np.zeros(3, int), "widen": np.zeros(env.action_space["widen"].n, np.int8)}})
print(step[4]["accuracy"])
"""
TRAINED = EPISODE.format(name="EAS-Digits-v0", dataset="digits")


@pytest.mark.slow
def test_an_environment_trains_with_tensorflow_and_says_so(tmp_path):
    expected = python("-c", TRAINED, cwd=tmp_path).stdout
    again = tmp_path / "again"
    again.mkdir()
    done = python("-c", f"import os; os.environ['KERAS_BACKEND'] = 'torch'\n{TRAINED}", cwd=again)
    assert done.stdout == expected != ""
    assert "Networks are trained with TensorFlow: the backend torch of KERAS_BACKEND is not used." in done.stderr


@pytest.mark.parametrize("first", ["import keras", "import tensorflow"])
def test_an_environment_does_not_train_where_keras_has_another_backend(tmp_path, first):
    """TensorFlow imports Keras, too. JAX need not be installed: Keras keeps its choice after an import that failed."""
    program = f"try: {first}\nexcept ImportError: pass\n{TRAINED}"
    done = python("-c", program, cwd=tmp_path, KERAS_BACKEND="jax")
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("eas_tf.errors.")]
    assert line.startswith(
        "eas_tf.errors.InvalidConfiguration: Networks are trained with TensorFlow, but this process has"
    )
    assert "Received: jax. Set the environment variable KERAS_BACKEND to tensorflow" in line
    assert not (tmp_path / "cache").exists()


def test_a_surrogate_environment_needs_no_backend(tmp_path):
    program = EPISODE.format(name="EAS-Surrogate-v0", dataset="digits")
    plain, odd = (python("-c", program, cwd=tmp_path, **settings) for settings in ({}, {"KERAS_BACKEND": "torch"}))
    assert odd.stdout == plain.stdout != ""
    assert odd.stderr == plain.stderr
