"""Architectures as integer tokens, for observations."""

import numpy as np

from eas_tf.architecture import AnyLayer, AnySpace, Architecture, token_of


def token_limits(space: AnySpace) -> np.ndarray:
    """The largest value of each field, int32 `[fields]`."""
    return np.array(space.token_limits, np.int32)


class Encoder:
    """Turns networks of one space into tokens."""

    def __init__(self, space: AnySpace) -> None:
        self._tokens, self._fields = _Tokens(space), len(space.token_limits)
        self._length = 4 * self._fields * space.max_layers

    def __call__(self, architecture: Architecture) -> np.ndarray:
        """One token a layer, zero-padded: int32 `[max_layers, fields]`."""
        # By way of bytes this takes a quarter of the time that assigning the tuples would.
        layers = b"".join(map(self._tokens.__getitem__, architecture.layers))
        tokens = np.frombuffer(bytearray(layers.ljust(self._length, b"\0")), np.int32)
        return tokens.reshape(-1, self._fields)


class _Tokens(dict[AnyLayer, bytes]):
    """Each layer's token as int32 bytes.

    Networks of a space share a few dozen layers, and every step encodes all of a network's.
    """

    def __init__(self, space: AnySpace) -> None:
        super().__init__()
        self._space = space

    def __missing__(self, layer: AnyLayer) -> bytes:
        self[layer] = token = np.array(token_of(self._space, layer), np.int32).tobytes()
        return token
