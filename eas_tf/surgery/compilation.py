"""How a model is compiled, carried over to another model by the objects themselves.

Names and `get_config` would lose what a user's own losses, metrics and optimizers hold. Losses and schedules are the
same objects in both models. Metrics and optimizers are made anew, with all of their settings, because they keep the
state of one training.
"""

import contextlib
import copy
import dis
import functools
import inspect
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import keras

from eas_tf.surgery.messages import keras_reason, one_line

#: Where a weight is: its layer's name, and its number among the layer's weights. The keys are Python's ids.
Places: TypeAlias = dict[int, tuple[str, int]]

#: How the attributes begin in which optimizers keep what belongs to one model's variables, and TensorFlow its own.
_BOUND_TO_VARIABLES = ("_exclude_from_weight_decay", "_self_")

#: The methods of the user's losses, metrics and layers that Keras itself calls.
_CALLED_BY_KERAS = ("__call__", "build", "call", "compute_mask", "result", "update_state")


@dataclass(frozen=True, eq=False, kw_only=True)
class Compilation:
    """What a model was compiled with."""

    arguments: Mapping[str, Any]
    """Those of `compile`, with the objects themselves."""
    keys: Mapping[Any, tuple[str, int]] = field(default_factory=dict)
    """Where the weights are, by what optimizers call them that exclude some from weight decay."""
    obstacle: str | None = None
    """Why it cannot be carried over, if it cannot."""


def read_compilation(model: keras.Model, places: Places) -> Compilation | None:
    """How a model is compiled; None if it is not.

    Args:
        model: The model.
        places: Where its weights are.
    """
    if not model.compiled:
        return None
    noted = getattr(getattr(model, "_compile_config", None), "config", None)
    if noted is None:
        return Compilation(arguments={}, obstacle="its compile() notes no arguments")
    arguments = {**noted, "optimizer": model.optimizer}
    try:
        used = reaches([noted.get(key) for key in ("loss", "metrics", "weighted_metrics")], places)
    except Exception as error:  # Objects of the user's may raise when they are looked at, which reading must bear.
        return Compilation(arguments=arguments, obstacle=keras_reason(error))
    weights = [variable for variable in model.variables if id(variable) in places]
    return Compilation(
        arguments=arguments,
        keys={model.optimizer._var_key(each): places[id(each)] for each in weights} if model.optimizer else {},
        obstacle=used and f"a loss or metric uses the weights of {used!r}",
    )


def compile_like(model: keras.Model, compilation: Compilation, layers: Mapping[str, Any]) -> None:
    """Compile a model as another one, or say in a warning that it is left as it is, and why.

    Args:
        model: The new model.
        compilation: The other model's.
        layers: The new model's layers by the names that they have in `compilation`.
    """
    try:
        if compilation.obstacle:
            raise ValueError(compilation.obstacle)
        anew: dict[int, Any] = {}
        arguments = {
            key: keras.tree.map_structure(lambda part: _metric_anew(part, anew), value) if "metrics" in key else value
            for key, value in compilation.arguments.items()
        }
        old, optimizers = compilation.arguments["optimizer"], dict[int, tuple[Any, Any]]()
        new = _optimizer_anew(old, optimizers) if old else None
        model.compile(**{**arguments, "optimizer": new})
        for each in optimizers.values():
            _exclude(*each, {key: layers[name].weights[index] for key, (name, index) in compilation.keys.items()})
        if new:
            model.optimizer.build(model.trainable_variables)
            _check_complete(old, new)
    except Exception as error:  # Whatever a class of the user's raises.
        model.compiled = False
        problem = f"The new model {model.name!r} is not compiled, compile it yourself"
        warnings.warn(one_line(problem, keras_reason(error), "The weights are right."), UserWarning, stacklevel=2)


def reaches(parts: Iterable[Any], places: Places) -> str | None:
    """The name of a layer whose weights are used by functions or objects of the user's; None if none is.

    It is looked for in what functions close over, take by default and know as globals, and in what objects hold by
    names that the code of these functions has.
    """
    for part in _reached(parts):
        if isinstance(part, keras.Variable | keras.Layer):
            for variable in getattr(part, "variables", [part]):
                if id(variable) in places:
                    return places[id(variable)][0]
    return None


