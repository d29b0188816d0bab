"""Surgery on a Keras model of one's own: wider and deeper, with the same outputs.

Nothing here needs TensorFlow, or anything else of eas_tf: models may run on any Keras backend.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from eas_tf.errors import IllegalTransformation, InvalidConfiguration, InvalidData
from eas_tf.surgery.channel_map import SymmetryBreaking
from eas_tf.surgery.deepen import batch_norm_above, deepen_graph, deepenable_graph, identity_chain, why_no_room
from eas_tf.surgery.graph import LayerGraph
from eas_tf.surgery.messages import first_line, shown
from eas_tf.surgery.moments import measure_moments
from eas_tf.surgery.node import Node
from eas_tf.surgery.widen import Strands, explain_graph, missing, possible, widen_graph

#: A new layer of more parameters than this, and than this many times the model's, is inserted only when asked for.
ALWAYS_ALLOWED, TIMES_AS_LARGE = 4_000_000, 10


@dataclass(frozen=True)
class Widen:
    """A step of `grow`: what `widen` does."""

    layer: str
    units: int


@dataclass(frozen=True)
class Deepen:
    """A step of `grow`: what `deepen` does."""

    after: str
    kernel_size: int = 3


def widen(
    model: keras.Model,
    layer: str,
    units: int,
    *,
    rng: np.random.Generator | int,
    symmetry_breaking: SymmetryBreaking = "shares",
) -> keras.Model:
    """A new model with the same outputs, in which one layer has more filters or units (EAS paper, Eqs. 1 to 4).

    Layers that are tied to it, for example by a residual addition, are widened with it: see `explain`. If the model is
    compiled, so is the new one; the optimizer's slots (its momenta) start from nothing.

    Args:
        model: A functional or sequential model. It is not changed.
        layer: One of `widenable(model)`; a layer of a model within the model is called `"inner_model/layer"`.
        units: Its new number of filters or units.
        rng: Draws which channels are replicated, and with which shares; a number is the seed of one.
        symmetry_breaking: "shares" keeps the function, up to the rounding of the model's precision; "noise" is the
            paper's, and changes it a little.

    Raises:
        IllegalTransformation: If the layer cannot be widened to that.
        UnsupportedLayer: If the new channels would reach a layer that cannot bear them, or the model cannot be read.
        InvalidConfiguration: If weights are not finite, or another argument is none of the ones above.

    Example:
        >>> import keras
        >>> inputs = keras.Input((32, 32, 3))
        >>> x = keras.layers.Conv2D(16, 3, activation="relu", name="conv")(inputs)
        >>> x = keras.layers.GlobalAveragePooling2D()(x)
        >>> model = keras.Model(inputs, keras.layers.Dense(10)(x))
        >>> widen(model, "conv", 24, rng=0).get_layer("conv").filters
        24
    """
    return grow(model, [Widen(layer, units)], rng=rng, symmetry_breaking=symmetry_breaking)


def deepen(
    model: keras.Model,
    after: str,
    *,
    kernel_size: int = 3,
    data: Any = None,
    rng: np.random.Generator | int | None = None,
    symmetry_breaking: SymmetryBreaking = "shares",
    max_parameters: int | None = None,
) -> keras.Model:
    """A new model with the same outputs, in which a new layer comes after one whose values are never negative.

    The new layer is a convolution, or a dense layer after vectors and where a mask goes with the values, then a ReLU.
    If there is a batch norm above `after`, there is one in the new layer, with the same epsilon and momentum.

    Args:
        model: A functional or sequential model. It is not changed.
        after: One of `deepenable(model)`.
        kernel_size: Of the new convolution, odd.
        data: Training inputs `[n, ...]` as `fit` takes them: an array, a list, or a dictionary by the inputs' names. A
            few dozen will do. On them the moments of the values at `after` are measured; needed where the new layer has
            batch norm, so that it is nearly the identity in training mode too.
        rng: Draws the noise, or is the seed of what draws it; needed for "noise" only.
        symmetry_breaking: "shares" inserts the identity; "noise" perturbs its kernel as the paper's code does.
        max_parameters: The most parameters that the new layer may have. By default ten times as many as the model, and
            four million in any case: a dense layer behind a large Flatten has far more. `deepening_costs` tells them.

    Raises:
        IllegalTransformation: If no layer can be inserted there, or the data are missing.
        UnsupportedLayer: If the model cannot be read.
        InvalidConfiguration: If the kernel size is not odd, or weights are not finite.

    Example:
        >>> import keras
        >>> inputs = keras.Input((32, 32, 3))
        >>> x = keras.layers.Conv2D(16, 3, activation="relu", name="conv")(inputs)
        >>> x = keras.layers.GlobalAveragePooling2D()(x)
        >>> model = keras.Model(inputs, keras.layers.Dense(10)(x))
        >>> [layer.name for layer in deepen(model, "conv").layers][2:4]
        ['conv_deeper', 'conv_deeper_relu']
    """
    return grow(
        model,
        [Deepen(after, kernel_size)],
        data=data,
        rng=rng,
        symmetry_breaking=symmetry_breaking,
        max_parameters=max_parameters,
    )


def grow(
    model: keras.Model,
    steps: Iterable[Widen | Deepen],
    *,
    data: Any = None,
    rng: np.random.Generator | int | None = None,
    symmetry_breaking: SymmetryBreaking = "shares",
    max_parameters: int | None = None,
) -> keras.Model:
    """A new model with the same outputs, after any number of operations, which is built only once.

    Args:
        model: A functional or sequential model. It is not changed.
        steps: `Widen` and `Deepen` operations, in order. A step may name what an earlier one has inserted.
        data: As for `deepen`.
        rng: As for `widen` and `deepen`.
        symmetry_breaking: As for `widen` and `deepen`.
        max_parameters: As for `deepen`, for each new layer.

    Raises:
        IllegalTransformation: As `widen` and `deepen`.
        UnsupportedLayer: As `widen` and `deepen`.
        InvalidConfiguration: As `widen` and `deepen`.
    """
    graph = _read(model)
    generator = _generator(rng)
    if not isinstance(steps, Iterable):
        raise InvalidConfiguration(
            f"Steps are a list of Widen(layer, units) and Deepen(after). Received: {shown(steps)}"
        )
    steps = list(steps)
    if data is not None:
        graph = _measured(graph, data, [step.after for step in steps if isinstance(step, Deepen)])
    for step in steps:
        if isinstance(step, Widen):
            if rng is None:
                raise InvalidConfiguration("Widening draws at random: give rng, a np.random.Generator or a seed.")
            graph = widen_graph(graph, step.layer, step.units, rng=generator, symmetry_breaking=symmetry_breaking)
        elif isinstance(step, Deepen):
            if symmetry_breaking == "noise" and rng is None:
                raise InvalidConfiguration("Noise is drawn at random: give rng, a np.random.Generator or a seed.")
            graph = _deepened(graph, step, data, generator, symmetry_breaking, _most(max_parameters, graph))
        else:
            raise InvalidConfiguration(f"A step is Widen(layer, units) or Deepen(after). Received: {shown(step)}")
    return graph.to_keras()


def _most(max_parameters: int | None, graph: LayerGraph) -> int:
    """How many parameters a new layer may have."""
    if max_parameters is None:
        return max(ALWAYS_ALLOWED, TIMES_AS_LARGE * _size(graph.nodes))
    if not isinstance(max_parameters, int | np.integer) or isinstance(max_parameters, bool) or max_parameters < 0:
        raise InvalidConfiguration(f"max_parameters is a whole number from 0. Received: {shown(max_parameters)}")
    return int(max_parameters)


def _deepened(
    graph: LayerGraph,
    step: Deepen,
    data: Any,
    rng: np.random.Generator,
    symmetry_breaking: SymmetryBreaking,
    max_parameters: int,
) -> LayerGraph:
    after, places = step.after, deepenable_graph(graph)
    if not isinstance(after, str) or after not in graph or graph[after].frame:
        raise missing(after, graph)
    if after not in places:
        why = why_no_room(graph, graph[after]) or "its values may be negative, and a new layer ends in a ReLU"
        raise IllegalTransformation(f"No layer can be inserted after {after!r}: {why}. {possible('deepened', places)}")
    chain = identity_chain(graph, after, step.kernel_size)
    if (cost := _size(chain)) > max_parameters:
        raise IllegalTransformation(
            f"A new layer after {after!r} would have {cost:,} parameters, and the model has {_size(graph.nodes):,}. If "
            f"that is what you want, give max_parameters={cost}; a layer behind a pooling has fewer."
        )
    norm = batch_norm_above(graph, after)
    if norm and data is None:
        raise IllegalTransformation(
            f"A layer after {after!r} has batch norm, as {norm.name!r} above it, which is set from the values that "
            "arrive there: give data, a batch of training inputs."
        )
    if norm and graph[after].moments is None:  # a place that an earlier step has made without any
        graph = _measured(graph, data, [after])
    return deepen_graph(graph, after, chain, rng=rng, symmetry_breaking=symmetry_breaking)


def _measured(graph: LayerGraph, data: Any, places: Sequence[str]) -> LayerGraph:
    """The graph with the moments of those of these places where a new layer needs them."""
    names = [name for name in deepenable_graph(graph) if name in places and batch_norm_above(graph, name)]
    if not names:
        return graph
    try:
        measured = measure_moments(graph, data, names=names)
    except InvalidData:
        raise
    except Exception as error:  # Backends raise classes of their own.
        raise InvalidData(f"data must be training inputs as the model takes them. {first_line(error)}") from error
    for name in names:
        moments = measured[name].moments
        if moments is None or not np.isfinite([moments.mean, moments.variance]).all():
            raise InvalidData(f"The data make values at {name!r} that are not finite: give training inputs.")
    return measured


def _generator(rng: np.random.Generator | int | None) -> np.random.Generator:
    if rng is None or isinstance(rng, np.random.Generator):
        return np.random.default_rng(rng)
    if not isinstance(rng, int | np.integer) or isinstance(rng, bool) or rng < 0:
        raise InvalidConfiguration(f"rng is a np.random.Generator, or a seed from 0. Received: {shown(rng)}")
    return np.random.default_rng(rng)


def widenable(model: keras.Model) -> dict[str, int]:
    """The layers that `widen` can widen, with the number of filters or units that each has.

    That a layer of one's own can be built again from its `get_config` shows only when a model is built.

    Raises:
        UnsupportedLayer: If the model cannot be read.
    """
    return Strands(LayerGraph.from_keras(model)).widenable()


def deepenable(model: keras.Model) -> list[str]:
    """The layers after which `deepen` can insert a layer, without those where it would be too large.

    Raises:
        UnsupportedLayer: If the model cannot be read.
    """
    graph = LayerGraph.from_keras(model)
    most = _most(None, graph)
    return [after for after, cost in _costs(graph, 3).items() if cost <= most]


def deepening_costs(model: keras.Model, *, kernel_size: int = 3) -> dict[str, int]:
    """How many parameters a new layer would have, after each layer where one can be, however large.

    Args:
        model: A functional or sequential model.
        kernel_size: Of a new convolution, odd.

    Raises:
        UnsupportedLayer: If the model cannot be read.
        InvalidConfiguration: If the kernel size is not odd.
    """
    return _costs(LayerGraph.from_keras(model), kernel_size)


def _costs(graph: LayerGraph, kernel_size: int) -> dict[str, int]:
    return {after: _size(identity_chain(graph, after, kernel_size)) for after in deepenable_graph(graph)}


def _size(nodes: Iterable[Node]) -> int:
    """How many parameters some layers have."""
    return sum(weight.size for node in nodes for weight in node.weights)


def explain(model: keras.Model, layer: str) -> str:
    """Which layers a widening of `layer` would touch and why, or why it is not possible, as text.

    Raises:
        IllegalTransformation: If there is no such layer, or it makes no channels of its own.
        UnsupportedLayer: If the model cannot be read.
    """
    return explain_graph(LayerGraph.from_keras(model), layer)


def _read(model: keras.Model) -> LayerGraph:
    graph = LayerGraph.from_keras(model)
    if not any(node.weights for node in graph.nodes):
        raise IllegalTransformation(f"The model {model.name!r} has no weights, so there is nothing to widen or deepen.")
    for node in graph.nodes:
        if not all(np.isfinite(weight.sum(dtype=np.float64)) for weight in node.weights):
            raise InvalidConfiguration(f"The weights of layer {node.name!r} are not all finite: the model is broken.")
    return graph
