"""Whether a network and a data set belong together."""

from collections.abc import Sequence

import numpy as np

from eas_tf.architecture import Architecture
from eas_tf.data import ImageData
from eas_tf.errors import InvalidData


def check_fits(architecture: Architecture, data: ImageData) -> None:
    """Refuse a network for other images, or with another number of classes, and images that nobody can tell apart.

    Raises:
        InvalidData: Naming both, or the likely cause.
    """
    check_sizes(architecture, data.name, data.input_shape, data.classes)
    _check_differ(f"training images of {data.name}", data.x_train, data.y_train)
    _check_differ(f"validation images of {data.name}", data.x_val, data.y_val)
    if data.x_test is not None and data.y_test is not None:
        _check_differ(f"test images of {data.name}", data.x_test, data.y_test)


def check_sizes(architecture: Architecture, name: str, input_shape: Sequence[int], classes: int) -> None:
    """Refuse a network for images of another size, or with another number of classes.

    Raises:
        InvalidData: Naming both.
    """
    expected, received = (architecture.input_shape, architecture.classes), (tuple(input_shape), classes)
    if expected != received:
        raise InvalidData(
            f"The network is for images of {expected[0]} in {expected[1]} classes, but {name} has images of "
            f"{received[0]} in {received[1]} classes. Give another `start` or another `dataset`."
        )


def fitting_batch(default: int, images: int) -> tuple[int, str]:
    """The batch that stands for a default one which may exceed the training images, and what to say of it, or "".

    It is halved, so that several devices can still share it equally.
    """
    batch = default
    while batch > max(1, images):
        batch //= 2
    return batch, "" if batch == default else f"{batch}, because {default} is more than the {images} training images."


def _check_differ(which: str, images: np.ndarray, labels: np.ndarray) -> None:
    """Refuse images of several classes that are all the same image."""
    if len(np.unique(labels)) < 2 or not all(np.array_equal(image, images[0]) for image in images[1:]):
        return
    value = images[0].flat[0]
    received, likely = "the same image each time", "one array may have been written for each of them"
    if (images[0] == value).all():
        received = f"{value} in every pixel"
        likely = (
            "they may have been from 0 to 1 when they were cast; save np.round(x * 255).astype(np.uint8) of the images "
            "before the cast"
        )
    raise InvalidData(f"The {which} are all equal, and no network tells them apart: {likely}. Received: {received}")
