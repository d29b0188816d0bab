"""From Keras models to nodes."""

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import keras
import numpy as np

from eas_tf.errors import UnsupportedLayer
from eas_tf.surgery.messages import first_line, shown
from eas_tf.surgery.node import Frame, Node, Slot, tensor

#: A layer's name and the number of one of its outputs.
Reference: TypeAlias = tuple[str, int]


def read_model(
    model: keras.Model, prefix: str = "", outer: tuple[str, ...] = ()
) -> tuple[list[Node], tuple[str, ...], Frame]:
    """The nodes of a model with givers before receivers, its output tensors, and its frame.

    Args:
        model: A functional or sequential model.
        prefix: Of all names, if the model is within another one.
        outer: The tensors that its input layers receive, if the model is within another one.

    Raises:
        UnsupportedLayer: If the model is subclassed or not built, or a layer in it cannot be built again.
    """
    functional = _functional(model)
    config, compiled = _configs(functional, model)
    # Operations too: `x * 2` is none of the layers.
    operations = {operation.name: operation for operation in functional.operations}
    shapes = _shapes(config, functional, operations)
    edges = {(name, output): tensor(prefix + name, output) for name, output in shapes}
    entrances: list[str] = []
    input_structure = _with_slots(_references(config["input_layers"]), lambda reference: reference[0], entrances)
    nodes: list[Node] = []
    for entry in config["layers"]:
        operation, name = operations[entry["name"]], prefix + entry["name"]
        _check(operation, entry, name)
        received: list[str] = []
        node = Node(
            name=name,
            kind=type(operation),
            config=_config(operation, entry["config"]),
            call=_call(entry, edges, received),
            inputs=(outer[entrances.index(entry["name"])],) if entry["name"] in entrances and outer else (*received,),
            shape=shapes[entry["name"], 0],
            dtype=keras.tree.flatten(operation.output)[0].dtype,
            further_shapes={k: shape for (layer, k), shape in shapes.items() if layer == entry["name"] and k},
        )
        if isinstance(operation, keras.Model):
            inner, outputs, frame = read_model(operation, f"{name}/", node.inputs)
            edges |= {(entry["name"], number): edge for number, edge in enumerate(outputs)}
            nodes += [*inner, replace(node, config={}, frame=frame, inner_outputs=outputs)]
        else:
            nodes.append(node.changed(weights=tuple(getattr(operation, "get_weights", list)())))
    given: list[str] = []
    output_structure = _with_slots(_references(config["output_layers"]), edges.__getitem__, given)
    frame = Frame(
        sequential=isinstance(model, keras.Sequential),
        name=model.name,
        trainable=model.trainable,
        entrances=tuple(entrances),
        inputs=input_structure,
        outputs=output_structure,
        compiled=compiled,
        objects={getattr(each, "__name__", type(each).__name__): each for each in _own_objects(model)},
    )
    return nodes, tuple(given), frame


def _configs(functional: keras.Model, model: keras.Model) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The configuration of the layers, and that of the compilation if there is one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a lambda: nothing is stored here
        try:
            return functional.get_config(), model.get_compile_config() if model.compiled else None
        except Exception as error:  # Anything that a get_config of the user's raises.
            raise UnsupportedLayer(f"{_without_config(functional)} Keras says: {first_line(error)}") from error


def _without_config(functional: keras.Model) -> str:
    for layer in functional.layers:
        try:
            keras.saving.serialize_keras_object(layer)
        except Exception:  # As above.
            return (
                f"Layer {layer.name!r}, a {type(layer).__name__}, has no configuration to build it again from; give "
                "it a get_config that returns the arguments of its __init__, and functions that have a name."
            )
    return f"The model {functional.name!r} has no configuration to build it again from."


def _own_objects(model: keras.Model) -> list[Any]:
    """The functions and classes of the user that a compiled model's losses, metrics and optimizer may be made of."""
    if not model.compiled:
        return []
    arguments = getattr(getattr(model, "_compile_config", None), "config", {})  # Keras keeps metrics nowhere else.
    parts = keras.tree.flatten([model.loss, arguments.get("metrics"), arguments.get("weighted_metrics")])
    parts += [part._fn for part in parts if hasattr(part, "_fn")]
    objects = [part if inspect.isroutine(part) or inspect.isclass(part) else type(part) for part in parts]
    return [type(model.optimizer), *(each for each in objects if each.__module__ != "builtins")]


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


