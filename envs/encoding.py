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
        self._space, self._tokens = space, _Tokens(space)

    def __call__(self, architecture: PlainCNN) -> np.ndarray:
        """One token a layer, zero-padded: int32 `[max_layers, 3]`."""
        tokens = np.zeros((self._space.max_layers, len(FIELDS)), np.int32)
        tokens[: len(architecture.layers)] = [self._tokens[layer] for layer in architecture.layers]
        return tokens


class _Tokens(dict[Layer, tuple[int, int, int]]):
    """Each layer's token: networks of a space share a few dozen layers, and every step encodes all of a network's."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self._space = space

    def __missing__(self, layer: Layer) -> tuple[int, int, int]:
        self[layer] = token = _fields(layer, self._space)
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
