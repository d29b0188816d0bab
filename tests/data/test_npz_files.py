"""A user's own .npz: what is accepted, and that everything else is refused in one line that says what to do."""

import io
import os
import pickle
import re
import time
import zipfile

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eas_tf.data import ImageData, load
from eas_tf.errors import InvalidData

X, Y = np.arange(40 * 4 * 5 * 3, dtype=np.uint8).reshape(40, 4, 5, 3), np.arange(40) % 4


def save(path, **arrays):
    np.savez_compressed(path, **({"x_train": X, "y_train": Y} | arrays))
    return path


def refusal(path):
    with pytest.raises(InvalidData) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


@pytest.fixture
def path(tmp_path):
    return tmp_path / "mine.npz"


def test_a_good_file_loads_as_it_is(path):
    save(path, x_test=X[:7], y_test=Y[:7])
    data = load(path)
    assert isinstance(data, ImageData)
    assert data.classes == 4
    assert not data.crop_and_flip
    np.testing.assert_array_equal(np.sort(np.concatenate([data.x_train, data.x_val]).ravel()), np.sort(X.ravel()))
    np.testing.assert_array_equal(data.x_test, X[:7])
    np.testing.assert_array_equal(data.y_test, Y[:7])


def test_without_test_images_there_are_none(path):
    data = load(save(path))
    assert data.x_test is None
    assert data.y_test is None


def test_grey_images_without_a_channel_axis_and_labels_in_a_column_are_accepted(path):
    with_axes = load(save(path, x_train=X[..., :1]))
    without = load(save(path, x_train=X[..., 0], y_train=Y[:, None].astype(np.uint64)))
    assert without.input_shape == (4, 5, 1)
    assert without.fingerprint == with_axes.fingerprint


def test_column_major_arrays_are_the_same_images(path):
    expected = load(save(path)).fingerprint
    assert load(save(path, x_train=np.asfortranarray(X))).fingerprint == expected


REFUSED = {
    "float test images": ({"x_test": X / 2, "y_test": Y}, ["x_test", "uint8", "float64"]),
    "two dimensions": ({"x_train": X.reshape(40, -1)}, ["x_train", "[40, 60]"]),
    "channels first": ({"x_train": X.transpose(0, 3, 1, 2)}, ["channels come last", "[40, 3, 4, 5]"]),
    "no pixels": ({"x_train": X[:, :0]}, ["none of them 0", "[40, 0, 5, 3]"]),
    "lengths differ": ({"y_train": Y[:-1]}, ["as many labels", "40 x_train, 39 y_train"]),
    "test lengths differ": ({"x_test": X, "y_test": Y[:-1]}, ["as many labels", "40 x_test, 39 y_test"]),
    "one-hot labels": ({"y_train": np.eye(4, dtype=int)[Y]}, ["y_train", "argmax", "[40, 4]"]),
    "a single label": ({"y_train": np.int64(3)}, ["y_train", "[n]", "int64 []"]),
    "negative labels": ({"y_train": Y - 1}, ["labels from 0", "Received: -1"]),
    "one class": ({"y_train": Y * 0}, ["at least two classes", "only label 0"]),
    "labels from one": ({"y_train": Y + 1}, ["largest, 4", "renumber", "no image with label 0"]),
    "a label never occurs": ({"y_train": Y + (Y > 1)}, ["largest, 4", "no image with label 2"]),
    "a huge label": ({"y_train": np.where(Y == 3, 2**62, Y)}, ["no image with label 3"]),
    "a class with one image": ({"y_train": np.r_[Y[:-1], 4]}, ["two images of each class", "label 4"]),
    "test label out of range": ({"x_test": X, "y_test": Y + 1}, ["y_test", "0 to 3", "Received: 4"]),
    "negative test label": ({"x_test": X, "y_test": Y - 1}, ["y_test", "0 to 3", "Received: -1"]),
    "too few": ({"x_train": X[:19], "y_train": Y[:19]}, ["at least 20", "Received: 19"]),
    "other test size": ({"x_test": X[:, :3], "y_test": Y}, ["[40, 4, 5, 3] x_train", "[40, 3, 5, 3] x_test"]),
    "no test labels": ({"x_test": X}, ["x_train and y_train", "'x_test'"]),
    "unknown key": ({"x_valid": X}, ["x_train and y_train", "'x_valid'"]),
    "pickled images": ({"x_train": np.array([X[0], X[0, :2]], dtype=object)}, ["x_train", "pickled", "dtype object"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_trained_on_is_refused_in_one_line(path, case):
    arrays, words = REFUSED[case]
    message = refusal(save(path, **arrays))
    for word in [*words, "Received: "]:
        assert word in message, message


def test_wrong_keys_are_named_without_breaking_the_line(path):
    np.savez(path, **{"images": X, "la\nbels": Y})
    message = refusal(path)
    assert "'images'" in message
    assert "x_train and y_train" in message


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "not a zip"), (b"PK\x03\x04" + b"\0" * 100, "not a zip"), (b"x_train,y_train\n1,2\n", "not a zip")],
)
def test_what_is_not_a_zip_is_refused(path, content, words):
    path.write_bytes(content)
    assert words in refusal(path)


