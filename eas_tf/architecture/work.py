"""How much work a network is for a machine, beyond its arithmetic."""

from math import prod

from eas_tf.architecture.architecture import Architecture
from eas_tf.architecture.layers import Shape

#: What each value of a layer costs, in multiply-adds: batch norm, ReLU and pooling, forward and backward, wait for
#: memory. By 14 plain networks on two cores, whose times it misses by 7 percent on average, and multiply-adds alone
#: by 12.
VALUE = 150


def work(architecture: Architecture) -> int:
    """Multiply-adds, and for each value that leaves a layer what it costs beside them: about in proportion to time."""
    return architecture.multiply_adds + VALUE * sum(map(prod, architecture.shapes))


def layer_work(multiply_adds: int, shape: Shape) -> int:
    """The same for one layer, which has these and gives a map of this shape."""
    return multiply_adds + VALUE * prod(shape)
