"""Dropout while a network is trained (Srivastava et al. 2014), of which nothing stays in the trained network.

It is put directly behind every convolution but the first, as in the DenseNet paper's training without augmentation
(Huang et al. 2017, section 4.2), and as the EAS paper has it for SVHN; in DenseNets these are the convolutions of
dense layers and transitions.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from eas_tf.errors import InvalidConfiguration
from eas_tf.surgery import LayerGraph
from eas_tf.surgery.node import node_of

#: The seed of the step that this thread traces; each replica has a thread of its own.
_STEP = threading.local()


@contextmanager
def dropout_seed(seed: tf.Tensor | None) -> Iterator[None]:
    """Within this, layers called in training mode drop by a seed, int32 `[2]`; None where none drops."""
    _STEP.seed = seed
    try:
        yield
    finally:
        del _STEP.seed


class SeededDropout(keras.layers.Layer):
    """Dropout that has no state: what it drops is decided by the step's seed and its own number.

    Keras's has a seed generator, whose state would be one more thing to copy, and to keep over an interruption.

    Args:
        rate: Share of the values that are set to zero; the others are divided by one minus it.
        number: Tells it from the other layers of a network.
    """

    def __init__(self, rate: float, number: int, **options: Any) -> None:
        super().__init__(**options)
        self.rate, self.number = rate, number

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Drop in training mode."""
        if not training:
            return inputs
        seed = tf.random.experimental.stateless_fold_in(_STEP.seed, self.number)
        return tf.nn.experimental.stateless_dropout(inputs, self.rate, seed)

    def get_config(self) -> dict[str, Any]:
        """What rebuilds it."""
        return {**super().get_config(), "rate": self.rate, "number": self.number}


def with_dropout(graph: LayerGraph, rate: float) -> LayerGraph:
    """The graph that is trained: the same names and weights, and a layer that drops behind convolutions.

    Args:
        graph: The network, whose nodes know which parts of an architecture they are.
        rate: Share of the values that are set to zero; at 0 the graph is what it was.

    Raises:
        InvalidConfiguration: If a convolution does not know it, as in a graph that was read from a file.
    """
    if not rate:
        return graph
    convolutions = [node for node in graph.nodes if node.layer == "Conv2D"]
    if unknown := [node.name for node in convolutions if node.part is None]:
        raise InvalidConfiguration(
            f"Dropout needs to know which convolution is the architecture's first. Nothing says which part of it "
            f"{unknown[0]} is: give the graph its parts by `eas_tf.surgery.with_parts` first."
        )
    # Layer 0 of every architecture is the first convolution, or what stands for it.
    behind = [node for node in convolutions if node.part and node.part.path[0] > 0]
    for number, node in enumerate(behind):
        layer = SeededDropout(rate, number, name="dropout", dtype="float32")
        graph = graph.inserted(node.name, [node_of(layer, (), node.shape)])
    return graph
