"""Per-channel mean and variance of every layer's output, measured once on a parent and inherited by its children."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from eas_tf.surgery.batch import Batch
from eas_tf.surgery.graph import LayerGraph
from eas_tf.surgery.node import Moments
from eas_tf.surgery.rules import Maker, rule_of


def measure_moments(
    graph: LayerGraph, data: Any, *, names: Sequence[str] | None = None, batch: int = 128
) -> LayerGraph:
    """The graph with the moments of its nodes, in inference mode.

    Batch norm of layers inserted later is set from them (EAS paper's code: 64 training images).

    Args:
        graph: A trained network.
        data: Training inputs in any form that `fit` takes them in, see `Batch`; never validation images.
        names: Nodes of which to measure; all by default.
        batch: Inputs in one call.

    Raises:
        InvalidData: If the data are no inputs of the network.
    """
    if names is None:
        names = [node.name for node in graph.nodes if node.layer != "InputLayer" and node.frame is None]
    model = graph.until(*names).to_keras()
    sums: list[Any] = [0.0] * len(names)
    squares: list[Any] = [0.0] * len(names)
    counts = [0] * len(names)
    inputs = Batch(graph, data)
    for start in range(0, len(inputs), batch):
        given = model(inputs.part(start, start + batch), training=False)
        for i, output in enumerate(keras.tree.flatten(given)):
            values = keras.ops.convert_to_numpy(output).astype(np.float64)
            values = values.reshape(-1, values.shape[-1])
            sums[i] += values.sum(0)
            squares[i] += np.square(values).sum(0)
            counts[i] += len(values)
    moments = {}
    for name, total, square, n in zip(names, sums, squares, counts, strict=True):
        mean = total / n
        moments[name] = Moments(mean, np.maximum(square / n - mean**2, 0))
    return graph.replaced({name: replace(graph[name], moments=moments[name]) for name in names})


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


def deepening_moments(graph: LayerGraph) -> list[str]:
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
