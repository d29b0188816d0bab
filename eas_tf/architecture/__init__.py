"""What a network is: layer strings, search spaces, transformations. Pure Python, microseconds."""

from eas_tf.architecture.layers import Conv, Dense, Layer, Pool, Shape, Softmax
from eas_tf.architecture.plain import PlainCNN, width_of
from eas_tf.architecture.space import SPACES, DeepenMask, SearchSpace, space_named
from eas_tf.architecture.transformations import Net2Deeper, Net2Wider, Transformation, parse_transformation

__all__ = [
    "SPACES",
    "Conv",
    "DeepenMask",
    "Dense",
    "Layer",
    "Net2Deeper",
    "Net2Wider",
    "PlainCNN",
    "Pool",
    "SearchSpace",
    "Shape",
    "Softmax",
    "Transformation",
    "parse_transformation",
    "space_named",
    "width_of",
]
