"""Net2Deeper on a trained network: EAS paper, section "Net2Deeper Operation"."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from eas_tf.errors import IllegalTransformation, UnsupportedLayer
from eas_tf.surgery.channel_map import SymmetryBreaking
from eas_tf.surgery.graph import LayerGraph, Moments, Node

#: Standard deviation of the noise on an identity kernel, relative to that of the kernel (the paper's code).
NOISE = 1e-3


def deepen_graph(
    graph: LayerGraph,
    after: str,
    chain: Sequence[Node],
    *,
    rng: np.random.Generator,
    symmetry_breaking: SymmetryBreaking,
) -> LayerGraph:
    """Insert a chain of layers that together are the identity on the values which leave node `after`.

    Those values must not be negative where the chain has a ReLU, and their moments must be known where it has batch
    norm: it is set to undo itself, with the moving mean and variance, beta and gamma taken from the moments. So it is
    the identity at inference, and nearly so in training mode.

    Args:
        graph: The parent. It is not changed.
        after: The node whose consumers receive the chain's output instead.
        chain: Nodes of the new layers, their weights of the right shapes with values that do not matter.
        rng: Draws the noise.
        symmetry_breaking: "shares" inserts the exact identity; "noise" perturbs its kernel as the paper's code does.

    Raises:
        IllegalTransformation: If the moments were not measured.
        UnsupportedLayer: If the chain has a layer that cannot be made the identity.
    """
    moments = graph[after].moments
    if moments is None:
        raise IllegalTransformation(f"Deepening after {after!r} needs the moments of its output: measure them first.")
    noise = rng if symmetry_breaking == "noise" else None
    return graph.inserted(after, [replace(_identity(node, moments, noise), moments=moments) for node in chain])


def _identity(node: Node, moments: Moments, noise: np.random.Generator | None) -> Node:
    match node.layer:
        case "Conv2D" | "Dense":
            return replace(node, weights=(_identity_kernel(node.weights[0].shape, noise),))
        case "BatchNormalization":
            mean, variance = moments.mean.astype(np.float32), moments.variance.astype(np.float32)
            gamma = np.sqrt(variance + np.float32(node.config["epsilon"]))
            return replace(node, weights=(gamma, mean, mean, variance))
        case "ReLU":
            return node
    raise UnsupportedLayer(f"A {node.layer} layer cannot be inserted as an identity.")


def _identity_kernel(shape: tuple[int, ...], noise: np.random.Generator | None) -> np.ndarray:
    """A kernel `[..., channels, channels]` whose central tap is the identity and whose other taps are zero."""
    kernel = np.zeros(shape, np.float32)
    centre = tuple(size // 2 for size in shape[:-2])
    kernel[centre] = np.eye(shape[-1], dtype=np.float32)
    if noise is not None:
        kernel += noise.normal(0, NOISE * kernel.std(), shape).astype(np.float32)
    return kernel
