"""How a channel map passes through each kind of Keras layer, and what it rewrites there.

A rule receives a node and the map of its input. It returns the rewritten node and the map of its output, or None if
the node absorbed the map. Layers that have no rule are refused by name.
"""

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, TypeAlias

import numpy as np

from eas_tf.errors import IllegalTransformation, UnsupportedLayer
from eas_tf.surgery.channel_map import ChannelMap
from eas_tf.surgery.graph import Node

Rule: TypeAlias = Callable[[Node, ChannelMap], tuple[Node, ChannelMap | None]]

_RULES: dict[str, Rule] = {}


def _rule(*layer_classes: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        _RULES.update(dict.fromkeys(layer_classes, rule))
        return rule

    return register


def rule_for(node: Node) -> Rule:
    """The rule of the node's layer class.

    Raises:
        UnsupportedLayer: If there is none.
    """
    if node.layer not in _RULES or len(node.inputs) != 1 or node.config.get("data_format") == "channels_first":
        raise UnsupportedLayer(
            f"Surgery has no rule for how replicated channels pass through {node.name!r}, a {node.layer} layer with "
            f"{len(node.inputs)} inputs. Layers with a rule, for one input with channels last: {', '.join(_RULES)}."
        )
    return _RULES[node.layer]


@_rule("Conv2D", "Dense")
def absorb(node: Node, incoming: ChannelMap) -> tuple[Node, None]:
    """A kernel `[..., in, out]` takes the replicas' inputs by their shares; its output is what it was."""
    kernel, *bias = node.weights
    if kernel.shape[-2] != node_inputs(incoming):
        raise UnsupportedLayer(f"{node.name!r} is a grouped convolution, through which surgery has no rule.")
    return node.changed(weights=(incoming.absorb(kernel), *bias)), None


def node_inputs(incoming: ChannelMap) -> int:
    """The number of channels that a map's consumer had before."""
    return int(incoming.source.max()) + 1


@_rule("BatchNormalization")
def normalise(node: Node, incoming: ChannelMap) -> tuple[Node, ChannelMap | None]:
    """Batch norm works on each channel by itself, if its axis is that of the channels."""
    if node.config["axis"] not in (-1, len(node.shape)):
        raise UnsupportedLayer(
            f"{node.name!r} normalises axis {node.config['axis']}, not the channels, which are last."
        )
    return pass_on(node, incoming)


@_rule("ReLU", "MaxPooling2D", "AveragePooling2D", "Dropout")
def pass_on(node: Node, incoming: ChannelMap) -> tuple[Node, ChannelMap]:
    """What works on each channel by itself repeats its weights, `[channels]` each, and passes the map on."""
    return widened(node, incoming, weights=tuple(map(incoming.select, node.weights))), incoming


@_rule("Flatten")
def flatten(node: Node, incoming: ChannelMap) -> tuple[Node, ChannelMap]:
    """Flattening `[h, w, c]` repeats the map at each of the h x w positions."""
    outgoing = incoming.repeated(prod(filter(None, node.shape)) // node_inputs(incoming))
    return widened(node, outgoing), outgoing


@_rule("Softmax")
def refuse_softmax(node: Node, incoming: ChannelMap) -> tuple[Node, None]:
    """Replicas would enter the softmax's sum more than once."""
    raise IllegalTransformation(
        f"The {len(incoming.source)} channels would reach the softmax {node.name!r}, whose sum counts replicas twice. "
        "Widen a layer below."
    )


def widened(
    node: Node,
    outgoing: ChannelMap,
    weights: tuple[np.ndarray, ...] | None = None,
    config: Mapping[str, Any] | None = None,
) -> Node:
    """The node with an output whose channels, and whose moments, are repeated by a map."""
    moments = node.moments and node.moments[outgoing.source]
    shape = (*node.shape[:-1], len(outgoing.source))
    weights = node.weights if weights is None else weights
    return node.changed(shape=shape, moments=moments, weights=weights, config=config)
