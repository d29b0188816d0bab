"""From Keras models to nodes."""

import inspect
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import keras
import numpy as np

from eas_tf.errors import UnsupportedLayer
from eas_tf.surgery.compilation import Places, reaches, read_compilation
from eas_tf.surgery.messages import keras_reason, one_line, shown
from eas_tf.surgery.node import Frame, Node, Slot, as_type, tensor

#: A layer's name and the number of one of its outputs.
Reference: TypeAlias = tuple[str, int]

#: What a layer's configuration names, and is carried over as it is where the user made it.
_PARTS = (keras.Initializer, keras.regularizers.Regularizer, keras.constraints.Constraint)


def read_model(model: keras.Model) -> tuple[list[Node], tuple[str, ...], Frame]:
    """The nodes of a model with givers before receivers, its output tensors, and its frame.

    Raises:
        UnsupportedLayer: If the model is subclassed or not built, or a layer in it cannot be built again.
    """
    return _Reader().model(model)


class _Reader:
    def __init__(self) -> None:
        self._places: Places = {}
        self._own: dict[str, list[Any]] = {}

    def model(
        self, model: keras.Model, prefix: str = "", outer: Sequence[str] = (), masked: bool = False
    ) -> tuple[list[Node], tuple[str, ...], Frame]:
        """As `read_model`.

        Args:
            model: What is read.
            prefix: Of all names, if the model is within another one.
            outer: The tensors that its inputs receive, if the model is within another one.
            masked: Whether it is given a mask there, which travels through it unseen.
        """
        functional = _functional(model)
        edges: dict[Reference, str] = {}
        entrances = [each._keras_history.operation.name for each in functional.inputs]
        nodes: list[Node] = []
        calls, used = _calls(functional)
        for operation in functional.operations:  # Operations too: `x * 2` is none of the layers.
            name, outputs = prefix + operation.name, calls[operation].outputs
            received: list[str] = []
            node = Node(
                name=name,
                kind=type(operation),
                config={},
                call=_call(calls[operation], edges, received),
                inputs=tuple(received),
                shape=tuple(outputs[0].shape[1:]),
                dtype=outputs[0].dtype,
                trainable=getattr(operation, "trainable", True),
                masked=masked or getattr(outputs[0], "_keras_mask", None) is not None,
                further_shapes={
                    k: tuple(each.shape[1:]) for k, each in enumerate(outputs) if k and (operation.name, k) in used
                },
            )
            if isinstance(operation, keras.Model):
                entering = _entering(node, _functional(operation))
                inner, given, frame = self.model(operation, f"{name}/", entering, bool(node.given_as_masks))
                edges |= {(operation.name, number): edge for number, edge in enumerate(given)}
                nodes += [*inner, replace(node, frame=frame, inner_outputs=given)]
            else:
                edges |= {(operation.name, number): tensor(name, number) for number in range(len(outputs))}
                if outer and operation.name in entrances:
                    node = replace(node, inputs=(outer[entrances.index(operation.name)],))
                nodes.append(self._with_weights(node, operation))
        given_by: list[str] = []
        outputs = _with_slots(functional.output, edges, given_by)
        frame = Frame(
            sequential=isinstance(model, keras.Sequential),
            name=model.name,
            trainable=model.trainable,
            entrances=tuple(entrances),
            inputs=_with_slots(functional.input, {(name, 0): name for name in entrances}, []),
            outputs=outputs,
            compiled=read_compilation(model, self._places),
        )
        if not prefix:
            self._check_functions(nodes)
        return nodes, tuple(given_by), frame

    def _with_weights(self, node: Node, operation: Any) -> Node:
        """The node of a layer or an operation with its configuration and weights."""
        variables = list(getattr(operation, "weights", ()))
        for index, variable in enumerate(variables):
            other, _ = self._places.setdefault(id(variable), (node.name, index))
            if other != node.name:
                raise UnsupportedLayer(
                    f"Layers {other!r} and {node.name!r} share the weight {variable.name!r}, and surgery would make "
                    "two of it; give each layer weights of its own."
                )
        config = _config(operation, node.name)
        _check(operation, config, node.name)
        if not _is_of_keras(type(operation)):
            self._own[node.name] = [type(operation), *filter(inspect.isroutine, vars(operation).values())]
        # Keras calls no constraint of what is frozen.
        constraints = tuple(variable.constraint if variable.trainable else None for variable in variables)
        return node.changed(
            config=config,
            weights=tuple(operation.get_weights()) if variables else (),
            constraints=constraints if any(constraints) else (),
        )

    def _check_functions(self, nodes: Iterable[Node]) -> None:
        """Refuse what uses the model's own weights: functions, parts of the user's own, arguments of calls."""
        for node in nodes:
            own = [each for each in node.config.values() if inspect.isroutine(each) or isinstance(each, _PARTS)]
            own += self._own.get(node.name, [])
            others = (
                {key: place for key, place in self._places.items() if place[0] != node.name} if own else self._places
            )
            if used := reaches([*own, node.call], others):
                raise UnsupportedLayer(
                    f"A function, a part or an argument of {node.name!r} uses the weights of {used!r}, and in a new "
                    "model it would go on using the old ones; give each layer weights of its own."
                )


