"""How a trained network changes: Keras layer graphs and NumPy weights. Works on any Keras backend."""

from eas_tf.surgery.channel_map import ChannelMap, SymmetryBreaking
from eas_tf.surgery.deepen import deepen_graph
from eas_tf.surgery.graph import LayerGraph, Moments, Node
from eas_tf.surgery.moments import measure_moments
from eas_tf.surgery.plain import grow, initialise, lower
from eas_tf.surgery.storage import load_network, save_network
from eas_tf.surgery.verify import output_difference
from eas_tf.surgery.widen import widen, widen_graph

__all__ = [
    "ChannelMap",
    "LayerGraph",
    "Moments",
    "Node",
    "SymmetryBreaking",
    "deepen_graph",
    "grow",
    "initialise",
    "load_network",
    "lower",
    "measure_moments",
    "output_difference",
    "save_network",
    "widen",
    "widen_graph",
]
