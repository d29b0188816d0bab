"""A Keras functional model as an immutable value: its layers, how they are connected, and their weights.

Building a Keras model costs a third of a second and more, so a chain of transformations works on this value and
builds one Keras model at its end.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import keras
import numpy as np

from eas_tf.errors import UnsupportedLayer


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and biased variance of each channel of a layer's output, float64 `[channels]` each."""

    mean: np.ndarray
    variance: np.ndarray

    def __getitem__(self, source: np.ndarray) -> "Moments":
        return Moments(self.mean[source], self.variance[source])


@dataclass(frozen=True, eq=False, kw_only=True)
class Node:
    """One layer of a graph."""

    name: str
    """The layer's name, unique in its graph."""
    layer: str
    """The name of its class in `keras.layers`."""
    config: Mapping[str, Any]
    """What the class's `get_config` returns, without the name."""
    inputs: tuple[str, ...]
    """The names of the nodes whose outputs it receives, in order."""
    shape: tuple[int | None, ...]
    """The shape of its output, without the batch axis; channels are last."""
    weights: tuple[np.ndarray, ...] = field(default=(), repr=False)
    """The layer's `get_weights()`."""
    moments: Moments | None = None
    """Statistics of the output on training images, if they were measured."""

    def changed(self, *, config: Mapping[str, Any] | None = None, **changes: Any) -> Self:
        """A copy with other fields; `config` is merged into the old one."""
        return replace(self, config={**self.config, **(config or {})}, **changes)


@dataclass(frozen=True, eq=False)
class LayerGraph:
    """The nodes of a model, in an order in which inputs come before their consumers.

    Every edit returns a new graph that shares the untouched arrays; no graph and no array is ever changed.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]

    @cached_property
    def _by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    def __getitem__(self, name: str) -> Node:
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def consumers(self, name: str) -> list[Node]:
        """The nodes that receive the output of node `name`."""
        return [node for node in self.nodes if name in node.inputs]

    def replaced(self, nodes: Mapping[str, Node]) -> Self:
        """The graph with other nodes under the same names."""
        return replace(self, nodes=tuple(nodes.get(node.name, node) for node in self.nodes))

    def inserted(self, after: str, chain: Sequence[Node]) -> Self:
        """The graph with a chain of single-input nodes between node `after` and all that consumed it.

        The chain's own names and connections are replaced by free names and by connections of the chain.
        """
        names = self._free_names(len(chain))
        linked = [
            replace(node, name=name, inputs=(previous,))
            for node, name, previous in zip(chain, names, [after, *names], strict=False)
        ]
        nodes: list[Node] = []
        for node in self.nodes:
            inputs = tuple(names[-1] if name == after else name for name in node.inputs)
            nodes.append(replace(node, inputs=inputs) if after in node.inputs else node)
            if node.name == after:
                nodes.extend(linked)
        return replace(
            self,
            nodes=tuple(nodes),
            outputs=tuple(names[-1] if name == after else name for name in self.outputs),
        )

    def _free_names(self, count: int) -> list[str]:
        free = (f"inserted_{number}" for number in itertools.count(1))
        return list(itertools.islice((name for name in free if name not in self), count))

    def renamed(self, names: Sequence[str]) -> Self:
        """The graph with these names for its nodes, in order."""
        new = {node.name: name for node, name in zip(self.nodes, names, strict=True)}
        nodes = (
            replace(node, name=new[node.name], inputs=tuple(new[name] for name in node.inputs)) for node in self.nodes
        )
        return replace(self, nodes=tuple(nodes), outputs=tuple(new[name] for name in self.outputs))

    def until(self, name: str) -> Self:
        """The part of a graph that computes node `name`, which becomes the only output."""
        needed = {name}
        for node in reversed(self.nodes):
            if node.name in needed:
                needed.update(node.inputs)
        return replace(self, nodes=tuple(node for node in self.nodes if node.name in needed), outputs=(name,))

    def structure(self) -> str:
        """All but names and values: classes, configurations, connections, shapes of outputs and weights, as JSON.

        Two graphs of equal structure compute the same function if they hold the same weights.
        """
        position = {node.name: i for i, node in enumerate(self.nodes)}
        nodes = [
            {
                "layer": node.layer,
                "config": {key: value for key, value in node.config.items() if key != "name"},
                "inputs": [position[name] for name in node.inputs],
                "shape": node.shape,
                "weights": [weight.shape for weight in node.weights],
            }
            for node in self.nodes
        ]
        return json.dumps([nodes, [position[name] for name in self.outputs]], sort_keys=True, default=_json)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of structure and weights, in hexadecimal: the same for two graphs that differ in names only."""
        sha = hashlib.sha256(self.structure().encode())
        for weight in self._weights():
            sha.update(np.ascontiguousarray(weight).tobytes())
        return sha.hexdigest()

    def _weights(self) -> Iterator[np.ndarray]:
        for node in self.nodes:
            yield from node.weights

    def with_weights_of(self, model: keras.Model) -> Self:
        """The graph with the weights of a Keras model that was built from it, and so without moments."""
        weights = {node.name: tuple(model.get_layer(node.name).get_weights()) for node in self.nodes if node.weights}
        nodes = (replace(node, weights=weights.get(node.name, ()), moments=None) for node in self.nodes)
        return replace(self, nodes=tuple(nodes))

    @classmethod
    def from_keras(cls, model: keras.Model) -> Self:
        """Read a functional or sequential model.

        Raises:
            UnsupportedLayer: If the model is subclassed, or a layer is called twice or nested.
        """
        if not getattr(model, "inputs", None) or not hasattr(model, "get_config"):
            raise UnsupportedLayer(f"Only functional and sequential models can be operated on. Received: {model!r}")
        # A sequential model hides its input layer; the functional model of the same layers does not.
        functional = keras.Model(model.inputs, model.outputs)
        config = functional.get_config()
        # Operations too: `x * 2` is none of the layers, and has to be refused by name.
        operations = {operation.name: operation for operation in functional.operations}
        nodes = tuple(_read_node(operations[entry["name"]], entry) for entry in config["layers"])
        outputs = [config["output_layers"]] if isinstance(config["output_layers"][0], str) else config["output_layers"]
        return cls(nodes, tuple(name for name, *_ in outputs))

    def to_keras(self, substitutes: Mapping[str, type[keras.layers.Layer]] | None = None) -> keras.Model:
        """Build the Keras model, with these weights.

        Args:
            substitutes: Other classes for some layers, by class name, that take the same configuration and weights.
        """
        tensors: dict[str, Any] = {}
        for node in self.nodes:
            if node.layer == "InputLayer":
                tensors[node.name] = keras.Input(shape=node.shape, name=node.name, dtype=node.config["dtype"])
                continue
            layer_class = (substitutes or {}).get(node.layer) or getattr(keras.layers, node.layer)
            layer = layer_class.from_config({**deepcopy(dict(node.config)), "name": node.name})
            received = [tensors[name] for name in node.inputs]
            tensors[node.name] = layer(received[0] if len(received) == 1 else received)
            if node.weights:
                layer.set_weights(node.weights)
            if node.layer == "Normalization":
                layer.finalize_state()  # what it adapted to takes effect only then
        inputs = [tensors[node.name] for node in self.nodes if node.layer == "InputLayer"]
        outputs = [tensors[name] for name in self.outputs]
        return keras.Model(inputs[0] if len(inputs) == 1 else inputs, outputs[0] if len(outputs) == 1 else outputs)