def _functional(model: keras.Model) -> keras.Model:
    """The functional model of the same layers: a sequential model hides its input layer."""
    if type(model) is keras.Sequential:
        if not model.built or not model.inputs:
            raise UnsupportedLayer(
                f"The sequential model {model.name!r} is not built. Start it with keras.Input(shape), or call "
                "model.build(input_shape)."
            )
        return keras.Model(model.inputs[0], model.outputs[0])
    if not isinstance(model, keras.Model):
        raise UnsupportedLayer(f"Surgery works on functional and sequential models of Keras. Received: {shown(model)}")
    if type(model).__name__ != "Functional":
        raise UnsupportedLayer(
            f"Surgery works on functional and sequential models, not on a {type(model).__name__}, whose methods may do "
            "anything. If it was made from inputs and outputs, give keras.Model(model.inputs, model.outputs)."
        )
    return model


def _calls(functional: keras.Model) -> tuple[dict[Any, Any], set[Reference]]:
    """The call that Keras noted of each operation in a model, and which tensors are used there.

    Raises:
        UnsupportedLayer: If a layer is called more than once.
    """
    numbers, used = defaultdict[Any, set[int]](set), set[Reference]()
    pending = [*functional.inputs, *functional.outputs]
    while pending:
        operation, number, output = pending.pop()._keras_history
        used.add((operation.name, output))
        if number not in numbers[operation]:
            numbers[operation].add(number)
            pending += operation._inbound_nodes[number].input_tensors
    for operation, its in numbers.items():
        if len(its) > 1:
            raise UnsupportedLayer(
                f"Layer {operation.name!r} is called {len(its)} times; give each call a layer of its own."
            )
    return {operation: operation._inbound_nodes[number] for operation, (number,) in numbers.items()}, used