def _reached(parts: Iterable[Any]) -> list[Any]:
    """All that functions and objects of the user's can get hold of, themselves included."""
    parts, names, known = list(parts), set[str](), -1
    found: dict[int, Any] = {}
    while len(names) > known:  # Code that was found late may have names that were passed over before.
        known, found, pending = len(names), {}, list(parts)
        while pending:
            part = pending.pop()
            if id(part) not in found:
                found[id(part)] = part
                if not isinstance(part, keras.Variable | keras.Layer):
                    pending += _held(part, names)
    return list(found.values())


def _held(part: Any, names: set[str]) -> Iterable[Any]:
    """What a container, a function or an object holds; nothing, if it is not the user's.

    Args:
        part: What may hold something.
        names: Those of attributes in the code of all functions so far; to which a function's are added.
    """
    if isinstance(part, list | tuple | set | frozenset):
        return part
    if isinstance(part, Mapping):
        return part.values()
    if isinstance(part, functools.partial):
        return [part.func, part.args, part.keywords]
    if inspect.ismethod(part):
        return [part.__func__, part.__self__]
    if hasattr(part, "python_function"):  # of TensorFlow, as `tf.function` makes them
        return [part.python_function]
    if inspect.isfunction(part):
        return [] if _is_of_a_library(part) else _used(part, names)
    kinds = part.__mro__ if inspect.isclass(part) else type(part).__mro__
    scopes: list[Mapping[str, Any]] = [vars(kind) for kind in kinds if not _is_of_a_library(kind)]
    own = {} if inspect.isclass(part) else getattr(part, "__dict__", {})
    wraps = isinstance(part, keras.losses.Loss | keras.Metric)  # functions, which code of Keras calls
    held = [value for value in own.values() if wraps and inspect.isroutine(value)]
    if scopes:
        called = names.union(_CALLED_BY_KERAS)
        held += [value for scope in [*scopes, own] for name, value in scope.items() if name in called]
    return held


def _is_of_a_library(part: Any) -> bool:
    return str(part.__module__).partition(".")[0] in ("builtins", "jax", "keras", "numpy", "tensorflow", "torch")


def _used(function: Any, names: set[str]) -> Iterator[Any]:
    """What a function closes over, its default arguments, and the globals that its code loads."""
    yield from (function.__defaults__ or (), function.__kwdefaults__ or {})
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # It may be empty.
            yield cell.cell_contents
    codes = [function.__code__]
    for code in codes:
        codes += [each for each in code.co_consts if inspect.iscode(each)]
        for instruction in dis.get_instructions(code):
            if instruction.opname == "LOAD_GLOBAL" and instruction.argval in function.__globals__:
                yield function.__globals__[instruction.argval]
            elif instruction.opname in ("LOAD_ATTR", "LOAD_METHOD"):
                names.add(instruction.argval)


def _metric_anew(metric: Any, anew: dict[int, Any]) -> Any:
    """A metric of the same class and settings with variables of its own. Names and functions are what they were.

    Args:
        metric: What `compile` was given.
        anew: The metrics and variables that were made already, by the ids of the old ones.
    """
    if not isinstance(metric, keras.Metric):
        return metric
    if id(metric) not in anew:
        anew[id(metric)] = new = object.__new__(type(metric))
        keras.Metric.__init__(new, dtype=metric.dtype, name=metric.name)
        begun = set(vars(new))
        for name, value in vars(metric).items():
            if inspect.ismethod(value) and value.__self__ is metric:
                setattr(new, name, value.__func__.__get__(new))
            elif inspect.isroutine(value) and any(each is metric for each in _reached([value])):
                raise ValueError(f"the metric {metric.name!r} keeps a function, {name!r}, that uses the metric itself")
            elif name not in begun:
                part = functools.partial(_state_anew, owner=new, anew=anew)
                setattr(new, name, keras.tree.map_structure(part, value) if _has_state(value) else value)
        if len(new.variables) != len(metric.variables):
            raise ValueError(f"the metric {metric.name!r} keeps variables where surgery does not find them")
        new.reset_state()
    return anew[id(metric)]


