"""Whole networks in `.keras` files."""

import os
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from trained_graphs import call, check_same, images, randomised, with_any_moments

from eas_tf.architecture import Net2Deeper, Net2Wider, PlainCNN
from eas_tf.errors import EASError, InvalidConfiguration
from eas_tf.surgery import load_network, lower, save_network, transform

ARCHITECTURE = PlainCNN.parse("C(4,3,1), P(2,2,MAX), FC(6), SM(3)", (8, 8, 1))


@pytest.fixture(scope="module")
def graph():
    return randomised(lower(ARCHITECTURE, mean=(3,), std=(2,)), np.random.default_rng(0))


def test_what_is_loaded_is_what_was_saved(graph, tmp_path):
    path = tmp_path / "best.keras"
    save_network(graph, path)
    loaded = load_network(path)
    assert loaded.digest == graph.digest
    assert [node.name for node in loaded.nodes] == [node.name for node in graph.nodes]
    assert [each.name for each in tmp_path.iterdir()] == ["best.keras"]
    batch = images(np.random.default_rng(0), shape=(8, 8, 1))
    plain = keras.models.load_model(path)
    np.testing.assert_array_equal(call(plain, batch), call(graph.to_keras(), batch))


def test_a_network_that_was_read_grows_as_the_one_that_was_saved(graph, tmp_path):
    """A Keras file does not say which part of the architecture a layer is; `transform` finds it out."""
    save_network(graph, tmp_path / "best.keras")
    read = load_network(tmp_path / "best.keras")
    assert [node.part for node in read.nodes] == [None] * len(graph.nodes)
    chain = [Net2Deeper(0, 1, 3), Net2Wider(1, 7), Net2Deeper(1, 0, None), Net2Wider(3, 300)]
    grown, expected = (
        transform(with_any_moments(each), ARCHITECTURE, chain, rng=np.random.default_rng(0)) for each in (read, graph)
    )
    assert grown.digest == expected.digest
    check_same(grown, expected)


def test_saving_replaces_an_older_file(graph, tmp_path):
    path = tmp_path / "best.keras"
    path.write_bytes(b"old")
    save_network(graph, path)
    assert load_network(path).digest == graph.digest
    assert [each.name for each in tmp_path.iterdir()] == ["best.keras"]


def test_a_failed_write_leaves_what_was_there(graph, tmp_path):
    """A folder in the place of the file makes the write fail at its end."""
    path = tmp_path / "best.keras"
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        save_network(graph, path)
    assert [each.name for each in tmp_path.iterdir()] == ["best.keras"]


@pytest.mark.parametrize("name", ["best.h5", "best.weights.h5", "best", "best.keras.zip"])
def test_other_suffixes_are_refused(graph, tmp_path, name):
    save_network(graph, tmp_path / "best.keras")
    path = (tmp_path / "best.keras").rename(tmp_path / name)
    with pytest.raises(InvalidConfiguration, match=f"is stored in a .keras file. Received: .*{name}"):
        load_network(path)


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(InvalidConfiguration, match=r"best\.keras is not there\. .*; check its path$"):
        load_network(tmp_path / "best.keras")


@pytest.mark.parametrize("content", [b"", b"no network", b"PK\x03\x04 and no more"])
def test_foreign_files_are_refused(tmp_path, content):
    path = tmp_path / "best.keras"
    path.write_bytes(content)
    with pytest.raises(InvalidConfiguration, match=r"best\.keras cannot be read as a Keras model"):
        load_network(path)


def test_truncated_files_are_refused(graph, tmp_path):
    path = tmp_path / "best.keras"
    save_network(graph, path)
    whole = path.read_bytes()
    for size in np.linspace(1, len(whole) - 1, 12).astype(int):
        path.write_bytes(whole[:size])
        with pytest.raises(InvalidConfiguration, match="cannot be read"):
            load_network(path)


