"""What a network is: layer strings, search spaces, transformations. Pure Python, microseconds."""

from eas_tf.architecture.architecture import Architecture
from eas_tf.architecture.densenet import DenseNet
from eas_tf.architecture.densenet_layers import DenseLayer, Transition
from eas_tf.architecture.layers import AnyLayer, Conv, Dense, Layer, Pool, Shape, Softmax, width_of
from eas_tf.architecture.parsing import parse_architecture
from eas_tf.architecture.plain import PlainCNN
from eas_tf.architecture.space import SPACES, DeepenMask, SearchSpace, space_named
from eas_tf.architecture.transformations import Net2Deeper, Net2Wider, Transformation, parse_transformation

__all__ = [
    "SPACES",
    "AnyLayer",
    "Architecture",
    "Conv",
    "DeepenMask",
    "Dense",
    "DenseLayer",
    "DenseNet",
    "Layer",
    "Net2Deeper",
    "Net2Wider",
    "PlainCNN",
    "Pool",
    "SearchSpace",
    "Shape",
    "Softmax",
    "Transformation",
    "Transition",
    "parse_architecture",
    "parse_transformation",
    "space_named",
    "width_of",
]
