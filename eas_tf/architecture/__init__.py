"""What a network is: layer strings, search spaces, decisions and moves. Pure Python, microseconds."""

from eas_tf.architecture.architecture import Architecture
from eas_tf.architecture.decisions import Chain, Choice, ChoiceShape, Coins, Decision, State
from eas_tf.architecture.densenet.layers import DenseLayer, Transition
from eas_tf.architecture.densenet.network import DenseNet
from eas_tf.architecture.densenet.space import DenseNetSpace
from eas_tf.architecture.layers import AnyLayer, Conv, Dense, Layer, Pool, Shape, Softmax
from eas_tf.architecture.layerwise import SCHEDULE, Schedule
from eas_tf.architecture.moves import Move, parse_move, register_move
from eas_tf.architecture.net2net import Net2Deeper, Net2Wider
from eas_tf.architecture.plain.network import PlainCNN
from eas_tf.architecture.plain.space import PlainSpace
from eas_tf.architecture.registry import (
    SPACES,
    check_answer,
    distance_of,
    is_network,
    parse_architecture,
    register_kind,
    register_space,
    space_named,
    start_network,
    token_of,
)
from eas_tf.architecture.space import AnySpace, NetworkKind, Space
from eas_tf.architecture.words import in_words

__all__ = [
    "SCHEDULE",
    "SPACES",
    "AnyLayer",
    "AnySpace",
    "Architecture",
    "Chain",
    "Choice",
    "ChoiceShape",
    "Coins",
    "Conv",
    "Decision",
    "Dense",
    "DenseLayer",
    "DenseNet",
    "DenseNetSpace",
    "Layer",
    "Move",
    "Net2Deeper",
    "Net2Wider",
    "NetworkKind",
    "PlainCNN",
    "PlainSpace",
    "Pool",
    "Schedule",
    "Shape",
    "Softmax",
    "Space",
    "State",
    "Transition",
    "check_answer",
    "distance_of",
    "in_words",
    "is_network",
    "parse_architecture",
    "parse_move",
    "register_kind",
    "register_move",
    "register_space",
    "space_named",
    "start_network",
    "token_of",
]
