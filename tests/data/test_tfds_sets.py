"""Sets that come through tensorflow-datasets, without a network: mocked, missing, damaged, and from archives."""

import ast
import dataclasses
import inspect
import io
import shlex
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest

from eas_tf.data import load
from eas_tf.data.tfds_sets import SETS
from eas_tf.errors import InvalidConfiguration, InvalidData

# tensorflow-datasets and TensorFlow warn about themselves.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def tfds():
    import tensorflow  # noqa: F401 - so that its import is not counted as time that a test needs
    import tensorflow_datasets

    return tensorflow_datasets


@pytest.mark.parametrize(
    ("name", "shape", "classes", "crop_and_flip"),
    [
        ("cifar10", (32, 32, 3), 10, True),
        ("cifar100", (32, 32, 3), 100, True),
        ("svhn_cropped", (32, 32, 3), 10, False),
    ],
)
def test_mocked_sets_pass_through_loader_and_split(tfds, name, shape, classes, crop_and_flip):
    with tfds.testing.mock_data(num_examples=50):
        data = load(name)
    assert data.name == name
    assert (len(data.x_train), len(data.x_val), len(data.x_test)) == (38, 12, 50)
    assert data.input_shape == shape
    assert data.classes == classes
    assert data.y_train.max() < classes
    assert data.crop_and_flip == crop_and_flip
    assert data.x_train.std() > 50


@pytest.mark.parametrize(("option", "expected"), [("auto", True), ("on", True), ("off", False)])
def test_crops_and_flips_are_an_option(tfds, option, expected):
    with tfds.testing.mock_data(num_examples=50):
        data = load("cifar10", crop_and_flip=option)
        assert data.crop_and_flip == expected
        assert data.fingerprint == load("cifar10").fingerprint, "the images are the same"
    assert load("digits", crop_and_flip=option).crop_and_flip == (option == "on")


@pytest.mark.parametrize("wrong", ["yes", True, None, ["on"]])
def test_another_word_for_crops_and_flips_is_refused(wrong):
    with pytest.raises(InvalidConfiguration, match="`crop_and_flip` is auto, on, off"):
        load("digits", crop_and_flip=wrong)


def test_svhn_is_divided_by_255_and_the_others_standardised(tfds):
    with tfds.testing.mock_data(num_examples=50):
        svhn, grey = load("svhn_cropped"), load("fashion_mnist")
    assert (svhn.mean, svhn.std) == ((0, 0, 0), (255, 255, 255))
    np.testing.assert_allclose(grey.mean, grey.x_train.mean(axis=(0, 1, 2)), rtol=1e-6)
    assert grey.input_shape == (28, 28, 1)


@pytest.mark.parametrize("name", SETS)
def test_a_missing_set_fails_at_once_in_one_line_with_the_ways_out_and_writes_nothing(tfds, tmp_path, name):  # noqa: ARG001 - early
    start = time.perf_counter()
    with pytest.raises(InvalidData) as caught:
        load(name, data_dir=str(tmp_path))
    assert time.perf_counter() - start < 2
    message = str(caught.value)
    for needed in (name, str(tmp_path / name), "data_dir", *SETS[name].archives, "manual", ".npz"):
        assert needed in message
    assert "\n" not in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("data_dir", ["here", "it's $HOME"])
def test_a_missing_set_comes_with_the_command_that_downloads_it(tfds, tmp_path, data_dir):  # noqa: ARG001 - early
    """Environments and scripts/train.py have no option for it. Without a network the command gets as far as that."""
    with pytest.raises(InvalidData) as caught:
        load("svhn_cropped", data_dir=str(tmp_path / data_dir))
    told = shlex.split(str(caught.value).rpartition(": ")[2])
    assert told[:2] == ["python", "-c"]
    (call,) = (node for node in ast.walk(ast.parse(told[2])) if isinstance(node, ast.Call))
    assert [ast.literal_eval(each) for each in call.args] == ["svhn_cropped"]
    options = {each.arg: ast.literal_eval(each.value) for each in call.keywords}
    assert options == {"data_dir": str(tmp_path / data_dir), "download": True}
    inspect.signature(load).bind("svhn_cropped", **options)


