"""A Keras model as an immutable value: its layers, how they are connected, and their weights.

Building a Keras model costs a third of a second and more, so a chain of transformations works on this value and
builds one Keras model at its end.
"""

import hashlib
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import keras
import numpy as np

from eas_tf.surgery.building import build_model
from eas_tf.surgery.node import Frame, Node, Slot, giver
from eas_tf.surgery.reading import read_model

#: Values that all layers together may compute in one call: 64 MiB. Keras keeps them all until a call ends. It is the
#: same on every machine, because the last bits of what a network computes depend on how many inputs a call takes.
VALUES_AT_ONCE = 2**24


@dataclass(frozen=True, eq=False)
class LayerGraph:
    """The nodes of a model, in an order in which inputs come before their consumers.

    Every edit returns a new graph that shares the untouched arrays; no graph and no array is ever changed.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    """The tensors that the model gives."""
    frame: Frame | None = None
    """What the Keras model had besides its layers."""

    @cached_property
    def _by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    def __getitem__(self, name: str) -> Node:
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    @cached_property
    def _by_path(self) -> dict[tuple[int, ...], dict[str, Node]]:
        found: dict[tuple[int, ...], dict[str, Node]] = defaultdict(dict)
        for node in self.nodes:
            if node.part:
                found[node.part.path][node.part.role] = node
        return found

    def parts(self, *path: int) -> Mapping[str, Node]:
        """The nodes of the layer at a path, by role; none in a graph that was read from a Keras model. See `Part`."""
        return self._by_path.get(path, {})

    def shape(self, edge: str) -> tuple[int | None, ...]:
        """The shape of a tensor, without its batch axis."""
        node, _, output = edge.partition("//")
        return self[node].further_shapes[int(output)] if output else self[node].shape

    def data(self, node: Node) -> tuple[str, ...]:
        """The inputs of a node without masks, which have an entry for each position and no channels."""
        masks = [number for number in node.given_as_masks if self._is_mask(node, number)]
        return tuple(edge for number, edge in enumerate(node.inputs) if number not in masks)

    def _is_mask(self, node: Node, number: int) -> bool:
        masked = next((edge for k, edge in enumerate(node.inputs) if k not in node.given_as_masks), None)
        mask, shape = self.shape(node.inputs[number]), self.shape(masked) if masked else ()
        return len(mask) < len(shape) and all(a == b or None in (a, b) for a, b in zip(mask, shape, strict=False))

    def replaced(self, nodes: Mapping[str, Node]) -> Self:
        """The graph with other nodes under the same names."""
        return replace(self, nodes=tuple(nodes.get(node.name, node) for node in self.nodes))

    def inserted(self, after: str, chain: Sequence[Node]) -> Self:
        """The graph with a chain of single-input nodes between node `after` and all that consumed it.

        The chain's nodes keep their names, with a number where one is taken, and are put into the model within which
        `after` is.
        """
        names = self._free_names(after, chain)
        linked = [
            replace(node, name=name, inputs=(previous,))
            for node, name, previous in zip(chain, names, [after, *names], strict=False)
        ]

        def edge(name: str) -> str:
            return names[-1] if name == after else name

        nodes: list[Node] = []
        for node in self.nodes:
            nodes.append(node.with_edges(edge))
            if node.name == after:
                nodes.extend(linked)
        return replace(self, nodes=tuple(nodes), outputs=tuple(map(edge, self.outputs)))

    def _free_names(self, after: str, chain: Sequence[Node]) -> list[str]:
        level, slash, _ = after.rpartition("/")
        names: list[str] = []
        for node in chain:
            stem = f"{level}{slash}{node.name}"
            numbered = itertools.chain([stem], (f"{stem}_{number}" for number in itertools.count(2)))
            names.append(next(name for name in numbered if name not in self and name not in names))
        return names

    def renamed(self, names: Sequence[str]) -> Self:
        """The graph with these names for its nodes, in order, and without its frame."""
        new = {node.name: name for node, name in zip(self.nodes, names, strict=True)}

        def edge(name: str) -> str:
            return name.replace(giver(name), new[giver(name)], 1)

        nodes = (node.with_edges(edge, new[node.name]) for node in self.nodes)
        return replace(self, nodes=tuple(nodes), outputs=tuple(map(edge, self.outputs)), frame=None)

    def until(self, *names: str) -> Self:
        """The part of a graph that computes some nodes, whose tensors become the outputs. It has all of its inputs.

        Models within the model give those of their tensors that are asked for besides their own outputs.
        """
        asked: dict[str, list[str]] = defaultdict(list)
        for name in names:
            for level in itertools.accumulate(giver(name).split("/")[:-1], "{}/{}".format):
                asked[level].append(name)
        needed = {*map(_outermost, names), *(node.name for node in self.nodes if node.layer == "InputLayer")}
        nodes: list[Node] = []
        for node in reversed(self.nodes):
            if _outermost(node.name) in needed:
                needed.update(map(_outermost, node.inputs))
                nodes.append(_giving(node, asked[node.name]))
        slots = [Slot(number) for number in range(len(names))]
        frame = self.frame and replace(
            self.frame, sequential=False, trainable=True, outputs=slots if slots[1:] else slots[0], compiled=None
        )
        return replace(self, nodes=tuple(reversed(nodes)), outputs=names, frame=frame)

    def structure(self) -> str:
        """All but names and values: classes, configurations, connections, shapes of outputs and weights, as JSON.

        Two graphs of equal structure compute the same function if they hold the same weights.
        """
        position = {node.name: i for i, node in enumerate(self.nodes)}
        nodes = [
            {
                "layer": node.layer,
                "config": {key: value for key, value in node.config.items() if key != "name"},
                "inputs": [(position[giver(edge)], edge.partition("//")[2]) for edge in node.inputs],
                "call": node.call,
                "shape": node.shape,
                "weights": [weight.shape for weight in node.weights],
            }
            for node in self.nodes
        ]
        return json.dumps(
            [nodes, [(position[giver(edge)], edge.partition("//")[2]) for edge in self.outputs]],
            sort_keys=True,
            default=_json,
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of structure and weights, in hexadecimal: the same for two graphs that differ in names only."""
        sha = hashlib.sha256(self.structure().encode())
        for weight in self._weights():
            sha.update(np.ascontiguousarray(weight).tobytes())
        return sha.hexdigest()

    @cached_property
    def values(self) -> int:
        """How many values all layers together compute for one input."""
        return sum(math.prod(side or 1 for side in node.shape) for node in self.nodes)

    def batch_in_memory(self, most: int, trained: int = 1) -> int:
        """How many inputs one call may take: as many as compute `VALUES_AT_ONCE`, at least one, at most `most`.

        Args:
            most: How many it takes where memory does not matter.
            trained: Inputs in one step of training, which needs more memory than a call on half of them.
        """
        return min(most, max(1, trained // 2, VALUES_AT_ONCE // self.values))

    def _weights(self) -> Iterator[np.ndarray]:
        for node in self.nodes:
            yield from node.weights

    def with_weights_of(self, model: keras.Model) -> Self:
        """The graph with the weights of a Keras model that was built from it, and so without moments."""
        weights = {node.name: tuple(_layer(model, node.name).get_weights()) for node in self.nodes if node.weights}
        nodes = (replace(node, weights=weights.get(node.name, ()), moments=None) for node in self.nodes)
        return replace(self, nodes=tuple(nodes))

    @classmethod
    def from_keras(cls, model: keras.Model) -> Self:
        """Read a functional or sequential model.

        Raises:
            UnsupportedLayer: If the model is subclassed or not built, a layer is called twice, or one has state that is
                not in its configuration and weights.
        """
        nodes, outputs, frame = read_model(model)
        return cls(tuple(nodes), outputs, frame)

    def to_keras(self, substitutes: Mapping[str, type[keras.layers.Layer]] | None = None) -> keras.Model:
        """Build the Keras model, with these weights.

        Args:
            substitutes: Other classes for some layers, by class name, that take the same configuration and weights.
        """
        return build_model(self.nodes, self.outputs, self.frame, substitutes or {})


def _outermost(edge: str) -> str:
    """The name of the node of the whole model within which a tensor is given."""
    return giver(edge).partition("/")[0]


def _giving(node: Node, more: Sequence[str]) -> Node:
    """The node of a model within a model that gives further tensors of its layers."""
    if node.frame is None:
        return node
    outputs = tuple(dict.fromkeys([*node.inner_outputs, *more]))
    slots = [Slot(number) for number in range(len(outputs))]
    frame = replace(node.frame, sequential=False, outputs=slots, compiled=None)
    return replace(node, frame=frame, inner_outputs=outputs)


def _json(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def _layer(model: keras.Model, path: str) -> Any:
    for name in path.split("/"):
        model = model.get_layer(name)
    return model
