"""Labelled images in memory: the validation split, what normalises them, and their fingerprint. NumPy only."""

import os
from dataclasses import dataclass, field, fields
from functools import cached_property
from hashlib import sha256
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from eas_tf.data.groups import choose_groups, group_names
from eas_tf.errors import InvalidConfiguration, InvalidData
from eas_tf.paths import expanded

#: Pixels from 0 to 255, `[n, height, width, channels]`.
Images: TypeAlias = npt.NDArray[np.uint8]
#: Class numbers from 0, `[n]`.
Labels: TypeAlias = npt.NDArray[np.int32]

#: A set with fewer training images than this holds out a quarter of them: a tenth would measure too coarsely.
SMALL_SET = 4_000

#: Pixels that are counted at once, so that counting needs some megabytes at any size of the set.
_PIXELS_AT_ONCE = 1 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageData:
    """A data set, split and ready to train on. The arrays are read-only.

    Attributes:
        name: A known name, or the file's name. It says nothing about the content: `fingerprint` does.
        x_train: Training images, uint8 `[n, height, width, channels]`, without the validation images.
        y_train: Their classes, int32 `[n]`.
        x_val: Validation images: the set's own, or held out of its training images. What a search optimises.
        y_val: Their classes.
        x_test: The set's own test images, for the final report only; None if it has none.
        y_test: Their classes.
        classes: The number of classes.
        validation: "own" if the set has validation images of its own; else they were held out: "random", or "groups"
            for whole groups of images.
        validation_indices: Where the validation images were among the set's own training images, int64, ascending; if
            they are the set's own, they are counted on after those.
        crop_and_flip: Whether the field trains on this set with random crops and horizontal flips.
        mean: What to subtract per channel, in pixel units (0 to 255): float32, from the training images only.
        std: What to divide by afterwards, in pixel units; never zero.
        class_names: What class 0, 1, 2 ... is called, if the set has names for them, such as labels that are words.
            Networks do not depend on it, nor does `fingerprint`.
        factor: What the values of a user's file were multiplied by to be pixels: 255 if they were from 0 to 1.
        cautions: What may make an accuracy on these images misleading, a line each: see `eas_tf.data.cautions`.
    """

    name: str
    x_train: Images = field(repr=False)
    y_train: Labels = field(repr=False)
    x_val: Images = field(repr=False)
    y_val: Labels = field(repr=False)
    x_test: Images | None = field(repr=False, default=None)
    y_test: Labels | None = field(repr=False, default=None)
    classes: int
    validation: Literal["random", "groups", "own"] = "random"
    validation_indices: npt.NDArray[np.int64] = field(repr=False)
    crop_and_flip: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...] = ()
    factor: int = 1
    cautions: tuple[str, ...] = field(repr=False, default=())

    @classmethod
    def from_arrays(
        cls,
        name: str,
        arrays: dict[str, np.ndarray],
        *,
        classes: int,
        validation_seed: int = 0,
        crop_and_flip: bool = False,
        standardise: bool = True,
    ) -> Self:
        """Hold out the validation images and measure the rest.

        Args:
            name: What to call the set.
            arrays: `x_train` (uint8 `[n, height, width, channels]`) and `y_train` (integers `[n]`), and
                `x_test` and `y_test` if there are test images; either `x_val` and `y_val`, or what groups the training
                images belong to, `groups_train` (`[n]`), or neither.
            classes: The number of classes.
            validation_seed: Which images are held out if there is no `x_val`; the test images have no part in it.
            crop_and_flip: See the class.
            standardise: True for the training images' mean and standard deviation; False for 0 and 255, the
                "divide by 255" that the EAS paper uses for SVHN (section 5).

        Raises:
            InvalidData: If there are too few images or groups to hold any out.
            InvalidConfiguration: If the seed is negative.
        """
        x, y = arrays["x_train"], arrays["y_train"]
        if own := "x_val" in arrays:
            x_val, y_val, held_out = arrays["x_val"], arrays["y_val"], np.arange(len(y), len(y) + len(arrays["y_val"]))
        else:
            held_out = choose_validation(y, groups=arrays.get("groups_train"), seed=validation_seed)
            x_val, y_val = x[held_out], y[held_out]
            x, y = np.delete(x, held_out, axis=0), np.delete(y, held_out)
        x_train = _locked(x, np.uint8)
        mean, std = _moments(x_train) if standardise else ((0.0,) * x.shape[3], (255.0,) * x.shape[3])
        return cls(
            name=name,
            x_train=x_train,
            y_train=_locked(y, np.int32),
            x_val=_locked(x_val, np.uint8),
            y_val=_locked(y_val, np.int32),
            x_test=_locked(arrays["x_test"], np.uint8) if "x_test" in arrays else None,
            y_test=_locked(arrays["y_test"], np.int32) if "y_test" in arrays else None,
            classes=classes,
            validation="own" if own else "groups" if "groups_train" in arrays else "random",
            validation_indices=_locked(held_out, np.int64),
            crop_and_flip=crop_and_flip,
            mean=mean,
            std=std,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all but the test images to an `.npz` file, for other processes."""
        values = {each.name: getattr(self, each.name) for each in fields(self) if not each.name.endswith("_test")}
        np.savez(expanded(path), **values)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """What `save` has written."""
        with np.load(expanded(path), allow_pickle=False) as file:
            values: dict[str, Any] = {name: file[name] for name in file.files}
        for name, value in values.items():
            values[name] = _locked(value, value.dtype.type) if value.ndim else value.item()
        texts = ("mean", "std", "class_names", "cautions")
        return cls(**values | {name: tuple(values[name].tolist()) for name in texts})

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one image."""
        height, width, channels = self.x_train.shape[1:]
        return height, width, channels

    @property
    def note(self) -> str:
        """What is to be known of the images before a network is used; empty if they are as in the user's file."""
        if self.factor == 1:
            return ""
        return f"{self.name} holds values from 0 to 1, but the networks take pixels from 0 to 255: give them x * 255"

    def class_name(self, label: int) -> str:
        """What to call a class in a message: its name if it has one, else its number."""
        return f"class {self.class_names[label]!r}" if self.class_names else f"class {label}"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, over all that a training run sees: both parts, their order, the normalisation.

        The test images are left out, because nothing that a search finds may depend on them.
        """
        digest = sha256(f"classes {self.classes}\n".encode())
        for name in ("x_train", "y_train", "x_val", "y_val"):
            array = getattr(self, name)
            digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).data)
        digest.update(f"mean {self.mean} std {self.std}\n".encode())
        return digest.hexdigest()


def choose_validation(
    labels: npt.NDArray[np.integer], *, groups: npt.NDArray[np.generic] | None = None, seed: int = 0
) -> npt.NDArray[np.int64]:
    """Draw the images to hold out: a tenth, or a quarter of a set with fewer than 4,000 images.

    Each class gives its share to within one image, and keeps at least one of its images if it has two. With groups,
    whole groups are drawn, of about as many images: see `choose_groups`.

    Args:
        labels: The class of each training image, `[n]`.
        groups: What each image belongs to, `[n]`, such as a patient.
        seed: Which images are drawn.

    Returns:
        Indices into `labels`, ascending.

    Raises:
        InvalidData: If there are too few images or groups to hold any out.
        InvalidConfiguration: If the seed is negative.
    """
    if seed < 0:
        raise InvalidConfiguration(f"The seed of the validation split must be 0 or more. Received: {seed}")
    count = len(labels)
    size = count // (4 if count < SMALL_SET else 10)
    if size == 0:
        raise InvalidData(f"Holding out validation images needs at least 4 training images. Received: {count}")
    rng = np.random.default_rng(seed)
    if groups is not None:
        return choose_groups(labels, group_names(groups), size=size, rng=rng)
    order = rng.permutation(count)
    by_class = order[np.argsort(labels[order], kind="stable")]
    # Evenly spaced places in a list sorted by class are a stratified sample, and of exactly this size.
    return np.sort(by_class[np.arange(size) * count // size])


def _locked(array: np.ndarray, dtype: type[np.generic]) -> np.ndarray:
    # Read-only, because a fingerprint that was taken once must stay true. A view leaves the caller's array writable.
    view = np.ascontiguousarray(array, dtype=dtype).view()
    view.flags.writeable = False
    return view


def _moments(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    # From integer counts of the 256 levels: exact, and so the same on every machine, in whatever order.
    channels = images.shape[3]
    pixels = images.reshape(-1, channels)
    counts = np.zeros((channels, 256), np.int64)
    for start in range(0, len(pixels), _PIXELS_AT_ONCE):
        part = pixels[start : start + _PIXELS_AT_ONCE]
        counts += [np.bincount(part[:, channel], minlength=256) for channel in range(channels)]
    levels = np.arange(256)
    mean = counts @ levels / len(pixels)
    std = np.sqrt((counts * (levels - mean[:, None]) ** 2).sum(axis=1) / len(pixels))
    # A constant channel says nothing; dividing it by zero would say NaN.
    std[std == 0] = 1
    return _as_float32(mean), _as_float32(std)


def _as_float32(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values.astype(np.float32))
