"""Per-channel mean and variance of every layer's output, measured once on a parent and inherited by its children."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from eas_tf.surgery.batch import Batch
from eas_tf.surgery.graph import LayerGraph
from eas_tf.surgery.node import Moments
from eas_tf.surgery.rules import Maker, rule_of

#: Inputs in one call, where memory allows.
MOMENT_BATCH = 128

#: Values of one output that are summed at once: 32 MiB in float64.
VALUES_IN_FLOAT64 = 2**22


def measure_moments(
    graph: LayerGraph, data: Any, *, names: Sequence[str] | None = None, batch: int | None = None
) -> LayerGraph:
    """The graph with the moments of its nodes, in inference mode.

    Batch norm of layers inserted later is set from them (EAS paper's code: 64 training images).

    Args:
        graph: A trained network.
        data: Training inputs in any form that `fit` takes them in, see `Batch`; never validation images.
        names: Nodes of which to measure; all by default.
        batch: Inputs in one call; by default as many as need little memory.

    Raises:
        InvalidData: If the data are no inputs of the network.
    """
    if names is None:
        names = [node.name for node in graph.nodes if node.layer != "InputLayer" and node.frame is None]
    model = graph.until(*names).to_keras()
    sums: list[Any] = [0.0] * len(names)
    squares: list[Any] = [0.0] * len(names)
    counts = [0] * len(names)
    inputs, batch = Batch(graph, data), batch or graph.batch_in_memory(MOMENT_BATCH)
    for start in range(0, len(inputs), batch):
        # No output outlives its line: the next call needs the memory.
        parts = [_sums(each) for each in keras.tree.flatten(model(inputs.part(start, start + batch), training=False))]
        for i, (total, square, count) in enumerate(parts):
            sums[i] += total
            squares[i] += square
            counts[i] += count
    moments = {}
    for name, total, square, n in zip(names, sums, squares, counts, strict=True):
        mean = total / n
        moments[name] = Moments(mean, np.maximum(square / n - mean**2, 0))
    return graph.replaced({name: replace(graph[name], moments=moments[name]) for name in names})


def _sums(output: Any) -> tuple[np.ndarray, np.ndarray, int]:
    """Of the channels of a tensor and of their squares, and how many values a channel has.

    They are sums of float64, in parts, because there may be no memory for a copy of the whole tensor.
    """
    channels, count = output.shape[-1], 0
    total = square = np.zeros((1, channels))
    inputs = max(1, VALUES_IN_FLOAT64 // math.prod(output.shape[1:]))
    for start in range(0, output.shape[0], inputs):
        part = keras.ops.convert_to_numpy(output[start : start + inputs]).reshape(-1, channels).astype(np.float64)
        count += len(part)
        # Row after row, and so to the last bit as if all were one array, at least with several channels.
        total = np.concatenate([total, part]).sum(0, keepdims=True)
        square = np.concatenate([square, np.square(part, out=part)]).sum(0, keepdims=True)
    return total[0], square[0], count


def moments_of(graph: LayerGraph, name: str) -> Moments | None:
    """The moments of a node's output; those of concatenated channels follow from the parts. None if not measured."""
    node = graph[name]
    if node.moments or node.layer != "Concatenate":
        return node.moments
    parts = [moments_of(graph, edge) for edge in graph.data(node)]
    known = [part for part in parts if part]
    if len(known) < len(parts) or node.config["axis"] not in (-1, len(node.shape)):
        return None
    return Moments(*(np.concatenate([getattr(part, each) for part in known]) for each in ("mean", "variance")))


def growth_moments(graph: LayerGraph) -> list[str]:
    """The nodes whose moments deepening may need: all but concatenations and what works on their channels.

    Concatenated channels are many, and their moments are those of the parts.
    """
    concatenated: set[str] = set()
    for node in graph.nodes:
        passes_on = not isinstance(rule_of(node), Maker)
        if node.layer == "Concatenate" or (passes_on and concatenated.intersection(graph.data(node))):
            concatenated.add(node.name)
    return [
        node.name
        for node in graph.nodes
        if node.layer != "InputLayer" and node.frame is None and node.name not in concatenated
    ]