def test_a_flipped_bit_is_refused_or_does_no_harm(graph, tmp_path):
    """Some bytes of a zip file mean nothing, for example time stamps. Whatever is read is what was written."""
    path = tmp_path / "best.keras"
    save_network(graph, path)
    whole, refused = path.read_bytes(), 0
    for position in np.linspace(0, len(whole) - 1, 40).astype(int):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 16]) + whole[position + 1 :])
        try:
            assert load_network(path).digest == graph.digest
        except EASError:
            refused += 1
    assert refused >= 30


class Hidden(keras.layers.Layer):
    """A layer of one's own, which another process does not know."""

    def call(self, inputs):
        return inputs


def test_files_with_layers_of_their_own_are_refused(tmp_path):
    path = tmp_path / "own.keras"
    keras.Sequential([keras.Input((2,)), Hidden()]).save(path)
    with pytest.raises(EASError, match="cannot be read as a Keras model"):
        load_network(path)


def refusal(path):
    with pytest.raises(InvalidConfiguration, match="cannot be read as a Keras model") as caught:
        load_network(path)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 600
    assert not [word for word in ("unsafe", "safe_mode", "register_keras", "Full object") if word in message]
    return message


def test_code_in_a_file_is_not_run_and_nobody_is_told_to(tmp_path):
    path = tmp_path / "lambda.keras"
    keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x)]).save(path)
    assert "Lambda" in refusal(path)


def test_layers_that_another_program_registered_are_refused(tmp_path):
    path = tmp_path / "foreign.keras"
    foreign = keras.saving.register_keras_serializable("elsewhere")(type("Foreign", (Hidden,), {}))
    keras.Sequential([keras.Input((2,)), foreign()]).save(path)
    keras.saving.get_custom_objects().pop("elsewhere>Foreign")
    assert "'Foreign'" in refusal(path)


def test_a_zip_bomb_is_refused_unread(graph, tmp_path):
    path = tmp_path / "bomb.keras"
    save_network(graph, path)
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("assets/zeros", "w") as member,
    ):
        for _ in range(300):
            member.write(bytes(1 << 20))
    assert "that unpack to 300 MiB" in refusal(path)


def test_a_configuration_that_is_nested_too_deep_is_refused(tmp_path):
    path = tmp_path / "deep.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", '{"a":' * 100_000 + "0" + "}" * 100_000)
    refusal(path)


def test_hdf5_under_another_name_and_a_folder_are_refused(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.save_weights(tmp_path / "model.weights.h5")
    (tmp_path / "model.weights.h5").rename(tmp_path / "renamed.keras")
    assert "not a zip file" in refusal(tmp_path / "renamed.keras")
    (tmp_path / "folder.keras").mkdir()
    assert "a folder" in refusal(tmp_path / "folder.keras")


@pytest.mark.timeout(60)
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.keras")
    assert "a pipe" in refusal(tmp_path / "pipe.keras")


def test_control_characters_in_a_name_are_not_printed_as_they_are(tmp_path):
    (tmp_path / "\x1b[31m\n.keras").write_bytes(b"no network")
    refusal(tmp_path / "\x1b[31m\n.keras")
    with pytest.raises(InvalidConfiguration, match="is not there") as caught:
        load_network(tmp_path / "\x1b[31m\r.keras")
    assert str(caught.value).isprintable()
    with pytest.raises(InvalidConfiguration, match=r"is stored in a \.keras file") as caught:
        load_network(tmp_path / "\x1b[31m\n.h5")
    assert str(caught.value).isprintable()


@pytest.mark.slow
def test_the_file_loads_without_eas_tf(graph, tmp_path):
    path = tmp_path / "best.keras"
    save_network(graph, path)
    batch = images(np.random.default_rng(0), shape=(8, 8, 1))
    np.save(tmp_path / "images.npy", batch)
    code = (
        "import sys, keras, numpy as np\n"
        "np.save('outputs.npy', keras.models.load_model('best.keras')(np.load('images.npy')))\n"
        "assert not any(name.startswith('eas_tf') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    np.testing.assert_array_equal(np.load(tmp_path / "outputs.npy"), call(graph.to_keras(), batch))
