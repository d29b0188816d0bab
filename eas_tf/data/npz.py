"""A user's own `.npz`: everything that can be wrong with it is said in one line, before any of it is trained on."""

import math
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TypeAlias
from zipfile import ZipFile, ZipInfo

import numpy as np

from eas_tf.archives import bomb
from eas_tf.data.cautions import cautions
from eas_tf.data.groups import NoGroups
from eas_tf.data.images import ImageData
from eas_tf.data.labels import classes
from eas_tf.data.mending import program
from eas_tf.data.names import KEYS, PARTS, in_own_names, own_names
from eas_tf.data.pixels import pixels
from eas_tf.errors import InvalidData
from eas_tf.machine import free_memory
from eas_tf.text import printable

#: A file that unpacks to more is refused unread: images are kept in memory.
MAX_BYTES = 8 << 30
#: Characters of a message; what a file says of itself may be long.
_LINE = 2_000
#: The fewest training images: with fewer, the quarter that is held out tells nothing.
MIN_IMAGES = 20
#: Of images whose second axis is the shortest: rows that are fewer, or channels that are more, are no such thing.
_FEW_ROWS, _MANY_CHANNELS = 4, 16

_IMAGES = "images [n, height, width, channels] or [n, height, width], uint8 or numbers that stand for it"


@dataclass(frozen=True, kw_only=True)
class _Header:
    """What an array says about itself, before its data are read."""

    shape: tuple[int, ...]
    dtype: np.dtype


_Headers: TypeAlias = dict[str, _Header]


def load_npz(path: Path, *, name: str | None = None, validation_seed: int = 0) -> ImageData:
    """Read, check and split a user's own data set.

    Args:
        path: A file written by `np.savez` or `np.savez_compressed`, with `x_train`
            (`[n, height, width, channels]` or `[n, height, width]`; uint8, or values from 0 to 255 or from 0 to 1) and
            `y_train` (words, or whole numbers from 0 and without gaps, `[n]` or `[n, 1]`), and optionally `x_val` and
            `y_val`, `x_test` and `y_test`, and what groups images belong to, `groups_train`, `groups_val` and
            `groups_test` (numbers or words, `[n]` or `[n, 1]`). `val_images` for `x_val`, and the like, are taken, too.
        name: What to call the set; the file's name by default.
        validation_seed: Which training images are held out if there are no `x_val`: whole groups, if there are groups.

    Raises:
        InvalidData: If the file is missing, damaged or not what is described above, in one line.
    """
    arrays, own = _read(path)
    try:
        arrays, names = classes(arrays)
        arrays, factor = pixels(arrays)
        images = ImageData.from_arrays(
            name or path.name,
            {key: array[..., None] if array.ndim == 3 else array for key, array in arrays.items()},
            classes=int(arrays["y_train"].max()) + 1,
            validation_seed=validation_seed,
        )
    except NoGroups as error:
        left = program([key for key in arrays if not key.startswith("groups_")])
        text = f"groups_train: {error}; save x_val and y_val, or to do without groups, run {left}"
        raise _of(path, f"{text}. Received: {len(np.unique(arrays['groups_train'])):,} groups", own) from None
    except InvalidData as error:
        raise _of(path, error, own) from None
    images = replace(images, class_names=names, factor=factor)
    return replace(images, cautions=tuple(cautions(images, arrays)))


def _of(path: Path, error: InvalidData | str, own: Mapping[str, str]) -> InvalidData:
    return InvalidData(f"{printable(path)}: {printable(in_own_names(str(error), own), _LINE)}")


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays by our names, and for each of these the file's own."""
    own: dict[str, str] = {}
    try:
        # A pipe that nobody writes to would be waited for without an end.
        if path.exists() and not path.is_file():
            raise OSError("a folder, a pipe or a device")
        # Of a strange header NumPy, or the parser of Python that it uses, would warn in lines of their own.
        with warnings.catch_warnings(action="ignore"), ZipFile(path) as archive:
            members, own = _members(archive)
            if reason := bomb(archive, path):
                raise InvalidData(
                    f"Expected no zip bomb; if your arrays are like that, use np.savez. Received: {reason}"
                )
            _check_headers({name: _read_header(archive, name, members) for name in members})
            return {name: _read_array(archive, member) for name, member in members.items()}, own
    except FileNotFoundError:
        raise InvalidData(f"There is no file {printable(path)}. Expected an .npz file with {KEYS}.") from None
    except InvalidData as error:
        raise _of(path, error, own) from None
    except Exception as error:
        # A damaged file may fail anywhere in zipfile, zlib, lzma, tokenize or NumPy, with an exception of theirs.
        reason = printable(" ".join(str(error).split())) or type(error).__name__
        raise InvalidData(
            f"{printable(path)} cannot be read. Expected a file written by np.savez or np.savez_compressed; write it "
            f"again. Received: {reason}"
        ) from error


