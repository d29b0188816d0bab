"""How a network came to be: the networks that it has grown from, and what was done to them, in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from eas_tf.architecture import Dense, Net2Deeper, Net2Wider, PlainCNN, parse_transformation, width_of
from eas_tf.errors import EASError
from eas_tf.search.record import Network

#: Large enough for any pools: a record does not say how large its images are.
_IMAGES = (2**40, 2**40, 3)

#: Stands for a width that depends on that: of a fully connected layer inserted where a feature map is flattened.
_UNKNOWN = 1


@dataclass(frozen=True, kw_only=True)
class Step:
    """One network of a lineage."""

    network: Network
    words: tuple[str, ...]
    """What was done to its parent."""
    gain: float
    """In accuracy over its parent, a fraction; 0 for the start network."""
    growth: int
    """In parameters."""


def lineage(network: Network, networks: Sequence[Network]) -> list[Step]:
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
                gain=child.accuracy - before.accuracy,
                growth=child.parameters - before.parameters,
            )
        )
    return steps


def in_words(architecture: str, transformations: str) -> list[str]:
    """Each transformation in words, with the layers counted from 1, as they are when it is done.

    One that cannot be read, and all after it, are left as they are.

    Args:
        architecture: Layer string of the network that is transformed.
        transformations: Separated by spaces.
    """
    words, texts = [], transformations.split()
    try:
        network = PlainCNN.parse(architecture, _IMAGES)
        for text in texts:
            phrase, network = _done(parse_transformation(text), network)
            words.append(phrase)
    except (EASError, IndexError):
        pass
    return words + texts[len(words) :]


def _done(step: Net2Wider | Net2Deeper, network: PlainCNN) -> tuple[str, PlainCNN]:
    """One transformation in words, and the network after it."""
    if isinstance(step, Net2Wider):
        layer = network.layers[step.layer]
        before = "" if width_of(layer) == _UNKNOWN else f"from {width_of(layer)} "
        unit = "units" if isinstance(layer, Dense) else "filters"
        return f"widen layer {step.layer + 1} {before}to {step.width} {unit}", step.apply(network)
    index = step.index_in(network)
    if step.kernel is not None:
        return f"insert a {step.kernel}x{step.kernel} convolution after layer {index}", step.apply(network)
    before_it = network.layers[index - 1]
    layers = [*network.layers]
    layers.insert(index, before_it if isinstance(before_it, Dense) else Dense(_UNKNOWN))
    return f"insert a fully connected layer after layer {index}", PlainCNN(tuple(layers), _IMAGES)