def test_the_archives_are_the_files_that_tensorflow_datasets_asks_for(tfds, tmp_path):
    for name, special in SETS.items():
        builder = tfds.builder(name, data_dir=tmp_path)
        needed = [info.filename for info in builder.url_infos.values()]
        assert sorted(special.archives) == sorted(needed)


def write_cifar10(path, rng):
    """CIFAR-10's own binary format, ten images a file. Returns the training images [50, 32, 32, 3] and labels."""
    images, labels = rng.integers(0, 256, (6, 10, 3, 32, 32), dtype=np.uint8), np.arange(60, dtype=np.uint8) % 10
    files = {f"data_batch_{i}.bin": i - 1 for i in range(1, 6)} | {"test_batch.bin": 5}
    with tarfile.open(path, "w:gz") as archive:

        def add(name, content):
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))

        add("batches.meta.txt", "\n".join(f"class{i}" for i in range(10)).encode())
        for name, i in files.items():
            rows = zip(labels[10 * i : 10 * i + 10], images[i], strict=True)
            add(name, b"".join(bytes([label]) + image.tobytes() for label, image in rows))
    return images[:5].reshape(50, 3, 32, 32).transpose(0, 2, 3, 1), labels[:50]


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "downloads" / "manual" / "cifar-10-binary.tar.gz"
    path.parent.mkdir(parents=True)
    return path


def test_an_archive_is_prepared_without_a_network_and_the_second_time_it_is_not_needed(
    tfds, archive, tmp_path, monkeypatch
):
    images, labels = write_cifar10(archive, np.random.default_rng(0))
    known = tfds.builder("cifar10", data_dir=tmp_path).url_infos
    (url,) = (url for url in known if "cifar-10-binary" in url)
    checksums = tfds.core.download.checksums
    ours = checksums.compute_url_info(archive)
    monkeypatch.setitem(known, url, dataclasses.replace(known[url], size=ours.size, checksum=ours.checksum))
    data = load("cifar10", data_dir=str(tmp_path))
    found = zip(np.concatenate([data.x_train, data.x_val]), np.concatenate([data.y_train, data.y_val]), strict=True)
    expected = sorted((image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))
    assert sorted((image.tobytes(), int(label)) for image, label in found) == expected
    assert len(data.x_test) == 10

    archive.unlink()
    assert load("cifar10", data_dir=str(tmp_path)).fingerprint == data.fingerprint
    (records,) = (tmp_path / "cifar10").rglob("*train.tfrecord*")
    records.write_bytes(records.read_bytes()[:-1000])
    with pytest.raises(InvalidData, match="damaged") as caught:
        load("cifar10", data_dir=str(tmp_path))
    assert "\n" not in str(caught.value)


def test_an_archive_of_other_content_is_refused_at_once_in_one_line(tfds, archive, tmp_path):  # noqa: ARG001 - imported early
    archive.write_bytes(b"not what it says")
    start = time.perf_counter()
    with pytest.raises(InvalidData, match=r"archives in .*manual.*checksum") as caught:
        load("cifar10", data_dir=str(tmp_path))
    assert time.perf_counter() - start < 2
    assert "\n" not in str(caught.value)


def test_one_of_three_archives_is_not_enough_to_start(tfds, tmp_path):  # noqa: ARG001 - imported early
    manual = tmp_path / "downloads" / "manual"
    manual.mkdir(parents=True)
    (manual / "train_32x32.mat").touch()
    with pytest.raises(InvalidData, match="is not there"):
        load("svhn_cropped", data_dir=str(tmp_path))


@pytest.mark.parametrize("content", [None, "{", "{}"])
def test_prepared_data_that_is_damaged_is_refused_in_one_line(tfds, tmp_path, content):
    folder = Path(tfds.builder("cifar10", data_dir=tmp_path).data_dir)
    folder.mkdir(parents=True)
    if content is not None:
        (folder / "dataset_info.json").write_text(content)
    with pytest.raises(InvalidData, match="is damaged") as caught:
        load("cifar10", data_dir=str(tmp_path))
    assert "\n" not in str(caught.value)