def _check(operation: Any, entry: Mapping[str, Any], name: str) -> None:
    """Refuse what could not be built again as it was."""
    calls = len(entry["inbound_nodes"])
    if calls > 1:
        raise UnsupportedLayer(f"Layer {name!r} is called {calls} times; give each call a layer of its own.")
    if getattr(getattr(operation, "dtype_policy", None), "quantization_mode", None):
        raise UnsupportedLayer(f"Layer {name!r} is quantised; operate on the model first, and quantise it then.")
    if getattr(operation, "stateful", False) is True:
        raise UnsupportedLayer(
            f"Layer {name!r} is stateful, and its state would be lost; build it without stateful=True."
        )
    activation = entry["config"].get("activation")
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


def _call(
    entry: Mapping[str, Any], edges: Mapping[Reference, str], received: list[str]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """The arguments of a layer's call, whose tensors are appended to `received`; None for one tensor or one list."""
    if not entry["inbound_nodes"]:
        return None
    (call,) = entry["inbound_nodes"]
    arguments = tuple(_with_slots(argument, edges.__getitem__, received) for argument in call["args"])
    keywords = {
        key: _with_slots(value, edges.__getitem__, received)
        for key, value in call["kwargs"].items()
        if value is not None
    }
    slots = [Slot(number) for number in range(len(received))]
    plain = not keywords and arguments in (((slots if len(slots) > 1 else slots[0]),) if slots else (),)
    return None if plain else (arguments, keywords)


def _config(operation: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """A layer's configuration without its name, and with the functions of the user instead of their names."""
    live = {key: getattr(operation, key, None) for key, value in config.items() if isinstance(value, Mapping)}
    functions = {key: value for key, value in live.items() if inspect.isfunction(value)}
    return {key: functions.get(key, value) for key, value in config.items() if key != "name"}


def _shapes(
    config: Mapping[str, Any], functional: keras.Model, operations: Mapping[str, Any]
) -> dict[Reference, tuple[int | None, ...]]:
    """The shape of each tensor that is used, and of each layer's first one, without its batch axis."""
    firsts = {name: keras.tree.flatten(operation.output)[0] for name, operation in operations.items()}
    shapes = {(name, 0): tuple(tensor.shape[1:]) for name, tensor in firsts.items()}
    shapes |= {
        (tensor["keras_history"][0], tensor["keras_history"][2]): tuple(tensor["shape"][1:])
        for tensor in _serialised_tensors([entry["inbound_nodes"] for entry in config["layers"]])
    }
    ends: list[Reference] = []
    _with_slots(_references([config["input_layers"], config["output_layers"]]), lambda reference: reference, ends)
    tensors = [*functional.inputs, *functional.outputs]
    return shapes | {end: tuple(tensor.shape[1:]) for end, tensor in zip(ends, tensors, strict=True)}


def _serialised_tensors(arguments: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(arguments, Mapping):
        if arguments.get("class_name") == "__keras_tensor__":
            yield arguments["config"]
            return
        arguments = list(arguments.values())
    if isinstance(arguments, list | tuple):
        for argument in arguments:
            yield from _serialised_tensors(argument)


def _references(structure: Any) -> Any:
    """A model's `input_layers` or `output_layers`, with each `[name, call, output]` in the form of a call's tensors."""
    if isinstance(structure, Mapping):
        return {key: _references(part) for key, part in structure.items()}
    if len(structure) == 3 and isinstance(structure[0], str) and isinstance(structure[1], int):
        return {"class_name": "__keras_tensor__", "config": {"keras_history": structure}}
    return [_references(part) for part in structure]


def _with_slots(structure: Any, named: Callable[[Reference], Any], tensors: list[Any]) -> Any:
    """Serialised arguments as Python values, with slots for tensors, which are named and appended to a list."""
    if isinstance(structure, list | tuple):
        return [_with_slots(part, named, tensors) for part in structure]
    if not isinstance(structure, Mapping):
        return structure
    if structure.get("class_name") == "__keras_tensor__":
        name, _, output = structure["config"]["keras_history"]
        tensors.append(named((name, output)))
        return Slot(len(tensors) - 1)
    if structure.get("class_name") == "__tuple__":
        return tuple(_with_slots(part, named, tensors) for part in structure["config"]["value"])
    if "class_name" in structure:
        return keras.saving.deserialize_keras_object(dict(structure))
    # Keras numbers the tensors of a dictionary in the order of its keys' names.
    parts = {key: _with_slots(structure[key], named, tensors) for key in sorted(structure)}
    return {key: parts[key] for key in structure}
