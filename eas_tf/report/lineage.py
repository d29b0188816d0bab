"""How a network came to be: the networks that it has grown from, and what was done to them, in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from eas_tf.architecture import in_words
from eas_tf.metrics import Metric
from eas_tf.runs.record import Network


@dataclass(frozen=True, kw_only=True)
class Step:
    """One network of a lineage."""

    network: Network
    words: tuple[str, ...]
    """What was done to its parent."""
    gain: float
    """In what the metric says over its parent, a fraction; 0 for the start network."""
    growth: int
    """In parameters."""


def lineage(network: Network, networks: Sequence[Network], metric: Metric = "accuracy") -> list[Step]:
    """From the start network to this one."""
    by_number = {each.id: each for each in networks}
    family = [network]
    # A parent is finished before its child has a number: this ends, whatever a record says.
    while (parent := family[0].parent) is not None and parent in by_number and parent < family[0].id:
        family.insert(0, by_number[parent])
    steps = [Step(network=family[0], words=(), gain=0.0, growth=0)]
    for before, child in pairwise(family):
        steps.append(
            Step(
                network=child,
                words=tuple(in_words(before.architecture, child.transformations))
                if child.transformations
                else (f"train it for {child.epochs} more epoch{'s' * (child.epochs != 1)}",),
                gain=child.worth(metric) - before.worth(metric),
                growth=child.parameters - before.parameters,
            )
        )
    return steps
