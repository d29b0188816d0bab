"""From architectures to layer graphs, and transformations carried out on trained weights, whatever kind they are of."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import zip_longest
from math import prod
from typing import Any, Protocol

import numpy as np

from eas_tf.architecture import Architecture, DenseNet, Move, PlainCNN
from eas_tf.errors import IllegalTransformation, InvalidConfiguration
from eas_tf.surgery import densenet, plain
from eas_tf.surgery.channel_map import SymmetryBreaking, check_symmetry_breaking
from eas_tf.surgery.graph import LayerGraph


class _Kind(Protocol):
    """What the module of a kind of architecture brings; `architecture` is of that kind."""

    MOVES: dict[type[Any], Any]
    """What carries out each kind of move on the graph of a network that it fits."""

    def lower(self, architecture: Any, mean: Sequence[float], std: Sequence[float]) -> LayerGraph: ...


_KINDS: dict[type, _Kind] = {PlainCNN: plain, DenseNet: densenet}


def _kind_of(architecture: Architecture) -> _Kind:
    if type(architecture) not in _KINDS:
        kinds = ", ".join(kind.__name__ for kind in _KINDS)
        raise InvalidConfiguration(f"Networks with weights are of the kinds {kinds}. Received: {architecture}")
    return _KINDS[type(architecture)]


def lower(architecture: Architecture, mean: Sequence[float] = (0.0,), std: Sequence[float] = (1.0,)) -> LayerGraph:
    """The layer graph of a network: raw images in, class probabilities out. All kernels are zero.

    Args:
        architecture: The network.
        mean: Subtracted from each image channel; one value stands for all channels.
        std: Then divided by, likewise.

    Raises:
        InvalidConfiguration: If surgery does not know this kind of architecture.
    """
    return _kind_of(architecture).lower(architecture, mean, std)


def initialise(graph: LayerGraph, *, rng: np.random.Generator) -> LayerGraph:
    """The graph with random kernels, normal with variance 2 / inputs (He et al. 2015), as in the paper's code."""

    def drawn(kernel: np.ndarray) -> np.ndarray:
        return rng.normal(0, np.sqrt(2 / prod(kernel.shape[:-1])), kernel.shape).astype(np.float32)

    kernels = [node for node in graph.nodes if node.layer in ("Conv2D", "Dense")]
    return graph.replaced(
        {node.name: replace(node, weights=(drawn(node.weights[0]), *node.weights[1:])) for node in kernels}
    )


def transform(
    parent: LayerGraph,
    architecture: Architecture,
    transformations: Iterable[Move],
    *,
    rng: np.random.Generator,
    symmetry_breaking: SymmetryBreaking = "shares",
) -> LayerGraph:
    """Carry out transformations on a trained network, in order; a layer inserted by one may be widened by the next.

    Args:
        parent: A graph of the structure `lower(architecture)`, with moments. It is not changed.
        architecture: The parent's.
        transformations: What to do.
        rng: Draws replicas, shares and noise.
        symmetry_breaking: How replicas are made to differ.

    Returns:
        A graph of the structure `lower(child)`, and with its layer names.

    Raises:
        IllegalTransformation: If a transformation does not fit the architecture.
        InvalidConfiguration: If there is no such way of breaking symmetry, or no such kind of architecture, or the
            graph is another network's.
    """
    check_symmetry_breaking(symmetry_breaking)
    kind, graph = _kind_of(architecture), with_parts(parent, architecture)
    for move in transformations:
        child = move.apply(architecture)
        if type(move) not in kind.MOVES:
            raise IllegalTransformation(f"Surgery has no way to carry out {move} on {architecture}.")
        graph = kind.MOVES[type(move)](graph, architecture, move, rng=rng, symmetry_breaking=symmetry_breaking)
        architecture = child
    names = {node.part: node.name for node in lower(architecture).nodes}
    return graph.renamed([names[node.part] for node in graph.nodes])


def with_parts(graph: LayerGraph, architecture: Architecture) -> LayerGraph:
    """The graph with the architecture's parts, which no Keras file holds.

    Raises:
        InvalidConfiguration: If it has other layers or shapes, or surgery does not know this kind of architecture.
    """
    lowered = lower(architecture)
    expected, received = ([(node.layer, node.shape) for node in each.nodes] for each in (lowered, graph))
    for place, (wanted, got) in enumerate(zip_longest(expected, received)):
        if wanted != got:
            raise InvalidConfiguration(
                f"The graph is another network than {architecture}. Expected layer {place}: {wanted}. Received: {got}"
            )
    pairs = zip(graph.nodes, lowered.nodes, strict=True)
    return graph.replaced({node.name: replace(node, part=same.part) for node, same in pairs})
