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
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras

from eas_tf.surgery.messages import keras_reason, one_line

#: Where a weight is: its layer's name, and its number among the layer's weights. The keys are Python's ids.
Places: TypeAlias = dict[int, tuple[str, int]]

#: How the attributes begin in which optimizers keep what belongs to one model's variables, and TensorFlow its own.
_BOUND_TO_VARIABLES = ("_exclude_from_weight_decay", "_self_")


@dataclass(frozen=True, eq=False, kw_only=True)
class Compilation:
    """What a model was compiled with."""

    arguments: Mapping[str, Any]
    """Those of `compile`, with the objects themselves."""
    undecayed: frozenset[tuple[str, int]] = frozenset()
    """The weights that the optimizer was told to exclude from weight decay one by one."""
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
    parts = keras.tree.flatten([noted.get(key) for key in ("loss", "metrics", "weighted_metrics")])
    used = reaches(parts, places)
    innermost = _innermost(model.optimizer)
    excluded = getattr(innermost, "_exclude_from_weight_decay", ())
    keys = {} if innermost is None else {innermost._var_key(variable): variable for variable in model.variables}
    return Compilation(
        arguments=arguments,
        undecayed=frozenset(places[id(keys[key])] for key in excluded if key in keys and id(keys[key]) in places),
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
        old = compilation.arguments["optimizer"]
        new = _optimizer_anew(old, {}) if old else None
        model.compile(**{**arguments, "optimizer": new})
        if new:
            _exclude(old, new, [layers[name].weights[index] for name, index in sorted(compilation.undecayed)])
            model.optimizer.build(model.trainable_variables)
            _check_complete(old, new)
    except Exception as error:  # Whatever a class of the user's raises.
        model.compiled = False
        problem = f"The new model {model.name!r} is not compiled, compile it yourself"
        warnings.warn(one_line(problem, keras_reason(error), "The weights are right."), UserWarning, stacklevel=2)


def reaches(parts: Iterable[Any], places: Places) -> str | None:
    """The name of a layer whose weights are used by functions or objects of the user's; None if none is.

    It is looked for in what functions close over, take by default and know as globals, and in what objects hold.
    """
    pending, seen = list(parts), dict[int, Any]()
    while pending:
        part = pending.pop()
        if id(part) in seen:
            continue
        seen[id(part)] = part
        if isinstance(part, keras.Variable | keras.Layer):
            for variable in getattr(part, "variables", [part]):
                if id(variable) in places:
                    return places[id(variable)][0]
        else:
            pending += _held(part)
    return None


def _held(part: Any) -> Iterable[Any]:
    """What a container, a function or an object holds; nothing, if it is not the user's."""
    if isinstance(part, list | tuple | set | frozenset):
        return part
    if isinstance(part, Mapping):
        return part.values()
    if isinstance(part, functools.partial):
        return [part.func, part.args, part.keywords]
    if inspect.ismethod(part):
        return [part.__func__, part.__self__]
    if inspect.isfunction(part):
        return [] if _is_of_a_library(part) else _used(part)
    wraps_functions = isinstance(part, keras.losses.Loss | keras.Metric)
    if inspect.isclass(part) or (_is_of_a_library(type(part)) and not wraps_functions):
        return []
    return list(getattr(part, "__dict__", {}).values())


def _is_of_a_library(part: Any) -> bool:
    return str(part.__module__).partition(".")[0] in ("builtins", "jax", "keras", "numpy", "tensorflow", "torch")


def _used(function: Any) -> Iterator[Any]:
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


def _metric_anew(metric: Any, anew: dict[int, Any]) -> Any:
    """A metric of the same class and settings with variables of its own. Names and functions are what they were.

    Args:
        metric: What `compile` was given.
        anew: The metrics that were made already, by the ids of the old ones.
    """
    if not isinstance(metric, keras.Metric):
        return metric
    if id(metric) not in anew:
        anew[id(metric)] = new = object.__new__(type(metric))
        keras.Metric.__init__(new, dtype=metric.dtype, name=metric.name)
        own, variables = set(vars(new)), dict[int, Any]()

        def part(value: Any) -> Any:
            if isinstance(value, keras.Variable):
                if id(value) not in variables:
                    variables[id(value)] = new.add_variable(
                        value.shape, "zeros", dtype=value.dtype, aggregation=value.aggregation, name=value.name
                    )
                return variables[id(value)]
            return _metric_anew(value, anew)

        for name, value in vars(metric).items():
            if name not in own:
                setattr(new, name, keras.tree.map_structure(part, value) if _has_state(value) else value)
        if len(new.variables) != len(metric.variables):
            raise ValueError(f"the metric {metric.name!r} keeps variables where surgery does not find them")
        new.reset_state()
    return anew[id(metric)]


def _optimizer_anew(optimizer: keras.Optimizer, anew: dict[int, Any]) -> Any:
    """An optimizer of the same class and settings that has seen no variables.

    Args:
        optimizer: The old one.
        anew: The optimizers that were made already, by the ids of the old ones.
    """
    if id(optimizer) not in anew:
        anew[id(optimizer)] = new = object.__new__(type(optimizer))
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
    return anew[id(optimizer)]


def _with_optimizers_anew(value: Any, anew: dict[int, Any]) -> Any:
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
    if inspect.isfunction(value) and any(isinstance(each, keras.Optimizer) for each in _used(value)):
        raise ValueError("the optimizer chooses among others by a function, which would choose the old ones")
    return value


def _has_state(value: Any) -> bool:
    parts = keras.tree.flatten(list(value) if isinstance(value, list) else value)
    return any(isinstance(part, keras.Variable | keras.Metric) for part in parts)


def _innermost(optimizer: Any) -> Any:
    """The optimizer within those that scale losses."""
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    return optimizer


def _exclude(old: Any, new: Any, variables: list[keras.Variable]) -> None:
    """Exclude variables from weight decay, and those whose names match what the old optimizer was told."""
    pattern = getattr(_innermost(old), "_exclude_from_weight_decay_pattern", None)
    if variables or pattern:
        _innermost(new).exclude_from_weight_decay(variables, [pattern.pattern] if pattern else None)


def _check_complete(old: Any, new: Any) -> None:
    """Refuse an optimizer that lacks what the old one keeps."""
    for name, value in vars(old).items():
        if name.startswith(_BOUND_TO_VARIABLES):
            continue
        empty = isinstance(value, list | dict) and len(value) > 0 and not vars(new).get(name)
        if name not in vars(new) or (empty and _has_state(value)):
            raise ValueError(f"the optimizer {old.name!r} keeps {name!r}, which its build() does not make")
