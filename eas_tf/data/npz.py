"""A user's own `.npz`: everything that can be wrong with it is said in one line, before any of it is trained on."""

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeAlias
from zipfile import ZipFile, ZipInfo

import numpy as np
import psutil

from eas_tf.archives import bomb
from eas_tf.data.images import ImageData
from eas_tf.errors import InvalidData
from eas_tf.text import printable

#: A file that unpacks to more is refused unread: images are kept in memory.
MAX_BYTES = 8 << 30
#: Characters of a message; what a file says of itself may be long.
_LINE = 600
#: The fewest training images: with fewer, the quarter that is held out tells nothing.
MIN_IMAGES = 20

_KEYS = "x_train and y_train, and optionally x_test and y_test"
_IMAGES = "uint8 images [n, height, width, channels] with 1 or 3 channels, or [n, height, width]"


@dataclass(frozen=True, kw_only=True)
class _Header:
    """What an array says about itself, before its data are read."""

    shape: tuple[int, ...]
    dtype: np.dtype


_Headers: TypeAlias = dict[str, _Header]


def load_npz(path: Path, *, name: str | None = None, validation_seed: int = 0) -> ImageData:
    """Read, check and split a user's own data set.

    Args:
        path: A file written by `np.savez` or `np.savez_compressed`, with `x_train` (uint8
            `[n, height, width, channels]` or `[n, height, width]`) and `y_train` (integers `[n]` or `[n, 1]`, from 0
            and without gaps), and optionally `x_test` and `y_test`.
        name: What to call the set; the file's name by default.
        validation_seed: Which training images are held out.

    Raises:
        InvalidData: If the file is missing, damaged or not what is described above, in one line.
    """
    arrays = {key: _with_usual_shape(key, array) for key, array in _read(path).items()}
    try:
        classes = _check_classes(arrays["y_train"])
        if "y_test" in arrays:
            _check_test_labels(arrays["y_test"], classes)
    except InvalidData as error:
        raise _of(path, error) from None
    return ImageData.from_arrays(name or path.name, arrays, classes=classes, validation_seed=validation_seed)


def _of(path: Path, error: InvalidData) -> InvalidData:
    return InvalidData(f"{printable(path)}: {printable(error, _LINE)}")


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        # A pipe that nobody writes to would be waited for without an end.
        if path.exists() and not path.is_file():
            raise OSError("a folder, a pipe or a device")
        # Of a strange header NumPy, or the parser of Python that it uses, would warn in lines of their own.
        with warnings.catch_warnings(action="ignore"), ZipFile(path) as archive:
            members = _members(archive)
            if reason := bomb(archive, path):
                raise InvalidData(
                    f"Expected no zip bomb; if your arrays are like that, use np.savez. Received: {reason}"
                )
            _check_headers({name: _read_header(archive, name, member) for name, member in members.items()})
            return {name: _read_array(archive, member) for name, member in members.items()}
    except FileNotFoundError:
        raise InvalidData(f"There is no file {printable(path)}. Expected an .npz file with {_KEYS}.") from None
    except InvalidData as error:
        raise _of(path, error) from None
    except Exception as error:
        # A damaged file may fail anywhere in zipfile, zlib, lzma, tokenize or NumPy, with an exception of theirs.
        reason = printable(" ".join(str(error).split())) or type(error).__name__
        raise InvalidData(
            f"{printable(path)} cannot be read. Expected a file written by np.savez or np.savez_compressed; write it "
            f"again. Received: {reason}"
        ) from error


def _members(archive: ZipFile) -> dict[str, ZipInfo]:
    size = sum(member.file_size for member in archive.infolist())
    if size > MAX_BYTES:
        raise InvalidData(f"Expected arrays of at most {MAX_BYTES >> 30} GiB in all. Received: {size / 2**30:,.1f} GiB")
    free = psutil.virtual_memory().available
    if size > free:
        raise InvalidData(
            f"Expected arrays that fit in memory, of which {free / 2**30:,.1f} GiB are free. "
            f"Received: {size / 2**30:,.1f} GiB"
        )
    names = [member.filename.removesuffix(".npy") for member in archive.infolist()]
    if sorted(names) not in (["x_train", "y_train"], ["x_test", "x_train", "y_test", "y_train"]):
        received = ", ".join(map(repr, names[:8])) or "nothing"
        raise InvalidData(f"Expected the arrays {_KEYS}; rename yours. Received: {received}")
    return dict(zip(names, archive.infolist(), strict=True))