def test_a_missing_file_and_a_folder_are_refused(path):
    assert "no file" in refusal(path)
    path.mkdir()
    assert "cannot be read" in refusal(path)


def array_bytes(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def write_zip(path, x_train, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("x_train.npy", x_train)
        archive.writestr("y_train.npy", array_bytes(Y))


def test_the_header_of_an_old_python_is_read_without_a_warning(path):
    """Warnings are errors in all tests; NumPy warns of the long integers of Python 2."""
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (40L, 4L, 5L, 3L)}"
    header += b" " * (117 - len(header)) + b"\n"
    write_zip(path, b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + X.tobytes())
    assert load(path).input_shape == (4, 5, 3)


def test_a_member_that_occurs_twice_is_refused(path):
    save(path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("y_train.npy", array_bytes(Y))
    assert "'y_train', 'y_train'" in refusal(path)


def test_a_pickle_is_never_loaded(path, tmp_path):
    """The member is a pickle that would write a file; nothing may run it."""
    trap = tmp_path / "trap"

    class Trap:
        def __reduce__(self):
            return trap.touch, ()

    write_zip(path, pickle.dumps(Trap()))
    refusal(path)
    save(path, y_train=np.array([Trap()] * 40, dtype=object))
    refusal(path)
    assert not trap.exists()


@pytest.mark.parametrize("shape", [(10**10, 4, 5, 3), (41, 4, 5, 3), (39, 4, 5, 3), (-40, -4, 5, 3)])
def test_a_header_that_says_more_or_less_than_there_is_is_refused_before_anything_is_allocated(path, shape):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    write_zip(path, stream.getvalue() + X.tobytes())
    assert "damaged: its header says uint8" in refusal(path)


def test_a_zip_bomb_is_refused_unread(path):
    """Four members that each say that they unpack to 4 GiB: some kilobytes on disk, 16 GiB in memory."""
    content = bytearray(save(path, x_test=X, y_test=Y).read_bytes())
    for entry in re.finditer(b"PK\x01\x02", bytes(content)):
        uncompressed_size = slice(entry.start() + 24, entry.start() + 28)
        content[uncompressed_size] = (2**32 - 2).to_bytes(4, "little")
    path.write_bytes(content)
    assert "at most 8 GiB in all. Received: 16.0 GiB" in refusal(path)


def test_a_gigabyte_of_zeros_is_refused_unread(path):
    """x_train is 1,024,000,000 bytes that deflate to some megabytes: everything about the file is true."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("x_train.npy", "w") as member:
            shape = (1_000_000, 32, 32, 1)
            np.lib.format.write_array_header_1_0(member, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for _ in range(1000):
                member.write(bytes(1_024_000))
        archive.writestr("y_train.npy", array_bytes(np.arange(1_000_000) % 10))
    begin = time.process_time()
    message = refusal(path)
    assert "no zip bomb" in message
    assert "np.savez" in message
    assert time.process_time() - begin < 0.2


def test_a_file_may_be_large_or_well_compressed(path, monkeypatch):
    """Masks compress to a hundredth. Both limits must be exceeded; the one on bytes is lowered to 1 MiB for this."""
    monkeypatch.setattr("eas_tf.archives.LARGE", 1 << 20)
    rng, labels = np.random.default_rng(0), np.arange(4_000) % 4
    photographs = rng.integers(0, 256, (4_000, 32, 32), np.uint8)
    masks = np.kron(rng.integers(0, 2, (4_000, 4, 4), np.uint8), np.full((8, 8), 255, np.uint8))
    zeros = np.zeros((4_000, 32, 32), np.uint8)
    for images, most in ((photographs, 1.1), (masks, 120)):
        save(path, x_train=images, y_train=labels)
        assert most / 2 < images.nbytes / path.stat().st_size < most
        assert load(path).classes == 4
    assert "no zip bomb" in refusal(save(path, x_train=zeros, y_train=labels))
    np.savez(path, x_train=zeros, y_train=labels)
    assert load(path).classes == 4


def test_what_does_not_fit_in_memory_is_refused_unread(path, monkeypatch):
    full = psutil.virtual_memory()._replace(available=1000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: full)
    assert "fit in memory, of which 0.0 GiB are free" in refusal(save(path))


@pytest.mark.timeout(20)
def test_a_pipe_is_not_waited_for_and_a_link_is_followed(path, tmp_path):
    os.mkfifo(path)
    assert "a folder, a pipe or a device" in refusal(path)
    (tmp_path / "device.npz").symlink_to("/dev/zero")
    assert "a folder, a pipe or a device" in refusal(tmp_path / "device.npz")
    (tmp_path / "loop.npz").symlink_to("loop.npz")
    assert "cannot be read" in refusal(tmp_path / "loop.npz")
    (tmp_path / "gone.npz").symlink_to("gone")
    assert "no file" in refusal(tmp_path / "gone.npz")
    save(tmp_path / "real.npz")
    (tmp_path / "link.npz").symlink_to("real.npz")
    assert load(tmp_path / "link.npz").classes == 4


HOSTILE_NAMES = [
    "",
    "../../etc/passwd",
    "/etc/passwd",
    "/dev/zero",
    "/",
    "digits\0",
    "digits\n",
    "\x1b[31mdigits",
    "\x1b]0;title\x07",
    "<script>alert(1)</script>",
    "\u202edigits",
    "\ud800",
    "d" * 100_000,
    "mine.npy",
    "~nobody-of-that-name/mine.npz",
    "mi\0ne.npz",
    "mi\nne.npz",
    "\x1b[31mmine.npz",
    "\u2028mine.npz",
    "\ud800.npz",
    "../../x.npz",
    "m" * 300 + ".npz",
    "m/" * 50_000 + ".npz",
]


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=lambda name: repr(name[:20]))
def test_a_hostile_name_is_refused_in_one_short_printable_line(name):
    with pytest.raises(InvalidData) as caught:
        load(name)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


def test_a_file_whose_name_or_content_has_control_characters_is_not_printed_as_it_is(tmp_path):
    path = save(tmp_path / "\x1b[31m.npz")
    with pytest.raises(InvalidData, match=r"without control characters.*\\x1b\[31m") as caught:
        load(path)
    assert str(caught.value).isprintable()
    np.savez(tmp_path / "mine.npz", **{f"\x1b[31m{'x' * 1000}{i}": X for i in range(20)})
    message = refusal(tmp_path / "mine.npz")
    assert message.isprintable()
    assert len(message) < 1000


@pytest.mark.parametrize("folder", ["a\0b", "\x1b[31m", "~nobody-of-that-name"])
def test_a_hostile_folder_is_refused_before_tensorflow_datasets_sees_it(folder):
    with pytest.raises(InvalidData, match="Received: '") as caught:
        load("cifar10", data_dir=folder)
    assert str(caught.value).isprintable()


def test_an_encrypted_or_truncated_file_is_refused(path):
    content = save(path).read_bytes()
    for size in range(0, len(content), 97):
        path.write_bytes(content[:size])
        refusal(path)
    encrypted = bytearray(content)
    encrypted[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(encrypted)
    assert "encrypted" in refusal(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), min_size=1, max_size=3))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_flipped_bits_never_change_the_images_and_never_raise_anything_else(path, compression, flips):
    write_zip(path, array_bytes(X), compression=compression)
    expected = load(path).fingerprint
    content = bytearray(path.read_bytes())
    for place, bit in flips:
        content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    received = fingerprint_or_message(path)
    assert received == expected or (path.name in received and "\n" not in received)


def fingerprint_or_message(path):
    try:
        return load(path).fingerprint
    except InvalidData as error:
        return str(error)
