"""DenseNets as layer graphs, and their transformations carried out on trained weights.

A new dense layer's channels are copies of channels that are there, so that everything behind it, through all later
concatenations, takes them in with shares. Where they are copied from depends on the order within a dense layer.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from eas_tf.architecture import Conv, DenseLayer, DenseNet, Net2Deeper, Net2Wider, Shape, Softmax, Transition
from eas_tf.architecture.densenet.network import BOTTLENECK, DenseNetLayer
from eas_tf.errors import IllegalTransformation
from eas_tf.surgery.channel_map import ChannelMap, SymmetryBreaking
from eas_tf.surgery.deepen import NOISE as IDENTITY_NOISE
from eas_tf.surgery.deepen import identity_norm
from eas_tf.surgery.graph import LayerGraph
from eas_tf.surgery.moments import moments_of
from eas_tf.surgery.node import Moments, Node
from eas_tf.surgery.parts import (
    FLOAT,
    IMAGES,
    batch_norm,
    classifier,
    convolution,
    entrance,
    linked,
    normalised,
    relu,
    unlinked,
)
from eas_tf.surgery.remapping import with_channel_map
from eas_tf.surgery.rules.rule import channel_count
from eas_tf.surgery.widen import NOISE as REPLICA_NOISE
from eas_tf.surgery.widen import widen_graph


def lower(architecture: DenseNet, mean: Sequence[float], std: Sequence[float]) -> LayerGraph:
    """The layer graph of a DenseNet; see `eas_tf.surgery.lower`."""
    nodes = entrance(architecture.input_shape, mean, std)
    for chain in _chains(architecture):
        nodes += _joined(chain, nodes[-1].name)
    return LayerGraph(tuple(nodes), (nodes[-1].name,))


def _widened(
    graph: LayerGraph,
    architecture: DenseNet,
    move: Net2Wider,
    *,
    rng: np.random.Generator,
    symmetry_breaking: SymmetryBreaking,
) -> LayerGraph:
    """The graph of `architecture` with a larger growth rate in one layer, or more filters in stem or transition.

    A bottleneck is widened first, so that its layer's last convolution has as many inputs as there are filters for.
    """
    nodes = _nodes_of(graph, architecture, move.layer)
    *bottleneck, main = (node.name for node in nodes if node.layer == "Conv2D")
    widths = [*((name, BOTTLENECK * move.width) for name in bottleneck), (main, move.width)]
    for name, width in widths:
        graph = widen_graph(graph, name, width, rng=rng, symmetry_breaking=symmetry_breaking)
    return graph


def _deepened(
    graph: LayerGraph,
    architecture: DenseNet,
    move: Net2Deeper,
    *,
    rng: np.random.Generator,
    symmetry_breaking: SymmetryBreaking,
) -> LayerGraph:
    """The graph of `architecture` with one more dense layer, which adds copies of channels that are there.

    Raises:
        IllegalTransformation: If the moments that the new layer's batch norm needs were not measured.
    """
    index, child = move.index_in(architecture), move.apply(architecture)
    above, noisy = _nodes_of(graph, architecture, index - 1), symmetry_breaking == "noise"
    template = _chain(child, index, "inserted")
    new = _identity_layer if architecture.kind == "DenseNet-post" else _copied_layer
    chain, drawn = new(graph, above, template, rng=rng, noisy=noisy)
    before = above[-1]
    replicas = ChannelMap.of(np.concatenate([np.arange(channel_count(before)), drawn]), rng=rng, equal_shares=noisy)
    inserted = graph.inserted(before.name, chain)
    # Its nodes are linked one after the other there, and named so that no names are twice.
    start = inserted.nodes.index(inserted[before.name]) + 1
    put = inserted.nodes[start : start + len(chain)]
    join = put[-1]
    inserted = inserted.replaced({join.name: replace(join, inputs=(before.name, *join.inputs))})
    return with_channel_map(inserted, join.name, replicas)


def _copied_layer(
    graph: LayerGraph, above: Sequence[Node], template: Sequence[Node], *, rng: np.random.Generator, noisy: bool
) -> tuple[list[Node], np.ndarray]:
    """A layer that computes what the one above it does, and which of the channels before it its own repeat, `[new]`.

    It is the paper's code's. The copied layer's own channels, which reach the copy too, have weights of zero there, and
    are normalised by their moments. The copy's filters are drawn with replacement from the copied layer's.
    """
    main = above[-2]
    moments = _known(moments_of(graph, main.name), main)
    own, growth = len(moments.mean), channel_count(template[-2])
    drawn = rng.integers(own, size=growth)
    pairs = zip(template, above, strict=True)
    chain = [replace(node, weights=same.weights, moments=same.moments) for node, same in pairs]
    first = next(place for place, node in enumerate(chain) if node.layer == "Conv2D")
    ones, nothing = np.ones(own, np.float32), np.zeros(own, np.float32)
    fresh = ones, nothing, moments.mean.astype(np.float32), moments.variance.astype(np.float32)
    chain[0] = replace(
        chain[0],
        weights=tuple([np.concatenate(each) for each in zip(chain[0].weights, fresh, strict=True)]),
    )
    (kernel,) = chain[first].weights
    more = np.zeros((*kernel.shape[:-2], own, kernel.shape[-1]), np.float32)
    chain[first] = replace(chain[first], weights=(np.concatenate([kernel, more], -2),))
    for place in (*range(first), len(chain) - 1):  # These have more channels than what they were copied from.
        chain[place] = replace(chain[place], moments=None)
    (kernel,) = chain[-2].weights
    chain[-2] = replace(chain[-2], weights=(np.take(kernel, drawn, -1),), moments=moments[drawn])
    if noisy:
        chain[-2] = _with_noise(chain[-2], REPLICA_NOISE * float(kernel.std()), rng)
    return chain, channel_count(above[-1]) - own + drawn


def _identity_layer(
    graph: LayerGraph, above: Sequence[Node], template: Sequence[Node], *, rng: np.random.Generator, noisy: bool
) -> tuple[list[Node], np.ndarray]:
    """A layer of identity filters, each on an input channel drawn at random: EAS paper, Eq. 5.

    Exact where the values that arrive are never negative and the ReLU is behind the convolution.
    """
    main, norm, *others = template
    inputs, growth = channel_count(above[-1]), channel_count(main)
    drawn = rng.integers(inputs, size=growth)
    moments = _known(moments_of(graph, above[-1].name), above[-1])[drawn]
    kernel = np.zeros(main.weights[0].shape, np.float32)
    centre = [size // 2 for size in main.weights[0].shape[:2]]
    kernel[(*centre, drawn, np.arange(growth))] = 1
    identity = replace(main, weights=(kernel,))
    if noisy:
        identity = _with_noise(identity, IDENTITY_NOISE * float(kernel.std()), rng)
    *relus, join = others
    layer = [identity, identity_norm(norm, moments), *relus]
    return [*(replace(node, moments=moments) for node in layer), join], drawn


def _with_noise(node: Node, std: float, rng: np.random.Generator) -> Node:
    (kernel,) = node.weights
    return replace(node, weights=((kernel + rng.normal(0, std, kernel.shape)).astype(kernel.dtype),))


def _known(moments: Moments | None, node: Node) -> Moments:
    if moments is None:
        raise IllegalTransformation(
            f"Deepening after {node.name!r} needs the moments of its output: measure them first."
        )
    return moments


def _nodes_of(graph: LayerGraph, architecture: DenseNet, index: int) -> list[Node]:
    """The nodes of layer number `index`; a graph has them in the order in which `lower` makes them, under any names."""
    lengths = [_length(architecture, layer) for layer in architecture.layers]
    start = len(graph.nodes) - sum(lengths[index:])
    return list(graph.nodes[start : start + lengths[index]])


def _length(architecture: DenseNet, layer: DenseNetLayer) -> int:
    """How many nodes a layer is made of."""
    behind = architecture.kind == "DenseNet-post"
    match layer:
        case Conv():
            return 3 if behind else 1
        case DenseLayer():
            return 7 if architecture.bottleneck else 4
        case Transition():
            return 4
        case Softmax():
            return 3 if behind else 5


def _chains(architecture: DenseNet) -> list[list[Node]]:
    """The nodes of each layer, not yet linked, named `conv_1`, `dense_1_1`, …, `transition_1` and so on."""
    chains = []
    block, number = 1, 0
    for index, layer in enumerate(architecture.layers):
        number = number + 1 if isinstance(layer, DenseLayer) else 0
        names = {Conv: "conv_1", DenseLayer: f"dense_{block}_{number}", Transition: f"transition_{block}"}
        chains.append(_chain(architecture, index, names.get(type(layer), "end")))
        block += isinstance(layer, Transition)
    return chains


def _chain(architecture: DenseNet, index: int, name: str) -> list[Node]:
    """The nodes of one layer, not yet linked."""
    layer, before = architecture.layers[index], architecture.shape_before(index)
    behind = architecture.kind == "DenseNet-post"
    match layer:
        case Conv(filters=filters, kernel=kernel):
            main = convolution(name, filters, kernel, before)
            return normalised(main) if behind else [main]
        case DenseLayer(growth=growth):
            join = unlinked(keras.layers.Concatenate(name=f"{name}_joined", **FLOAT), architecture.shapes[index])
            if architecture.bottleneck:
                bottleneck = _preceded(convolution(f"{name}_bottleneck", BOTTLENECK * growth, 1, before), before)
                before = (*before[:2], BOTTLENECK * growth)
                return [*bottleneck, *_preceded(convolution(name, growth, 3, before), before), join]
            main = convolution(name, growth, 3, before)
            return [*(normalised(main) if behind else _preceded(main, before)), join]
        case Transition(filters=filters):
            main = convolution(name, filters, 1, before)
            pool = unlinked(keras.layers.AveragePooling2D(2, name=f"{name}_pool", **IMAGES), architecture.shapes[index])
            return [*(normalised(main) if behind else _preceded(main, before)), pool]
        case Softmax(classes=classes):
            norms = [] if behind else [batch_norm(f"{name}_bn", before), relu(f"{name}_relu", before)]
            average = unlinked(keras.layers.GlobalAveragePooling2D(name="average", **IMAGES), before[-1:])
            return [*norms, average, *classifier(before[-1], classes)]


def _preceded(main: Node, before: Shape) -> list[Node]:
    """Batch norm, ReLU, and a convolution."""
    return [batch_norm(f"{main.name}_bn", before), relu(f"{main.name}_relu", before), main]


def _joined(chain: Sequence[Node], before: str) -> list[Node]:
    """The nodes of one layer, linked; what reaches a dense layer comes before its own channels."""
    nodes = linked(chain, before)
    if nodes[-1].layer == "Concatenate":
        nodes[-1] = replace(nodes[-1], inputs=(before, *nodes[-1].inputs))
    return nodes


#: How each kind of move is carried out.
MOVES: dict[type[Any], Any] = {Net2Wider: _widened, Net2Deeper: _deepened}
