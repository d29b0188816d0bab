"""Net2Wider on a layer graph: EAS paper, section "Net2Wider Operation", Eqs. 1 to 4."""

from collections.abc import Iterable
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

import keras
import numpy as np

from eas_tf.errors import EASError, IllegalTransformation, UnsupportedLayer
from eas_tf.surgery.channel_map import SymmetryBreaking, check_symmetry_breaking
from eas_tf.surgery.coupling import Channels, Coupling, Replicas
from eas_tf.surgery.graph import LayerGraph
from eas_tf.surgery.messages import cut, keras_reason, shown
from eas_tf.surgery.node import Node, tensor
from eas_tf.surgery.rules import Maker, Rule, rule_of

#: Standard deviation of the noise on replicas, relative to that of the kernel (the paper's code).
NOISE = 1e-2

#: How far weights may be apart that are called equal, by their type; more in half precision.
ROUNDING = {"float64": 1e-8, "float32": 3e-4}

#: How many times as wide a layer gets in the trial that shows whether constraints stand in its way.
MUCH_WIDER = 8


class Strands:
    """The channels of all tensors of a graph, and their coupling."""

    def __init__(self, graph: LayerGraph) -> None:
        self.graph, self.coupling = graph, Coupling()
        self.channels: dict[str, Channels] = {}
        self.rules = {node.name: rule_of(node) for node in graph.nodes if node.frame is None}
        self.nodes = [node for node in graph.nodes if node.frame is None]
        for node in graph.nodes:
            if node.frame is None:
                self._follow(node)
            self._fix_masks(node)
        for edge in graph.outputs:
            why = IllegalTransformation("its channels are an output of the model")
            self.coupling.fix(self.channels[edge], why)

    def _follow(self, node: Node) -> None:
        made = self.rules[node.name].channels(node, self.incoming(node), self.coupling)
        if not isinstance(made, Channels):
            raise _wrong_rule(node, "channels", made)
        self.channels[node.name] = replace(made, shape=node.shape)
        for number, shape in node.further_shapes.items():
            several = UnsupportedLayer(f"surgery has no rule for {node.name!r}, which has several outputs")
            count = (shape[-1] or 1) if shape else 1
            self.channels[tensor(node.name, number)] = replace(self.coupling.fixed(count, several), shape=shape)

    def _fix_masks(self, node: Node) -> None:
        """No replicas in a mask. What a model within the model is given as one acts unseen on all that is in it."""
        masks = {node.inputs[number] for number in node.given_as_masks}
        for edge in masks if node.frame else masks.difference(self.graph.data(node)):
            self.coupling.fix(self.channels[edge], UnsupportedLayer(f"{node.name!r} takes them as a mask"))

    def incoming(self, node: Node) -> list[Channels]:
        """The channels of what a node receives, masks left out."""
        return [self.channels[edge] for edge in self.graph.data(node)]

    def makers(self) -> dict[str, Maker]:
        """The rules of the layers that make channels of their own, by the layers' names."""
        return {name: rule for name, rule in self.rules.items() if isinstance(rule, Maker)}

    def widenable(self) -> dict[str, int]:
        """The layers that can be widened, with the numbers of their channels."""
        return {name: len(self.channels[name]) for name in self.makers() if not self.why_not(name)}

    def why_not(self, name: str) -> EASError | None:
        """Why a layer cannot be widened; None if it can."""
        channels = self.channels[name]
        return self.coupling.why_fixed(channels) or self.why_constrained(name, MUCH_WIDER * len(channels))

    def why_constrained(self, name: str, width: int) -> EASError | None:
        """Which constraint stands in the way of a new width; None if none does."""
        if not any(node.constraints for node in self.nodes):
            return None
        rng = np.random.default_rng(0)
        try:
            replicas = self.coupling.replicas(self.channels[name], width, rng=rng, equal_shares=False)
            with_replicas(self, replicas, None)
        except UnsupportedLayer as error:
            return error
        return None

    def check(self, name: str) -> None:
        """Refuse a layer that cannot be widened.

        Raises:
            EASError: A child of it that says why.
        """
        if not isinstance(name, str) or name not in self.rules:
            raise missing(name, self.graph)
        why, rule = self.coupling.why_fixed(self.channels[name]), self.rules[name]
        if not isinstance(rule, Maker) and type(rule).rewrite is not Rule.rewrite:
            why = IllegalTransformation("it makes no channels of its own")
        if why:
            raise type(why)(f"Layer {name!r} cannot be widened: {why}. {possible('widened', self.widenable())}")


def _wrong_rule(node: Node, method: str, received: object) -> UnsupportedLayer:
    expected = {"channels": "Channels", "rewrite": "a Node"}[method]
    return UnsupportedLayer(
        f"The rule of {node.name!r}, a {node.layer}, is wrong: its {method} must return {expected}. Received: "
        f"{shown(received)}"
    )


def possible(operation: str, names: Iterable[str]) -> str:
    """Which layers an operation is possible on, as a sentence."""
    first = list(names)
    listed = ", ".join(first[:20]) + (", …" if len(first) > 20 else "")
    return f"The layers that can be {operation} are {listed}." if first else f"No layer here can be {operation}."


