"""Per-channel mean and variance of every layer's output, measured once on a parent and inherited by its children."""

from dataclasses import replace

import keras
import numpy as np

from eas_tf.surgery.graph import LayerGraph, Moments


def measure_moments(graph: LayerGraph, images: np.ndarray, *, batch: int = 128) -> LayerGraph:
    """The graph with the moments of all its nodes, in inference mode.

    Batch norm of layers inserted later is set from them (EAS paper's code: 64 training images).

    Args:
        graph: A trained network.
        images: Training images `[n, height, width, channels]`; never validation images.
        batch: Images in one call.
    """
    names = [node.name for node in graph.nodes if node.layer != "InputLayer"]
    model = replace(graph, outputs=tuple(names)).to_keras()
    sums, squares = [np.zeros(1)] * len(names), [np.zeros(1)] * len(names)
    count = [0] * len(names)
    for start in range(0, len(images), batch):
        outputs = model(images[start : start + batch].astype(np.float32), training=False)
        for i, output in enumerate(outputs):
            values = keras.ops.convert_to_numpy(output).astype(np.float64)
            values = values.reshape(-1, values.shape[-1])
            sums[i], squares[i], count[i] = (
                sums[i] + values.sum(0),
                squares[i] + (values**2).sum(0),
                count[i] + len(values),
            )
    means = [total / n for total, n in zip(sums, count, strict=True)]
    variances = [np.maximum(square / n - mean**2, 0) for square, n, mean in zip(squares, count, means, strict=True)]
    moments = {name: Moments(*pair) for name, *pair in zip(names, means, variances, strict=True)}
    return graph.replaced({name: replace(graph[name], moments=moments[name]) for name in names})
