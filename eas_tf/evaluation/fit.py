"""Whether a network and a data set belong together."""

from eas_tf.architecture import Architecture
from eas_tf.data import ImageData
from eas_tf.errors import InvalidData


def check_fits(architecture: Architecture, data: ImageData) -> None:
    """Refuse a network for other images, or with another number of classes.

    Raises:
        InvalidData: Naming both.
    """
    expected = (architecture.input_shape, architecture.classes)
    received = (tuple(data.input_shape), data.classes)
    if expected != received:
        raise InvalidData(
            f"The network is for images of {expected[0]} in {expected[1]} classes, but {data.name} has images of "
            f"{received[0]} in {received[1]} classes. Change the start network or the data set."
        )
