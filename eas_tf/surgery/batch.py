"""A batch of inputs, in whatever form a model takes it."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from eas_tf.errors import InvalidData
from eas_tf.surgery.graph import LayerGraph
from eas_tf.surgery.messages import cut, shown
from eas_tf.surgery.node import Node, filled


class Batch:
    """Inputs of a network, as Keras's `fit` takes them.

    Args:
        graph: The network.
        data: One array `[n, ...]` for each of its inputs: itself if there is one, in a list or a tuple, in a
            dictionary by the names of its inputs, or in the structure that the model was made with.

    Raises:
        InvalidData: If there are other arrays than the inputs need.
    """

    def __init__(self, graph: LayerGraph, data: Any) -> None:
        self._structure = graph.frame.inputs if graph.frame else None
        entrances = [node for node in graph.nodes if node.layer == "InputLayer" and not node.inputs]
        if graph.frame:
            entrances = [graph[name] for name in graph.frame.entrances]
        given = self._in_order(data, [node.name for node in entrances])
        shapes = [tuple(getattr(array, "shape", ())) for array in given]
        fitting = len(given) == len(entrances) and all(map(_fits, shapes, entrances))
        if not fitting or len({shape[0] for shape in shapes}) > 1 or not shapes[0][0]:
            raise _wrong(data, shapes, entrances)
        self._arrays = [np.asarray(_numpy(array)) for array in given]

    def __len__(self) -> int:
        return len(self._arrays[0])

    def part(self, start: int, stop: int) -> Any:
        """Some of the inputs, in the structure that the network's model was made with."""
        parts = [array[start:stop] for array in self._arrays]
        return filled(self._structure, parts) if self._structure is not None else parts[0]

    def _in_order(self, data: Any, names: Sequence[str]) -> list[Any]:
        """The arrays in the order of the inputs; none if a name is missing."""
        if not isinstance(data, Mapping):
            return keras.tree.flatten(data)
        structure = self._structure
        wanted = list(structure) if isinstance(structure, Mapping) else names
        if not set(wanted) <= set(data):
            return []
        named = {name: data[name] for name in wanted}
        return keras.tree.flatten(named) if isinstance(structure, Mapping) else list(named.values())


def _fits(shape: Sequence[int | None], entrance: Node) -> bool:
    """Whether Keras takes an array of this shape: a last axis of length one may be there or not."""
    expected = (None, *entrance.shape)
    candidates = [expected] + [expected[:-1]] * (len(expected) > 1 and expected[-1] == 1) + [(*expected, 1)]
    return any(
        len(shape) == len(each) and all(b in (a, None) for a, b in zip(shape, each, strict=True)) for each in candidates
    )


def _numpy(array: Any) -> Any:
    return keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(array)) if keras.ops.is_tensor(array) else array


def _wrong(data: Any, shapes: Sequence[Sequence[int | None]], entrances: Sequence[Node]) -> InvalidData:
    expected = ", ".join(f"[n, {', '.join(map(str, node.shape))}]" for node in entrances)
    names = f" by the names {', '.join(node.name for node in entrances)}" if isinstance(data, Mapping) else ""
    received = shown(list(data) if names and not shapes else shapes if any(shapes) else data)
    return InvalidData(
        f"data must be a batch of training inputs: arrays {cut(expected)}{cut(names)}, n of at least 1; of a "
        f"tf.data.Dataset take a batch, next(iter(dataset)). Received: {received}"
    )
