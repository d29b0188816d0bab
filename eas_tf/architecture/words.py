"""Moves in words."""

from eas_tf.architecture.moves import parse_move
from eas_tf.architecture.registry import parse_architecture
from eas_tf.errors import EASError

#: Large enough for any pools: a layer string does not say how large the images are.
_IMAGES = (2**40, 2**40, 3)


def in_words(architecture: str, moves: str) -> list[str]:
    """Each move in words, with the layers counted from 1, as they are when it is done.

    One that cannot be read, and all after it, are left as they are.

    Args:
        architecture: Layer string of the network that they begin with.
        moves: Separated by spaces.
    """
    words, texts = [], moves.split()
    try:
        network = parse_architecture(architecture, _IMAGES)
        for text in texts:
            phrase, network = parse_move(text).words(network)
            words.append(phrase)
    except (EASError, IndexError):
        pass
    return words + texts[len(words) :]