def _call(
    call: Any, edges: Mapping[Reference, str], received: list[str]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """The arguments of a layer's call, whose tensors are appended to `received`; None for one tensor or one list."""
    if not call.input_tensors:
        return None
    given, keywords = call.arguments.args, call.arguments.kwargs
    arguments = tuple(_with_slots(argument, edges, received) for argument in given)
    named = {key: _with_slots(value, edges, received) for key, value in keywords.items() if value is not None}
    only = arguments[0] if len(arguments) == 1 and not named else None
    is_list = isinstance(only, list) and len(only) > 1 and all(isinstance(part, Slot) for part in only)
    return None if is_list or isinstance(only, Slot) else (arguments, named)


def _with_slots(structure: Any, edges: Mapping[Reference, str], tensors: list[str]) -> Any:
    """Arguments with slots for Keras tensors, whose names are appended to a list, and with other tensors as arrays."""
    if isinstance(structure, keras.KerasTensor):
        operation, _, output = structure._keras_history
        tensors.append(edges[operation.name, output])
        return Slot(len(tensors) - 1)
    if isinstance(structure, Mapping):
        # Keras numbers the tensors of a dictionary in the order of its keys' names.
        parts = {key: _with_slots(structure[key], edges, tensors) for key in sorted(structure)}
        return {key: parts[key] for key in structure}
    if isinstance(structure, list | tuple):
        given = [_with_slots(part, edges, tensors) for part in structure]
        return as_type(structure, given)
    is_constant = keras.ops.is_tensor(structure) and not hasattr(structure, "assign")  # A variable may be assigned to.
    return keras.ops.convert_to_numpy(structure) if is_constant else structure


def _entering(node: Node, functional: keras.Model) -> list[str]:
    """The tensors that the inputs of a model within a model receive, in the order of its inputs."""
    arguments, keywords = node.call or (([Slot(number) for number in range(len(node.inputs))],), {})
    given = arguments[0] if arguments else keywords["inputs"]
    if isinstance(given, Mapping) and not isinstance(functional.input, Mapping):
        parts = [given.get(each._keras_history.operation.name) for each in functional.inputs]
    else:
        parts = keras.tree.flatten(given)
    slots = [part for part in parts if isinstance(part, Slot)]
    if not len(slots) == len(parts) == len(functional.inputs):
        raise UnsupportedLayer(
            f"The model {node.name!r} within the model is called on something other than tensors of layers, for which "
            "surgery has no rule; make it an input of the whole model."
        )
    return [node.inputs[slot.index] for slot in slots]


def _config(operation: Any, name: str) -> dict[str, Any]:
    """A layer's configuration without its name, and with functions and other parts of the user's as they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a lambda: nothing is stored here
        try:
            config = keras.saving.serialize_keras_object(operation)["config"]
        except Exception as error:  # Anything that a get_config of the user's raises.
            raise UnsupportedLayer(
                one_line(
                    f"Layer {name!r}, a {type(operation).__name__}, has no configuration to build it again from",
                    keras_reason(error),
                    "Give it a get_config that returns what its __init__ takes, and functions that have a name.",
                )
            ) from error
    live = {key: getattr(operation, key, None) for key, value in config.items() if isinstance(value, Mapping)}
    own = {key: value for key, value in live.items() if inspect.isroutine(value) or _is_own_part(operation, value)}
    return {key: own.get(key, value) for key, value in config.items() if key != "name"}


def _is_own_part(operation: Any, value: Any) -> bool:
    """Whether a part is of a class of the user's, and can be handed to the layer's class as it is."""
    reader = next((each for each in type(operation).__mro__ if "from_config" in vars(each)), object)
    return isinstance(value, _PARTS) and not _is_of_keras(type(value)) and _is_of_keras(reader)


def _is_of_keras(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "keras"


def _check(operation: Any, config: Mapping[str, Any], name: str) -> None:
    """Refuse what could not be built again as it was."""
    if getattr(getattr(operation, "dtype_policy", None), "quantization_mode", None):
        raise UnsupportedLayer(f"Layer {name!r} is quantised; operate on the model first, and quantise it then.")
    if getattr(operation, "stateful", False) is True:
        raise UnsupportedLayer(
            f"Layer {name!r} is stateful, and its state would be lost; build it without stateful=True."
        )
    activation = config.get("activation")
    if isinstance(activation, str) and not _is_keras_own(getattr(operation, "activation", None), activation):
        raise UnsupportedLayer(
            f"Layer {name!r} has an activation of its own by the name of Keras's {activation!r}; give it another name."
        )
    if getattr(operation, "lora_enabled", False):
        raise UnsupportedLayer(f"Layer {name!r} has LoRA weights; merge them into its kernel first.")
    if hasattr(operation, "save_assets"):
        raise UnsupportedLayer(
            f"Layer {name!r}, a {type(operation).__name__}, keeps a vocabulary that is none of its weights; operate on "
            "a model that starts behind it."
        )


def _is_keras_own(function: Any, name: str) -> bool:
    """Whether a function does what Keras's activation of that name does, as `tf.nn.relu` does."""
    keras_own = keras.activations.get(name)
    if function is keras_own:
        return True
    probe = keras.ops.reshape(keras.ops.linspace(-7.0, 7.0, 60), (4, 15))
    try:
        values = [keras.ops.convert_to_numpy(each(probe)) for each in (function, keras_own)]
    except Exception:  # Whatever a function of the user's raises, it is another one.
        return False
    return bool(values[0].shape == values[1].shape and np.allclose(values[0], values[1], rtol=1e-5, atol=1e-6))
