"""From nodes to Keras models."""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np

from eas_tf.errors import UnsupportedLayer
from eas_tf.surgery.compilation import compile_like
from eas_tf.surgery.messages import keras_reason, one_line
from eas_tf.surgery.node import Frame, Node, filled, tensor

#: Layers whose initial random weights cost time. Others may use an initialiser for more than their weights.
_DRAWING = tuple(
    getattr(keras.layers, name)
    for name in (
        *(f"{kind}{rank}D{end}" for kind, end in (("Conv", ""), ("Conv", "Transpose")) for rank in (1, 2, 3)),
        *(f"{kind}Conv{rank}D" for kind in ("Depthwise", "Separable") for rank in (1, 2)),
        *("Dense", "EinsumDense", "Embedding"),
    )
)

#: Other classes for some layers, by class name, that take the same configuration and weights.
Substitutes: TypeAlias = Mapping[str, type[keras.layers.Layer]]


def build_model(
    nodes: Sequence[Node], outputs: Sequence[str], frame: Frame | None, substitutes: Substitutes
) -> keras.Model:
    """The Keras model of these nodes, with their weights. It is compiled if the frame is."""
    builder = _Builder(nodes, substitutes)
    model = builder.model("", outputs, frame)
    if frame:
        builder.freeze(model, frame)
        builder.compile(model, frame)
    return model


class _Builder:
    def __init__(self, nodes: Sequence[Node], substitutes: Substitutes) -> None:
        self._substitutes = substitutes
        self._built: dict[str, Any] = {}
        self._initializers: dict[str, dict[str, keras.Initializer]] = {}
        self._levels: dict[str, list[Node]] = defaultdict(list)
        for node in nodes:
            self._levels[node.name.rpartition("/")[0]].append(node)

    def model(self, level: str, outputs: Sequence[str], frame: Frame | None) -> keras.Model:
        """The model of the nodes whose names are directly below `level`."""
        nodes = self._levels[level]
        layers = {node.name: self._layer(node) for node in nodes}
        if frame and frame.sequential:
            # The operations among them compute masks, which a sequential model does by itself.
            model = keras.Sequential(
                [each for each in layers.values() if isinstance(each, keras.Layer)], name=frame.name
            )
        else:
            tensors: dict[str, Any] = {}
            for node in nodes:
                _call(layers[node.name], node, tensors)
            given = [tensors[edge] for edge in outputs]
            if frame:
                entrances = [tensors[f"{level}/{name}" if level else name] for name in frame.entrances]
                model = keras.Model(filled(frame.inputs, entrances), filled(frame.outputs, given), name=frame.name)
            else:
                entrances = [tensors[node.name] for node in nodes if node.layer == "InputLayer"]
                model = keras.Model(_one_or_all(entrances), _one_or_all(given))
        for node in nodes:
            _restore(layers[node.name], node)
            for key, initializer in self._initializers.pop(node.name, {}).items():
                setattr(layers[node.name], key, initializer)
        self._built |= layers
        return model

    def freeze(self, model: keras.Model, frame: Frame) -> None:
        """Set the flags of models and layers from the outside in: freezing one freezes all that is in it then."""
        nodes = sorted(itertools.chain.from_iterable(self._levels.values()), key=lambda node: node.name.count("/"))
        flags = [(model, frame.trainable)]
        flags += [(self._built[each.name], each.frame.trainable if each.frame else each.trainable) for each in nodes]
        for layer, trainable in flags:
            if isinstance(layer, keras.Layer) and layer.trainable != trainable:
                layer.trainable = trainable

    def compile(self, model: keras.Model, frame: Frame) -> None:
        """Compile the model, and those within it, if the old ones were."""
        within = [
            (self._built[node.name], node.frame) for level in self._levels.values() for node in level if node.frame
        ]
        for each, its_frame in [*within, (model, frame)]:
            if its_frame.compiled:
                compile_like(each, its_frame.compiled, self._built)

    def _layer(self, node: Node) -> Any:
        if node.frame:
            return self.model(node.name, node.inner_outputs, node.frame)
        config = {**filled(dict(node.config), ()), "name": node.name.rpartition("/")[2]}
        if node.layer == "InputLayer":
            config["batch_shape"] = (config["batch_shape"][0], *node.shape)
        try:
            layer = _from_config(self._substitutes.get(node.layer, node.kind), config)
        except (TypeError, ValueError) as error:
            raise UnsupportedLayer(
                one_line(
                    f"Layer {node.name!r}, a {node.layer}, cannot be built again from its get_config()",
                    keras_reason(error),
                    "Register classes of yours with keras.saving.register_keras_serializable; an __init__ takes what "
                    "get_config gives.",
                )
            ) from error
        initializers = {key: value for key, value in vars(layer).items() if isinstance(value, keras.Initializer)}
        for key, initializer in initializers.items():
            if _is_outgrown(initializer, node):
                initializers[key] = keras.initializers.Zeros()
                setattr(layer, key, initializers[key])
        if node.weights and node.kind in _DRAWING:
            # Drawing random weights that are replaced at once would take a tenth of the time, or half for large layers.
            self._initializers[node.name] = initializers
            for key in initializers:
                setattr(layer, key, keras.initializers.Zeros())
        return layer


def _is_outgrown(initializer: keras.Initializer, node: Node) -> bool:
    """Whether an initialiser holds an array, which fits none of the weights since they have grown."""
    shape = np.shape(getattr(initializer, "value", 0))
    return bool(shape) and shape not in [weight.shape for weight in node.weights]


def _call(layer: Any, node: Node, tensors: dict[str, Any]) -> None:
    """Call a layer on the tensors that it receives, and add those that it gives."""
    if node.layer == "InputLayer":
        tensors[node.name] = layer.output
        return
    received = [tensors[edge] for edge in node.inputs]
    arguments, keywords = node.call or ((_one_or_all(received),), {})
    try:
        given = keras.tree.flatten(layer(*filled(arguments, received), **filled(keywords, received)))
    except (TypeError, ValueError, AttributeError) as error:
        raise UnsupportedLayer(
            one_line(
                f"Layer {node.name!r}, a {node.layer}, does not take what it received before",
                keras_reason(error),
                "Its rule may be wrong, or its get_config() incomplete.",
            )
        ) from error
    edges = node.inner_outputs or [tensor(node.name, number) for number in range(len(given))]
    tensors.update(zip(edges, given, strict=True))


def _from_config(layer_class: Any, config: dict[str, Any]) -> Any:
    if layer_class is keras.layers.Lambda and callable(config["function"]):
        return keras.layers.Lambda(**config)  # from_config would refuse the function of a lambda
    return layer_class.from_config(config)


def _restore(layer: Any, node: Node) -> None:
    if node.weights:
        try:
            layer.set_weights(node.weights)
        except ValueError as error:
            raise UnsupportedLayer(
                one_line(
                    f"The rule of {node.name!r}, a {node.layer} layer, gives weights that do not fit",
                    keras_reason(error),
                    "Mend the rule, or make the layer's weights follow from its get_config().",
                )
            ) from error
    if node.layer == "Normalization":
        layer.finalize_state()  # what it adapted to takes effect only then


def _one_or_all(values: Sequence[Any]) -> Any:
    return values[0] if len(values) == 1 else list(values)