def node_of(layer: keras.layers.Layer, inputs: tuple[str, ...], shape: Sequence[int | None]) -> Node:
    """The node of a Keras layer that need not be built: without weights."""
    config = {key: value for key, value in layer.get_config().items() if key != "name"}
    return Node(name=layer.name, layer=type(layer).__name__, config=config, inputs=inputs, shape=tuple(shape))


def _read_node(layer: keras.layers.Layer, entry: Mapping[str, Any]) -> Node:
    calls = entry["inbound_nodes"]
    if len(calls) > 1:
        raise UnsupportedLayer(f"Layer {layer.name!r} is called {len(calls)} times; give each call its own layer.")
    if getattr(keras.layers, type(layer).__name__, None) is not type(layer):
        raise UnsupportedLayer(f"Layer {layer.name!r} is a {type(layer).__name__}, which is not a plain Keras layer.")
    inputs = tuple(_tensor_names(calls[0]["args"])) if calls else ()
    if calls and any(_tensor_names(calls[0]["kwargs"])):
        raise UnsupportedLayer(f"Layer {layer.name!r} receives tensors by keyword, which surgery cannot follow.")
    node = node_of(layer, inputs, layer.output.shape[1:])
    return replace(node, weights=tuple(layer.get_weights()))


def _tensor_names(arguments: Any) -> Iterator[str]:
    """The names of the layers whose outputs appear in the serialised arguments of a call."""
    if isinstance(arguments, Mapping):
        if arguments.get("class_name") == "__keras_tensor__":
            yield arguments["config"]["keras_history"][0]
            return
        arguments = list(arguments.values())
    if isinstance(arguments, list | tuple):
        for argument in arguments:
            yield from _tensor_names(argument)


def _json(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)
