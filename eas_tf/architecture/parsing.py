"""Layer strings of every kind of network."""

import re
from collections.abc import Callable, Sequence

from eas_tf.architecture.architecture import Architecture
from eas_tf.architecture.densenet import KINDS, DenseNet
from eas_tf.architecture.notation import BLANKS
from eas_tf.architecture.plain import PlainCNN
from eas_tf.errors import InvalidArchitecture
from eas_tf.text import printable

#: What reads a string, by the header before its colon.
_READERS: dict[str, Callable[[str, Sequence[int]], Architecture]] = dict.fromkeys(KINDS, DenseNet.parse)

_HEADER = re.compile(rf"[{BLANKS}]*([^():,]*?)[{BLANKS}]*:")


def parse_architecture(text: str, input_shape: Sequence[int] = (32, 32, 3)) -> Architecture:
    """Read a layer string: a plain network's, or that of the kind that its header names, such as `DenseNet-BC: …`.

    Args:
        text: The layer string.
        input_shape: Height, width and channels of the images.

    Raises:
        InvalidArchitecture: Naming the position in `text` and what was expected there.
    """
    header = _HEADER.match(text)
    if header is None:
        return PlainCNN.parse(text, input_shape)
    if header[1] not in _READERS:
        raise InvalidArchitecture(
            f"A layer string begins with its first layer, or with one of the headers {', '.join(_READERS)}. "
            f"Received: {printable(header[1], 40)!r}"
        )
    return _READERS[header[1]](text, input_shape)
