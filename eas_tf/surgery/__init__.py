"""How a trained network changes: Keras layer graphs and NumPy weights. Works on any Keras backend."""

from eas_tf.surgery.channel_map import ChannelMap, SymmetryBreaking
from eas_tf.surgery.coupling import Channels, Coupling
from eas_tf.surgery.deepen import deepen_graph
from eas_tf.surgery.graph import LayerGraph
from eas_tf.surgery.lowering import initialise, lower, transform, with_parts
from eas_tf.surgery.moments import growth_moments, measure_moments
from eas_tf.surgery.node import Moments, Node
from eas_tf.surgery.operations import (
    Deepen,
    Widen,
    deepen,
    deepenable,
    deepening_costs,
    explain,
    grow,
    widen,
    widenable,
)
from eas_tf.surgery.rules import Maker, PerChannel, Rule, register_rule
from eas_tf.surgery.storage import load_network, save_network
from eas_tf.surgery.verify import output_difference
from eas_tf.surgery.widen import widen_graph

__all__ = [
    "ChannelMap",
    "Channels",
    "Coupling",
    "Deepen",
    "LayerGraph",
    "Maker",
    "Moments",
    "Node",
    "PerChannel",
    "Rule",
    "SymmetryBreaking",
    "Widen",
    "deepen",
    "deepen_graph",
    "deepenable",
    "deepening_costs",
    "explain",
    "grow",
    "growth_moments",
    "initialise",
    "load_network",
    "lower",
    "measure_moments",
    "output_difference",
    "register_rule",
    "save_network",
    "transform",
    "widen",
    "widen_graph",
    "widenable",
    "with_parts",
]