def missing(name: str, graph: LayerGraph) -> IllegalTransformation:
    """The error for a layer that is not there."""
    if not isinstance(name, str):
        return IllegalTransformation(f"A layer is given by its name, for example layer.name. Received: {name!r}")
    names = [node.name for node in graph.nodes if node.frame is None]
    inner = [each for each in names if each.startswith(f"{name}/")]
    if inner:
        return IllegalTransformation(f"{name!r} is a model within the model. Its layers are {', '.join(inner[:20])}.")
    near = get_close_matches(str(name), names, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"Its layers are {', '.join(names[:20])}."
    return IllegalTransformation(f"The model has no layer {name!r}. {hint}")


def widen_graph(
    graph: LayerGraph,
    name: str,
    width: int,
    *,
    rng: np.random.Generator,
    symmetry_breaking: SymmetryBreaking = "shares",
) -> LayerGraph:
    """The graph in which layer `name` has `width` channels, and with it all that is tied to it by joins.

    Args:
        graph: The parent. It is not changed.
        name: A layer that makes channels of its own.
        width: Their new number.
        rng: Draws which channels are replicated, with which shares, and the noise.
        symmetry_breaking: "shares" keeps the function; "noise" is the paper's, and changes it a little.

    Raises:
        InvalidConfiguration: If there is no such way of breaking symmetry.
        IllegalTransformation: If there is no such layer, it is not narrower, or its channels are the graph's output.
        UnsupportedLayer: If the new channels would reach a layer that cannot bear them.
    """
    check_symmetry_breaking(symmetry_breaking)
    strands = Strands(graph)
    strands.check(name)
    noisy = symmetry_breaking == "noise"
    try:
        replicas = strands.coupling.replicas(strands.channels[name], width, rng=rng, equal_shares=noisy)
        return with_replicas(strands, replicas, rng if noisy else None)
    except EASError as error:
        raise type(error)(f"Layer {name!r} cannot be widened to {width!r}: {error}") from None


def with_replicas(strands: Strands, replicas: Replicas, noise: np.random.Generator | None) -> LayerGraph:
    """The graph with every layer rewritten whose channels are replicated, and noise on the replicas if it is drawn."""
    changed: dict[str, Node] = {}
    for node in strands.nodes:
        incoming = [replicas.map(channels) for channels in strands.incoming(node)]
        outgoing = replicas.map(strands.channels[node.name])
        if outgoing or any(incoming):
            rule = strands.rules[node.name]
            changed[node.name] = rule.rewrite(node, incoming, outgoing)
            if not isinstance(changed[node.name], Node):
                raise _wrong_rule(node, "rewrite", changed[node.name])
            if node.constraints:
                _check_constraints(changed[node.name], rule.rewrite(_constrained(node), incoming, outgoing))
            if noise and outgoing and isinstance(rule, Maker):
                changed[node.name] = rule.with_noise(changed[node.name], outgoing, NOISE, noise)
    return strands.graph.replaced(changed)


def _constrained(node: Node) -> Node:
    """The node after a training step that changes nothing: Keras then calls the constraints on the weights."""

    def after(constraint: Any, weight: np.ndarray) -> np.ndarray:
        if constraint is None:
            return weight
        try:
            called = constraint(keras.ops.convert_to_tensor(weight))
        except Exception as error:  # Whatever a constraint of the user's raises.
            raise UnsupportedLayer(
                f"{_named(constraint)} of {node.name!r} does not take its new shape: {cut(keras_reason(error))}"
            ) from error
        return np.asarray(keras.ops.convert_to_numpy(called), weight.dtype)

    return node.changed(weights=tuple(map(after, node.constraints, node.weights)))


def _named(constraint: Any) -> str:
    return f"the constraint {getattr(constraint, '__name__', type(constraint).__name__)}"


def _check_constraints(rewritten: Node, expected: Node) -> None:
    """Refuse weights that a training step would take away from the parent's function.

    Args:
        rewritten: The node with its new weights.
        expected: What rewriting the old weights gives after such a step.
    """
    stepped = _constrained(rewritten)
    for constraint, got, wanted in zip(rewritten.constraints, stepped.weights, expected.weights, strict=True):
        got, wanted, rounding = got.astype(float), wanted.astype(float), ROUNDING.get(str(wanted.dtype), 0.03)
        if constraint and not np.allclose(got, wanted, rtol=rounding, atol=rounding * np.abs(wanted).max(initial=0)):
            raise UnsupportedLayer(
                f"{_named(constraint)} of {rewritten.name!r} would change its new weights after a training step, and "
                "with them the function; widen another layer, or build it without the constraint"
            )


def explain_graph(graph: LayerGraph, name: str) -> str:
    """What widening layer `name` would touch and why, in a few lines."""
    strands = Strands(graph)
    if not isinstance(name, str) or name not in strands.makers():
        strands.check(name)  # says why not
    made, coupling, makers = strands.channels[name], strands.coupling, strands.makers()
    head = f"{name} ({graph[name].layer}, {len(made)} channels)"
    why, step = strands.why_not(name), coupling.step(made)
    if why:
        a_little = not coupling.why_fixed(made) and not strands.why_constrained(name, len(made) + step)
        return f"{head} cannot be widened{' by much' * a_little}: {why}."

    def touched(channels: Channels) -> bool:
        return bool(np.isin(coupling.roots(channels), coupling.roots(made)).any())

    joins = [join for join, channels in coupling.joins if touched(channels)]
    giving = [node.name for node in strands.nodes if touched(strands.channels[node.name])]
    taking = [node.name for node in strands.nodes if any(map(touched, strands.incoming(node)))]
    roles = {
        "is tied to it, and gets the same replicas": [each for each in giving if each in makers and each != name],
        "ties them together": joins,
        "repeats its weights, or passes the channels on": [n for n in giving if n not in makers and n not in joins],
        "takes the replicas by their shares": [each for each in taking if each in makers or each not in giving],
    }
    lines = [f"{head} can be widened{f' by {step} or multiples' * (step > 1)}."]
    lines += [f"  {role}: {', '.join(names)}" for role, names in roles.items() if names]
    return "\n".join(lines)
