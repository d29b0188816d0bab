"""One layer of a graph as an immutable value, and what is needed to build it again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import keras
import numpy as np

from eas_tf.surgery.compilation import Compilation


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and biased variance of each channel of a layer's output, float64 `[channels]` each."""

    mean: np.ndarray
    variance: np.ndarray

    def __getitem__(self, source: np.ndarray) -> "Moments":
        return Moments(self.mean[source], self.variance[source])


@dataclass(frozen=True)
class Slot:
    """Stands in a structure for tensor number `index` of a list that is kept beside it."""

    index: int


class Part(NamedTuple):
    """Which part of an architecture a node is; no two nodes of a graph have the same."""

    path: tuple[int, ...]
    """The index of its layer in the architecture; in a layer that is a tree, followed by the branches that lead to it.
    Empty for a node that belongs to no layer: the input, its normalisation, flattening."""
    role: str
    """What the node does there, such as "conv", "norm", "relu", "pool" or "dense"."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Frame:
    """What a model has besides its layers."""

    sequential: bool
    name: str
    trainable: bool
    entrances: tuple[str, ...]
    """The names of its input layers, in the order of its inputs."""
    inputs: Any
    """The structure of its inputs (one, a list, a dictionary), with slots for the entrances."""
    outputs: Any
    """The structure of its outputs, with slots for the tensors that it gives."""
    compiled: Compilation | None = None
    """How the model is compiled, if it is."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Node:
    """One layer of a graph.

    A model within a model is a node too, which comes after the nodes of its own layers. Their names start with its
    name and a slash, and its input layers have the outer tensors as their inputs.
    """

    name: str
    """The layer's name, unique in its graph."""
    kind: type
    """The class of the layer, or of the Keras operation."""
    config: Mapping[str, Any]
    """What the class's `get_config` returns, without the name."""
    inputs: tuple[str, ...]
    """The tensors that it receives, in order, each by its node's name, followed by `//k` for output k > 0."""
    shape: tuple[int | None, ...]
    """The shape of its output, without the batch axis; channels are last."""
    dtype: str = "float32"
    """Of its output."""
    trainable: bool = True
    """Whether the layer is trained; if not, it or a model that it is in is frozen."""
    masked: bool = False
    """Whether a mask travels with its output, which layers that know none would drop."""
    further_shapes: Mapping[int, tuple[int | None, ...]] = field(default_factory=dict)
    """The shapes of its other outputs that are used, by number, without the batch axis."""
    weights: tuple[np.ndarray, ...] = field(default=(), repr=False)
    """The layer's `get_weights()`."""
    constraints: tuple[Any, ...] = ()
    """What is called on each of the weights after a training step, or None; empty if there is none at all."""
    moments: Moments | None = None
    """Statistics of the output on training images, if they were measured."""
    call: tuple[tuple[Any, ...], Mapping[str, Any]] | None = None
    """Positional and keyword arguments of the call, with slots for the inputs. None for one tensor, or one list."""
    frame: Frame | None = None
    """Of a model within a model."""
    part: Part | None = None
    """Which part of an architecture it is; None in a graph that was read from a Keras model."""
    inner_outputs: tuple[str, ...] = ()
    """The tensors within it that a model within a model gives. What consumes them names them directly."""

    @property
    def layer(self) -> str:
        """The name of its class."""
        return self.kind.__name__

    @property
    def given_as_masks(self) -> list[int]:
        """The numbers of those inputs that the call receives as `mask`."""
        return [] if self.call is None else slots(self.call[1].get("mask"))

    def changed(self, *, config: Mapping[str, Any] | None = None, **changes: Any) -> Self:
        """A copy with other fields; `config` is merged into the old one."""
        return replace(self, config={**self.config, **(config or {})}, **changes)

    def with_edges(self, edge: Callable[[str], str], name: str | None = None) -> Self:
        """A copy in which each tensor has the name that `edge` gives it."""
        inputs, outputs = tuple(map(edge, self.inputs)), tuple(map(edge, self.inner_outputs))
        if name in (None, self.name) and (inputs, outputs) == (self.inputs, self.inner_outputs):
            return self
        return replace(self, name=name or self.name, inputs=inputs, inner_outputs=outputs)


def node_of(layer: keras.layers.Layer, inputs: tuple[str, ...], shape: Sequence[int | None]) -> Node:
    """The node of a Keras layer that need not be built: without weights."""
    config = {key: value for key, value in layer.get_config().items() if key != "name"}
    return Node(name=layer.name, kind=type(layer), config=config, inputs=inputs, shape=tuple(shape))


def tensor(name: str, output: int) -> str:
    """The name of an output of a node."""
    return f"{name}//{output}" if output else name  # Keras allows no slash in a layer's name


def giver(edge: str) -> str:
    """The name of the node that gives a tensor."""
    return edge.partition("//")[0]


def slots(structure: Any) -> list[int]:
    """The numbers of the slots in a structure."""
    return [part.index for part in keras.tree.flatten(structure) if isinstance(part, Slot)]


def as_type(structure: Any, parts: list[Any]) -> Any:
    """Parts in a list or a tuple, with names or without, as another structure is one."""
    return type(structure)(*parts) if hasattr(structure, "_fields") else type(structure)(parts)


def filled(structure: Any, values: Sequence[Any]) -> Any:
    """A structure of lists, tuples and dictionaries with each slot replaced by the value of its number."""
    if isinstance(structure, Slot):
        return values[structure.index]
    if isinstance(structure, list | tuple):
        return as_type(structure, [filled(part, values) for part in structure])
    if isinstance(structure, dict):
        return {key: filled(part, values) for key, part in structure.items()}
    return structure