def _state_anew(value: Any, owner: keras.Metric, anew: dict[int, Any]) -> Any:
    """A variable of the owner's with the same value, or a metric; all else is what it was."""
    if not isinstance(value, keras.Variable):
        return _metric_anew(value, anew)
    if id(value) not in anew:
        anew[id(value)] = owner.add_variable(
            value.shape, "zeros", dtype=value.dtype, aggregation=value.aggregation, name=value.name
        )
        anew[id(value)].assign(value)  # What `reset_state` leaves alone is a setting.
    return anew[id(value)]


def _optimizer_anew(optimizer: keras.Optimizer, anew: dict[int, tuple[Any, Any]]) -> Any:
    """An optimizer of the same class and settings that has seen no variables.

    Args:
        optimizer: The old one.
        anew: The optimizers that were made already, each with the old one, by the ids of the old ones.
    """
    if id(optimizer) not in anew:
        new = object.__new__(type(optimizer))
        anew[id(optimizer)] = optimizer, new
        rate = optimizer._learning_rate
        if isinstance(rate, keras.Variable):
            rate = float(keras.ops.convert_to_tensor(rate))
        keras.optimizers.Optimizer.__init__(new, rate, name=optimizer.name)
        begun = {name for name in vars(new) if name.startswith("_")} | {"built"}
        for name, value in vars(optimizer).items():
            if name not in begun and not name.startswith(_BOUND_TO_VARIABLES):
                if not _has_state(value):
                    setattr(new, name, _with_optimizers_anew(value, anew))
                elif isinstance(value, list | dict):
                    setattr(new, name, [] if isinstance(value, list) else {})  # `build` fills it, or replaces it.
    return anew[id(optimizer)][1]


def _with_optimizers_anew(value: Any, anew: dict[int, tuple[Any, Any]]) -> Any:
    """A setting in which each optimizer is a new one, whatever holds it."""
    if isinstance(value, keras.Optimizer):
        return _optimizer_anew(value, anew)
    if isinstance(value, list | tuple):
        return type(value)([_with_optimizers_anew(part, anew) for part in value])
    if isinstance(value, dict):
        return {key: _with_optimizers_anew(part, anew) for key, part in value.items()}
    if isinstance(value, keras.optimizers.OptimizerMap):
        new = copy.copy(value)
        vars(new).update(_with_optimizers_anew(dict(vars(value)), anew))
        return new
    if inspect.isfunction(value) and any(isinstance(each, keras.Optimizer) for each in _reached([value])):
        raise ValueError("the optimizer chooses among others by a function, which would choose the old ones")
    return value


def _has_state(value: Any) -> bool:
    parts = keras.tree.flatten(list(value) if isinstance(value, list) else value)
    return any(isinstance(part, keras.Variable | keras.Metric) for part in parts)


def _exclude(old: Any, new: Any, weights: Mapping[Any, keras.Variable]) -> None:
    """Exclude from weight decay what the old optimizer was told to, by variable or by name."""
    pattern = getattr(old, "_exclude_from_weight_decay_pattern", None)
    variables = [weights[key] for key in getattr(old, "_exclude_from_weight_decay", ()) if key in weights]
    if variables or pattern:
        new.exclude_from_weight_decay(variables, [pattern.pattern] if pattern else None)


def _check_complete(old: Any, new: Any) -> None:
    """Refuse an optimizer that lacks what the old one keeps."""
    for name, value in vars(old).items():
        if name.startswith(_BOUND_TO_VARIABLES):
            continue
        empty = isinstance(value, list | dict) and len(value) > 0 and not vars(new).get(name)
        if name not in vars(new) or (empty and _has_state(value)):
            raise ValueError(f"the optimizer {old.name!r} keeps {name!r}, which its build() does not make")
