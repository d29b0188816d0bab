"""Net2Deeper on a layer graph: EAS paper, section "Net2Deeper Operation"."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from eas_tf.errors import IllegalTransformation, InvalidConfiguration, UnsupportedLayer
from eas_tf.surgery.channel_map import SymmetryBreaking, check_symmetry_breaking
from eas_tf.surgery.graph import LayerGraph
from eas_tf.surgery.node import Moments, Node, giver, node_of
from eas_tf.surgery.rules import Maker, rule_of
from eas_tf.surgery.rules.rule import channel_count

#: Standard deviation of the noise on an identity kernel, relative to that of the kernel (the paper's code).
NOISE = 1e-3


def deepen_graph(
    graph: LayerGraph,
    after: str,
    chain: Sequence[Node],
    *,
    rng: np.random.Generator,
    symmetry_breaking: SymmetryBreaking = "shares",
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
    check_symmetry_breaking(symmetry_breaking)
    moments = graph[after].moments
    if moments is None and any(node.layer == "BatchNormalization" for node in chain):
        raise IllegalTransformation(f"Deepening after {after!r} needs the moments of its output: measure them first.")
    noise = rng if symmetry_breaking == "noise" else None
    return graph.inserted(after, [replace(_identity(node, moments, noise), moments=moments) for node in chain])


def _identity(node: Node, moments: Moments | None, noise: np.random.Generator | None) -> Node:
    match node.layer, moments:
        case ("Conv1D" | "Conv2D" | "Conv3D" | "Dense", _):
            kernel = _identity_kernel(node.weights[0], noise, causal=node.config.get("padding") == "causal")
            return replace(node, weights=(kernel, *map(np.zeros_like, node.weights[1:])))
        case "BatchNormalization", Moments():
            return identity_norm(node, moments)
        case "ReLU", _:
            return node
    raise UnsupportedLayer(f"A {node.layer} layer cannot be inserted as an identity.")


def identity_norm(node: Node, moments: Moments) -> Node:
    """A batch norm that undoes itself on values of these moments, in training mode too."""
    precision = node.weights[0].dtype
    mean, variance = moments.mean.astype(precision), moments.variance.astype(precision)
    gamma = np.sqrt(variance + precision.type(node.config["epsilon"]))
    return replace(node, weights=(gamma, mean, mean, variance))


def _identity_kernel(like: np.ndarray, noise: np.random.Generator | None, *, causal: bool) -> np.ndarray:
    """A kernel `[..., channels, channels]` whose tap at its own position is the identity, and whose others are zero."""
    kernel = np.zeros_like(like)
    centre = tuple(size - 1 if causal else size // 2 for size in like.shape[:-2])
    kernel[centre] = np.eye(like.shape[-1], dtype=like.dtype)
    if noise is not None:
        kernel += noise.normal(0, NOISE * kernel.std(), like.shape).astype(like.dtype)
    return kernel


def deepenable_graph(graph: LayerGraph) -> list[str]:
    """The nodes after which a layer with a ReLU can be the identity: their values are never negative."""
    signs: dict[str, bool] = {}
    for node in graph.nodes:
        incoming = [signs.get(edge, False) for edge in graph.data(node)]
        signs[node.name] = node.frame is None and rule_of(node).non_negative(node, incoming)
    return [node.name for node in graph.nodes if signs[node.name] and why_no_room(graph, node) is None]


def why_no_room(graph: LayerGraph, node: Node) -> str | None:
    """Why no layer fits behind a node, whatever its values are; None if one does."""
    if node.frame or node.layer == "InputLayer":
        return "it is no layer with values of its own; name a layer"
    if node.further_shapes:
        return "it has several outputs"
    if node.name in graph.outputs and graph.frame and graph.frame.compiled:
        return "it is an output of a compiled model, which knows it by its name; compile the model afterwards"
    if "float" not in node.dtype:
        return f"its values are of type {node.dtype}, no floating-point numbers"
    if norm_rounds_mask(graph, node):
        return "a mask tells its zeros from other values, and the batch norm of a new layer would round them"
    if not 1 <= len(node.shape) <= 4 or node.shape[-1] is None:
        return f"an output of shape {node.shape} has no rank or number of channels that a layer is for"
    if any(each.config.get("data_format") == "channels_first" for each in graph.nodes):
        return "the model has layers with channels first; surgery needs them last"
    return None


def norm_rounds_mask(graph: LayerGraph, node: Node) -> bool:
    """Whether a new layer would have batch norm, and values behind it are compared with a number to make a mask."""
    if batch_norm_above(graph, node.name) is None:
        return False
    reached = {node.name}
    for each in graph.nodes:
        if reached.intersection(map(giver, each.inputs)):
            if each.layer in ("NotEqual", "Masking"):
                return True
            if not isinstance(rule_of(each), Maker):
                reached.add(each.name)
    return False


def batch_norm_above(graph: LayerGraph, name: str) -> Node | None:
    """The batch norm between a node and the nearest layer above it that makes channels, if there is one."""
    return next((node for node in _above(graph, name) if node.kind is keras.layers.BatchNormalization), None)


def _above(graph: LayerGraph, name: str) -> list[Node]:
    """The node and those above it, nearest first, up to the makers of its channels, those included."""
    found: list[Node] = []
    pending = [name]
    while pending:
        node = graph[giver(pending.pop(0))]
        if node not in found:
            found.append(node)
            if not isinstance(rule_of(node), Maker):
                pending.extend(graph.data(node))
    return found


def identity_chain(graph: LayerGraph, after: str, kernel_size: int) -> list[Node]:
    """Layers of the right shapes to go after a node: convolution or dense, batch norm if there is one above, ReLU.

    Dense after vectors, where a dense layer or an embedding made the channels, and where a mask says which positions
    count, because convolutions know no masks; a causal convolution after one.

    Args:
        graph: The network.
        after: One of its nodes.
        kernel_size: Of the convolution, odd, in each direction; it does not matter after a vector.

    Raises:
        InvalidConfiguration: If the kernel size is not odd.
    """
    if (
        not isinstance(kernel_size, int | np.integer)
        or isinstance(kernel_size, bool)
        or kernel_size < 1
        or kernel_size % 2 == 0
    ):
        raise InvalidConfiguration(
            f"The kernel of an identity has a centre, so kernel_size is an odd number. Received: {kernel_size!r}"
        )
    node, norm = graph[after], batch_norm_above(graph, after)
    space, channels = node.shape[:-1], channel_count(node)
    above = next((each for each in _above(graph, after) if isinstance(rule_of(each), Maker)), node)
    dtype = node.config.get("dtype", above.config.get("dtype", node.dtype))
    options: dict[str, Any] = {"use_bias": norm is None, "dtype": dtype}
    stem = f"{after.rpartition('/')[2]}_deeper"
    if above.layer in ("Dense", "Embedding") or node.masked:
        space = ()  # what looks at one position only goes on doing so; a convolution would drop the mask
    if space:
        convolution = getattr(keras.layers, f"Conv{len(space)}D")
        causal = above.config.get("padding") == "causal"
        options |= {"padding": "causal" if causal else "same", "data_format": "channels_last"}
        main = convolution(channels, int(kernel_size), name=stem, **options)
    else:
        main = keras.layers.Dense(channels, name=stem, **options)
    kernel = (*[int(kernel_size)] * len(space), channels, channels)
    precision = np.float64 if main.variable_dtype == "float64" else np.float32  # Keras casts to anything smaller.
    bias = () if norm else (np.zeros(channels, precision),)
    chain = [replace(_unlinked(main, node), weights=(np.broadcast_to(precision(0), kernel), *bias))]
    if norm:
        chain.append(_norm_like(norm, node, f"{stem}_bn", precision))
    chain.append(_unlinked(keras.layers.ReLU(name=f"{stem}_relu", dtype=dtype), node))
    return chain


def _norm_like(norm: Node, before: Node, name: str, precision: type[np.floating[Any]]) -> Node:
    """A batch norm of the same epsilon and momentum for the output of another node, with weights that do not matter.

    It has no constraints, which would change after a training step what has to undo itself, and no regularisers, which
    would add to the loss.
    """
    config: dict[str, Any] = {"axis": -1, "trainable": True, "center": True, "scale": True}
    config |= {f"{each}_{kind}": None for each in ("gamma", "beta") for kind in ("constraint", "regularizer")}
    fresh = replace(_unlinked(keras.layers.BatchNormalization(name=name), before), config=norm.config)
    return fresh.changed(config=config, weights=(np.zeros(channel_count(before), precision),) * 4)


def _unlinked(layer: keras.layers.Layer, before: Node) -> Node:
    """The node of a layer that keeps the shape of what comes before it."""
    return replace(node_of(layer, (), before.shape), dtype=before.dtype, masked=before.masked)
