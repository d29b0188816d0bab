"""What follows from new channels in one tensor: a map travels on, through all that is behind it."""

from collections.abc import Sequence

from eas_tf.errors import UnsupportedLayer
from eas_tf.surgery.channel_map import ChannelMap
from eas_tf.surgery.graph import LayerGraph
from eas_tf.surgery.node import Node
from eas_tf.surgery.rules import Maker, rule_of
from eas_tf.surgery.rules.rule import channel_count


def with_channel_map(graph: LayerGraph, name: str, replicas: ChannelMap) -> LayerGraph:
    """The graph in which all that is behind node `name` expects the channels that a map describes.

    Unlike in widening, the new channels need not lie beside those that they repeat.

    Args:
        graph: One in which the node has its new channels, and its consumers still expect the old ones.
        name: The node.
        replicas: Which old channel each of its new ones repeats.

    Raises:
        UnsupportedLayer: If the map reaches something other than layers that take channels in, layers that work on
            each by itself, and concatenations of channels.
    """
    maps, changed = {name: replicas}, dict[str, Node]()
    for node in graph.nodes:
        incoming = [maps.get(edge) for edge in graph.data(node)]
        if node.name == name or not any(incoming):
            continue
        rule = rule_of(node)
        outgoing = None if isinstance(rule, Maker) else _passed_on(graph, node, incoming)
        changed[node.name] = rule.rewrite(node, incoming, outgoing)
        if outgoing:
            maps[node.name] = outgoing
    return graph.replaced(changed)


def _passed_on(graph: LayerGraph, node: Node, incoming: Sequence[ChannelMap | None]) -> ChannelMap:
    if node.layer == "Concatenate" and node.config["axis"] in (-1, len(node.shape)):
        widths = [channel_count(graph[edge]) for edge in graph.data(node)]
        return ChannelMap.beside([each or width for each, width in zip(incoming, widths, strict=True)])
    (only, *others) = incoming
    if only is None or others or max(only.source) + 1 != channel_count(node):
        raise UnsupportedLayer(f"New channels cannot be led through {node.name!r}, a {node.layer} layer.")
    return only
