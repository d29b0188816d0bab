"""DenseNets as layer graphs, and their transformations carried out on trained weights.

A new dense layer's channels are copies of channels that are there, so that everything behind it, through all later
concatenations, takes them in with shares. Where they are copied from depends on the order within a dense layer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from eas_tf.architecture import Conv, DenseLayer, DenseNet, Net2Deeper, Net2Wider, Shape, Softmax, Transition
from eas_tf.architecture.densenet.network import BOTTLENECK
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
    placed,
    relu,
    unlinked,
    with_room,
)
from eas_tf.surgery.remapping import with_channel_map
from eas_tf.surgery.rules.rule import channel_count
from eas_tf.surgery.widen import NOISE as REPLICA_NOISE
from eas_tf.surgery.widen import widen_graph


def lower(architecture: DenseNet, mean: Sequence[float], std: Sequence[float]) -> LayerGraph:
    """The layer graph of a DenseNet; see `eas_tf.surgery.lower`."""
    nodes = entrance(architecture.input_shape, mean, std)
    for index, chain in enumerate(_chains(architecture)):
        nodes += _joined(placed(chain, index), nodes[-1].name)
    return LayerGraph(tuple(nodes), (nodes[-1].name,))


def _widened(
    graph: LayerGraph,
    architecture: DenseNet,  # noqa: ARG001 - the graph says all
    move: Net2Wider,
    *,
    rng: np.random.Generator,
    symmetry_breaking: SymmetryBreaking,
) -> LayerGraph:
    """The graph of `architecture` with a larger growth rate in one layer, or more filters in stem or transition.

    A bottleneck is widened first, so that its layer's last convolution has as many inputs as there are filters for.
    """
    layer = graph.parts(move.layer)
    for role, width in (("bottleneck_conv", BOTTLENECK * move.width), ("conv", move.width)):
        if role in layer:
            graph = widen_graph(graph, layer[role].name, width, rng=rng, symmetry_breaking=symmetry_breaking)
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
    above, noisy = graph.parts(index - 1), symmetry_breaking == "noise"
    template = _chain(child, index, "inserted")
    new = _identity_layer if architecture.kind == "DenseNet-post" else _copied_layer
    chain, drawn = new(graph, above, template, rng=rng, noisy=noisy)
    before = above["concat"]
    replicas = ChannelMap.of(np.concatenate([np.arange(channel_count(before)), drawn]), rng=rng, equal_shares=noisy)
    inserted = with_room(graph, index).inserted(before.name, placed(chain, index))
    join = inserted.parts(index)["concat"]
    inserted = inserted.replaced({join.name: replace(join, inputs=(before.name, *join.inputs))})
    return with_channel_map(inserted, join.name, replicas)


def _copied_layer(
    graph: LayerGraph, above: Mapping[str, Node], template: Mapping[str, Node], *, rng: np.random.Generator, noisy: bool
) -> tuple[dict[str, Node], np.ndarray]:
    """A layer that computes what the one above it does, and which of the channels before it its own repeat, `[new]`.

    It is the paper's code's. The copied layer's own channels, which reach the copy too, have weights of zero there, and
    are normalised by their moments. The copy's filters are drawn with replacement from the copied layer's.
    """
    main = above["conv"]
    moments = _known(moments_of(graph, main.name), main)
    own, growth = len(moments.mean), channel_count(template["conv"])
    drawn = rng.integers(own, size=growth)
    chain = {
        role: replace(node, weights=above[role].weights, moments=above[role].moments) for role, node in template.items()
    }
    first = "bottleneck_" if "bottleneck_conv" in chain else ""
    norm, conv = f"{first}norm", f"{first}conv"
    ones, nothing = np.ones(own, np.float32), np.zeros(own, np.float32)
    fresh = ones, nothing, moments.mean.astype(np.float32), moments.variance.astype(np.float32)
    norms = zip(chain[norm].weights, fresh, strict=True)
    chain[norm] = replace(chain[norm], weights=tuple([np.concatenate(each) for each in norms]))
    (kernel,) = chain[conv].weights
    more = np.zeros((*kernel.shape[:-2], own, kernel.shape[-1]), np.float32)
    chain[conv] = replace(chain[conv], weights=(np.concatenate([kernel, more], -2),))
    for role in (norm, f"{first}relu", "concat"):  # These have more channels than what they were copied from.
        chain[role] = replace(chain[role], moments=None)
    (kernel,) = chain["conv"].weights
    chain["conv"] = replace(chain["conv"], weights=(np.take(kernel, drawn, -1),), moments=moments[drawn])
    if noisy:
        chain["conv"] = _with_noise(chain["conv"], REPLICA_NOISE * float(kernel.std()), rng)
    return chain, channel_count(above["concat"]) - own + drawn


def _identity_layer(
    graph: LayerGraph, above: Mapping[str, Node], template: Mapping[str, Node], *, rng: np.random.Generator, noisy: bool
) -> tuple[dict[str, Node], np.ndarray]:
    """A layer of identity filters, each on an input channel drawn at random: EAS paper, Eq. 5.

    Exact where the values that arrive are never negative and the ReLU is behind the convolution.
    """
    main, before = template["conv"], above["concat"]
    inputs, growth = channel_count(before), channel_count(main)
    drawn = rng.integers(inputs, size=growth)
    moments = _known(moments_of(graph, before.name), before)[drawn]
    kernel = np.zeros(main.weights[0].shape, np.float32)
    centre = [size // 2 for size in main.weights[0].shape[:2]]
    kernel[(*centre, drawn, np.arange(growth))] = 1
    identity = replace(main, weights=(kernel,))
    if noisy:
        identity = _with_noise(identity, IDENTITY_NOISE * float(kernel.std()), rng)
    layer = {"conv": identity, "norm": identity_norm(template["norm"], moments), "relu": template["relu"]}
    return {**template, **{role: replace(node, moments=moments) for role, node in layer.items()}}, drawn


def _with_noise(node: Node, std: float, rng: np.random.Generator) -> Node:
    (kernel,) = node.weights
    return replace(node, weights=((kernel + rng.normal(0, std, kernel.shape)).astype(kernel.dtype),))


def _known(moments: Moments | None, node: Node) -> Moments:
    if moments is None:
        raise IllegalTransformation(
            f"Deepening after {node.name!r} needs the moments of its output: measure them first."
        )
    return moments


def _chains(architecture: DenseNet) -> list[dict[str, Node]]:
    """The nodes of each layer by role, not yet linked, named `conv_1`, `dense_1_1`, …, `transition_1` and so on."""
    chains = []
    block, number = 1, 0
    for index, layer in enumerate(architecture.layers):
        number = number + 1 if isinstance(layer, DenseLayer) else 0
        names = {Conv: "conv_1", DenseLayer: f"dense_{block}_{number}", Transition: f"transition_{block}"}
        chains.append(_chain(architecture, index, names.get(type(layer), "end")))
        block += isinstance(layer, Transition)
    return chains


def _chain(architecture: DenseNet, index: int, name: str) -> dict[str, Node]:
    """The nodes of one layer by role, not yet linked."""
    layer, before = architecture.layers[index], architecture.shape_before(index)
    behind = architecture.kind == "DenseNet-post"
    match layer:
        case Conv(filters=filters, kernel=kernel):
            main = convolution(name, filters, kernel, before)
            return normalised("conv", main) if behind else {"conv": main}
        case DenseLayer(growth=growth):
            concat = unlinked(keras.layers.Concatenate(name=f"{name}_joined", **FLOAT), architecture.shapes[index])
            if architecture.bottleneck:
                narrow = convolution(f"{name}_bottleneck", BOTTLENECK * growth, 1, before)
                bottleneck = {f"bottleneck_{role}": node for role, node in _preceded(narrow, before).items()}
                before = (*before[:2], BOTTLENECK * growth)
                return {**bottleneck, **_preceded(convolution(name, growth, 3, before), before), "concat": concat}
            main = convolution(name, growth, 3, before)
            return {**(normalised("conv", main) if behind else _preceded(main, before)), "concat": concat}
        case Transition(filters=filters):
            main = convolution(name, filters, 1, before)
            pool = unlinked(keras.layers.AveragePooling2D(2, name=f"{name}_pool", **IMAGES), architecture.shapes[index])
            return {**(normalised("conv", main) if behind else _preceded(main, before)), "pool": pool}
        case Softmax(classes=classes):
            pool = unlinked(keras.layers.GlobalAveragePooling2D(name="average", **IMAGES), before[-1:])
            end = {"pool": pool, **classifier(before[-1], classes)}
            return end if behind else {**_rectified(name, before), **end}


def _rectified(name: str, before: Shape) -> dict[str, Node]:
    """Batch norm and ReLU, by role."""
    return {"norm": batch_norm(f"{name}_bn", before), "relu": relu(f"{name}_relu", before)}


def _preceded(main: Node, before: Shape) -> dict[str, Node]:
    """Batch norm, ReLU, and a convolution, by role."""
    return {**_rectified(main.name, before), "conv": main}


def _joined(chain: Sequence[Node], before: str) -> list[Node]:
    """The nodes of one layer, linked; what reaches a dense layer comes before its own channels."""
    nodes = linked(chain, before)
    if nodes[-1].layer == "Concatenate":
        nodes[-1] = replace(nodes[-1], inputs=(before, *nodes[-1].inputs))
    return nodes


#: How each kind of move is carried out.
MOVES: dict[type[Any], Any] = {Net2Wider: _widened, Net2Deeper: _deepened}
