"""What a network is: layer strings, search spaces, transformations. Pure Python, microseconds."""

from eas_tf.architecture.architecture import Architecture
from eas_tf.architecture.densenet import DenseNet
from eas_tf.architecture.densenet_layers import DenseLayer, Transition
from eas_tf.architecture.densenet_space import DenseNetSpace
from eas_tf.architecture.layers import AnyLayer, Conv, Dense, Layer, Pool, Shape, Softmax, width_of
from eas_tf.architecture.named_spaces import SPACES, space_named
from eas_tf.architecture.parsing import parse_architecture
from eas_tf.architecture.plain import PlainCNN
from eas_tf.architecture.plain_space import SearchSpace
from eas_tf.architecture.space import AnySpace, DeepenMask, Space, widenings
from eas_tf.architecture.transformations import Net2Deeper, Net2Wider, Transformation, parse_transformation
from eas_tf.architecture.words import in_words

__all__ = [
    "SPACES",
    "AnyLayer",
    "AnySpace",
    "Architecture",
    "Conv",
    "DeepenMask",
    "Dense",
    "DenseLayer",
    "DenseNet",
    "DenseNetSpace",
    "Layer",
    "Net2Deeper",
    "Net2Wider",
    "PlainCNN",
    "Pool",
    "SearchSpace",
    "Shape",
    "Softmax",
    "Space",
    "Transformation",
    "Transition",
    "in_words",
    "parse_architecture",
    "parse_transformation",
    "space_named",
    "widenings",
    "width_of",
]
