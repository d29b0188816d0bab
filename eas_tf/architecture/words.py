"""Transformations in words."""

from eas_tf.architecture.architecture import Architecture
from eas_tf.architecture.layers import Dense
from eas_tf.architecture.parsing import parse_architecture
from eas_tf.architecture.plain import PlainCNN
from eas_tf.architecture.transformations import Net2Wider, Transformation, parse_transformation
from eas_tf.errors import EASError

#: Large enough for any pools: a layer string does not say how large the images are.
_IMAGES = (2**40, 2**40, 3)

#: Stands for a width that depends on that: of a fully connected layer inserted where a feature map is flattened.
_UNKNOWN = 1


def in_words(architecture: str, transformations: str) -> list[str]:
    """Each transformation in words, with the layers counted from 1, as they are when it is done.

    One that cannot be read, and all after it, are left as they are.

    Args:
        architecture: Layer string of the network that is transformed.
        transformations: Separated by spaces.
    """
    words, texts = [], transformations.split()
    try:
        network = parse_architecture(architecture, _IMAGES)
        for text in texts:
            phrase, network = _done(parse_transformation(text), network)
            words.append(phrase)
    except (EASError, IndexError):
        pass
    return words + texts[len(words) :]


def _done(step: Transformation, network: Architecture) -> tuple[str, Architecture]:
    """One transformation in words, and the network after it."""
    if isinstance(step, Net2Wider):
        layer = network.layers[step.layer]
        before = "" if layer.width == _UNKNOWN else f"from {layer.width} "
        return f"widen layer {step.layer + 1} {before}to {step.width} {layer.unit}", step.apply(network)
    index = step.index_in(network)
    if isinstance(network, PlainCNN) and step.kernel is None:
        before_it = network.layers[index - 1]
        layers = [*network.layers]
        layers.insert(index, before_it if isinstance(before_it, Dense) else Dense(_UNKNOWN))
        child: Architecture = PlainCNN(tuple(layers), _IMAGES)
    else:
        child = step.apply(network)
    return f"insert {child.layers[index].words} after layer {index}", child
