"""Architectures as integer tokens, for observations."""

import numpy as np

from eas_tf.architecture import Conv, Dense, Layer, PlainCNN, Pool, SearchSpace, Softmax

#: A token's fields: the kind of layer (0 is padding), the rungs that its width has reached, and its kernel.
KINDS = ("padding", "convolution", "maximum pool", "average pool", "fully connected", "softmax")
FIELDS = ("kind", "rung", "kernel")


def token_limits(space: SearchSpace) -> np.ndarray:
    """The largest value of each field, int32 `[3]`."""
    return np.array([len(KINDS) - 1, max(len(space.filters), len(space.units)), len(space.kernels)], np.int32)


class Encoder:
    """Turns networks of one space into tokens."""

    def __init__(self, space: SearchSpace) -> None:
        self._tokens, self._length = _Tokens(space), 4 * len(FIELDS) * space.max_layers

    def __call__(self, architecture: PlainCNN) -> np.ndarray:
        """One token a layer, zero-padded: int32 `[max_layers, 3]`."""
        # By way of bytes this takes a quarter of the time that assigning the tuples would.
        layers = b"".join([self._tokens[layer] for layer in architecture.layers])
        tokens = np.frombuffer(bytearray(layers.ljust(self._length, b"\0")), np.int32)
        return tokens.reshape(-1, len(FIELDS))


class _Tokens(dict[Layer, bytes]):
    """Each layer's token as int32 bytes.

    Networks of a space share a few dozen layers, and every step encodes all of a network's.
    """

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self._space = space

    def __missing__(self, layer: Layer) -> bytes:
        self[layer] = token = np.array(_fields(layer, self._space), np.int32).tobytes()
        return token


def _fields(layer: Layer, space: SearchSpace) -> tuple[int, int, int]:
    match layer:
        case Conv(kernel=kernel):
            return 1, space.rung(layer), space.kernels.index(kernel) + 1
        case Pool(kind=kind):
            return (2 if kind == "MAX" else 3), 0, 0
        case Dense():
            return 4, space.rung(layer), 0
        case Softmax():
            return 5, 0, 0
