"""Networks as rows of the record, and rows as what was asked for and what was answered."""

import json
import math
from dataclasses import replace

from eas_tf.architecture import Architecture, parse_architecture, parse_move
from eas_tf.evaluation import Request, Result
from eas_tf.evaluation.child import Child
from eas_tf.metrics import as_found
from eas_tf.runs.record import Kind, Network
from eas_tf.search.plan import Plan


def row(
    plan: Plan,
    number: int,
    kind: Kind,
    request: Request,
    child: Child,
    *,
    parent: int | None,
    stage: int,
    batch: int = 0,
    epochs: int,
) -> Network:
    """What the record says of a network; `parent` is the number of the one that it has grown from."""
    config, architecture, result = plan.config, request.architecture, child.result
    loss = result.loss
    return Network(
        id=number,
        kind=kind,
        stage=stage,
        batch=batch,
        parent=parent,
        transformations=" ".join(map(str, request.transformations)),
        seed=request.seed,
        architecture=str(architecture),
        parameters=architecture.parameter_count,
        multiply_adds=architecture.multiply_adds,
        epochs=epochs,
        accuracy=float(result.accuracy),
        score=config.price.score(result.value(config.metric), architecture, plan.start),
        loss=None if loss is None or not math.isfinite(loss) else float(loss),
        seconds=float(result.seconds),
        failure=result.failure or "",
        reused=result.reused,
        curve=json.dumps(result.curve),
        stopped=result.stopped,
        digest=child.graph.digest if child.graph else "",
        found=json.dumps(result.found),
    )


def request_of(plan: Plan, network: Network, parent: str) -> Request:
    """What was asked for when a network was trained, which has grown from the one with the layer string `parent`."""
    recipe, curve = plan.recipe, json.loads(network.curve)
    return Request(
        parent=parent,
        transformations=tuple(map(parse_move, network.transformations.split())),
        architecture=architecture_of(plan, network),
        seed=network.seed,
        recipe=replace(recipe, epochs=network.epochs) if network.kind == "promoted" else None,
        # Floors that are reached, and after as many epochs as it had one that nobody reaches.
        floors=(*[0.0] * (len(curve) - 1), 2.0) if network.stopped else None,
    )


def result_of(network: Network) -> Result:
    """How a network did."""
    return Result(
        accuracy=network.accuracy,
        loss=network.loss,
        seconds=network.seconds,
        failure=network.failure or None,
        curve=tuple(json.loads(network.curve)),
        stopped=network.stopped,
        reused=network.reused,
        found=as_found(json.loads(network.found)),
    )


def architecture_of(plan: Plan, network: Network) -> Architecture:
    """Of a row."""
    return parse_architecture(network.architecture, plan.start.input_shape)