def _members(archive: ZipFile) -> tuple[dict[str, ZipInfo], dict[str, str]]:
    size = sum(member.file_size for member in archive.infolist())
    if size > MAX_BYTES:
        raise InvalidData(f"Expected arrays of at most {MAX_BYTES >> 30} GiB in all. Received: {size / 2**30:,.1f} GiB")
    free = free_memory()
    if size > free:
        raise InvalidData(
            f"Expected arrays that fit in memory, of which {free / 2**30:,.1f} GiB are free. "
            f"Received: {size / 2**30:,.1f} GiB"
        )
    members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
    own = own_names([member.filename.removesuffix(".npy") for member in archive.infolist()])
    return {ours: members[name] for ours, name in own.items()}, own


def _read_header(archive: ZipFile, name: str, members: Mapping[str, ZipInfo]) -> _Header:
    member = members[name]
    with archive.open(member) as stream:
        header = _parse_header(stream)
        if header.dtype.hasobject:
            raise InvalidData(
                f"{name} holds pickled Python objects, which are never loaded. Expected an array of one type; "
                f"{_of_objects(name, members)}. Received: dtype object"
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


def _of_objects(name: str, names: Collection[str]) -> str:
    if name.startswith("x_"):
        return "bring the images to one size, and save np.stack of them"
    texts = {each: f"{each}.astype(str)" for each in names if each[:2] == name[:2]}
    return f"with the arrays that you saved, run {program(names, **texts)}"


def _check_headers(headers: _Headers) -> None:
    parts = [part for part in PARTS if f"x_{part}" in headers]
    for part in parts:
        _check_images(f"x_{part}", headers[f"x_{part}"], headers)
        _check_labels(f"y_{part}", headers[f"y_{part}"])
        if f"groups_{part}" in headers:
            _check_groups(f"groups_{part}", headers[f"groups_{part}"])
        for name in (name for name in headers if name.rpartition("_")[2] == part):
            if headers[name].shape[0] != headers[f"x_{part}"].shape[0]:
                raise InvalidData(
                    f"Expected as many {'groups' if name[0] == 'g' else 'labels'} as images. Received: "
                    f"{headers[f'x_{part}'].shape[0]} x_{part}, {headers[name].shape[0]} {name}"
                )
    if headers["x_train"].shape[0] < MIN_IMAGES:
        raise InvalidData(f"Expected at least {MIN_IMAGES} training images. Received: {headers['x_train'].shape[0]}")
    if len({_size(headers[f"x_{part}"].shape) for part in parts}) > 1:
        sizes = ", ".join(f"{list(headers[name].shape)} {name}" for name in headers if name.startswith("x_"))
        raise InvalidData(f"Expected all images of one size, and with equal channels. Received: {sizes}")


def _check_images(name: str, header: _Header, headers: _Headers) -> None:
    received = f"Received: {header.dtype} {list(header.shape)}"
    if header.dtype.kind not in "biuf":
        raise InvalidData(f"{name}: expected {_IMAGES}. {received}")
    if len(header.shape) not in (3, 4) or 0 in header.shape:
        raise InvalidData(f"{name}: expected {_IMAGES}, none of them 0. {received}")
    if _channels_first(header.shape):
        moved = {each: f"{each}.transpose(0, 2, 3, 1)" for each in headers if _channels_first(headers[each].shape)}
        raise InvalidData(
            f"{name}: expected {_IMAGES}; channels come last, run {program(headers, **moved)}. {received}"
        )


def _size(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[1:] if len(shape) == 4 else (*shape[1:], 1)


def _channels_first(shape: tuple[int, ...]) -> bool:
    """Whether images `[n, a, b, c]` are certainly a channels of b x c pixels, and not a x b pixels with c channels."""
    few = len(shape) == 4 and shape[3] not in (1, 3) and shape[1] < min(shape[2:])
    return few and (shape[1] <= _FEW_ROWS or shape[3] > _MANY_CHANNELS)


def _check_labels(name: str, header: _Header) -> None:
    numbers, length = header.dtype.kind in "biuf", len(header.shape)
    one = length == 1 or (length == 2 and header.shape[1] == 1)
    if not (one or (length == 2 and numbers and header.shape[1] > 1)) or header.dtype.kind not in "biufUS":
        raise InvalidData(
            f"{name}: expected one label an image, words or whole numbers from 0, [n] or [n, 1]. Received: "
            f"{header.dtype} {list(header.shape)}"
        )


def _check_groups(name: str, header: _Header) -> None:
    if header.shape[1:] not in ((), (1,)) or not header.shape or header.dtype.kind not in "biufUS":
        raise InvalidData(
            f"{name}: expected the group of each image, numbers or words, [n] or [n, 1]. Received: {header.dtype} "
            f"{list(header.shape)}"
        )


def _read_array(archive: ZipFile, member: ZipInfo) -> np.ndarray:
    with archive.open(member) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)