def _read_header(archive: ZipFile, name: str, member: ZipInfo) -> _Header:
    with archive.open(member) as stream:
        header = _parse_header(stream)
        if header.dtype.hasobject:
            raise InvalidData(
                f"{name} holds pickled Python objects, which are never loaded. Expected an array of integers; "
                f"are the images of different sizes? Received: dtype object"
            )
        # An array is allocated as its header says, so a header must not say more than there is.
        expected = math.prod(header.shape) * header.dtype.itemsize
        if min(header.shape, default=0) < 0 or expected != member.file_size - stream.tell():
            raise InvalidData(
                f"{name} is damaged: its header says {header.dtype} {list(header.shape)}, which is not what it holds. "
                f"Write the file again. Received: {member.file_size - stream.tell():,} bytes"
            )
    return header


def _parse_header(stream: IO[bytes]) -> _Header:
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(stream)
    if version not in readers:
        raise InvalidData(f"Expected arrays in version 1.0 or 2.0 of the .npy format. Received: {version}")
    shape, _, dtype = readers[version](stream)
    return _Header(shape=shape, dtype=dtype)


def _check_headers(headers: _Headers) -> None:
    for part in ("train", "test") if "x_test" in headers else ("train",):
        x, y = headers[f"x_{part}"], headers[f"y_{part}"]
        _check_images(f"x_{part}", x)
        _check_labels(f"y_{part}", y)
        if x.shape[0] != y.shape[0]:
            raise InvalidData(
                f"Expected as many labels as images. Received: {x.shape[0]} x_{part}, {y.shape[0]} y_{part}"
            )
    if headers["x_train"].shape[0] < MIN_IMAGES:
        raise InvalidData(f"Expected at least {MIN_IMAGES} training images. Received: {headers['x_train'].shape[0]}")
    if "x_test" in headers and headers["x_test"].shape[1:] != headers["x_train"].shape[1:]:
        sizes = " and ".join(f"{list(headers[name].shape)} {name}" for name in ("x_train", "x_test"))
        raise InvalidData(f"Expected test images of the training images' size and channels. Received: {sizes}")


def _check_images(name: str, header: _Header) -> None:
    received = f"Received: {header.dtype} {list(header.shape)}"
    if header.dtype.kind == "f":
        raise InvalidData(
            f"{name}: expected {_IMAGES}; multiply values from 0 to 1 by 255 and cast, "
            f"np.round({name} * 255).astype(np.uint8). {received}"
        )
    if header.dtype != np.uint8:
        raise InvalidData(
            f"{name}: expected {_IMAGES}; for values from 0 to 255, save {name}.astype(np.uint8). {received}"
        )
    if len(header.shape) not in (3, 4) or 0 in header.shape:
        raise InvalidData(f"{name}: expected {_IMAGES}, none of them 0. {received}")
    if len(header.shape) == 4 and header.shape[3] not in (1, 3):
        hint = f"; channels come last, save {name}.transpose(0, 2, 3, 1)" if header.shape[1] in (1, 3) else ""
        raise InvalidData(f"{name}: expected {_IMAGES}{hint}. {received}")


def _check_labels(name: str, header: _Header) -> None:
    if header.dtype.kind not in "iu" or not header.shape or header.shape[1:] not in ((), (1,)):
        raise InvalidData(
            f"{name}: expected one integer a label, [n] or [n, 1]; of one-hot labels, save {name}.argmax(axis=1). "
            f"Received: {header.dtype} {list(header.shape)}"
        )


def _read_array(archive: ZipFile, member: ZipInfo) -> np.ndarray:
    with archive.open(member) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _with_usual_shape(name: str, array: np.ndarray) -> np.ndarray:
    if name.startswith("y_"):
        return array.reshape(-1)
    return array[..., None] if array.ndim == 3 else array


def _check_classes(labels: np.ndarray) -> int:
    """The number of classes of the training labels `[n]`, which must be 0, 1, 2 ... without gaps."""
    present, counts = np.unique(labels, return_counts=True)
    if present[0] < 0:
        raise InvalidData(f"y_train: expected labels from 0. Received: {present[0]}")
    if len(present) < 2:
        raise InvalidData(f"y_train: expected at least two classes. Received: only label {present[0]}")
    if present[-1] != len(present) - 1:
        missing = np.flatnonzero(present != np.arange(len(present)))[0]
        raise InvalidData(
            f"y_train: expected every label from 0 to the largest, {present[-1]}; renumber them with "
            f"np.unique(y_train, return_inverse=True)[1]. Received: no image with label {missing}"
        )
    if counts.min() < 2:
        raise InvalidData(
            f"y_train: expected at least two images of each class, one to train on and one to hold out. "
            f"Received: one image with label {counts.argmin()}"
        )
    return len(present)


def _check_test_labels(labels: np.ndarray, classes: int) -> None:
    for label in (labels.min(), labels.max()):
        if not 0 <= label < classes:
            raise InvalidData(f"y_test: expected labels of the training images, 0 to {classes - 1}. Received: {label}")
