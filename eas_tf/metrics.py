"""What networks are compared by: accuracy, or the mean recall of all classes. Imports no TensorFlow."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from eas_tf.errors import InvalidConfiguration

Metric: TypeAlias = Literal["accuracy", "balanced_accuracy"]

#: For each class how many of its images a network classifies right, and how many there are: its recall is the quotient.
Found: TypeAlias = tuple[tuple[int, int], ...]


def check_metric(value: object) -> None:
    """Refuse what is no `Metric`.

    Raises:
        InvalidConfiguration: Naming the two.
    """
    if value not in get_args(Metric):
        raise InvalidConfiguration(f"metric is {' or '.join(get_args(Metric))}. Received: {value!r}")


def count_found(right: np.ndarray, labels: np.ndarray, classes: int) -> Found:
    """Count images by class.

    Args:
        right: Whether each image is classified right, `[n]`.
        labels: The class of each, `[n]`.
        classes: The number of classes.
    """
    found, images = (np.bincount(each, minlength=classes).tolist() for each in (labels[right], labels))
    return tuple(zip(found, images, strict=True))


def balancing(labels: np.ndarray, classes: int) -> np.ndarray:
    """The weight of each class with which all count alike, `[classes]`: n / (classes * n_c); 1 on average."""
    counts = np.bincount(labels, minlength=classes)
    return len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))


def as_found(counts: Iterable[Sequence[Any]]) -> Found:
    """Counts as they come from JSON."""
    return tuple((int(right), int(images)) for right, images in counts)


def balanced_accuracy(found: Found) -> float:
    """The mean recall of the classes C that have images: (1 / |C|) sum over c in C of found_c / images_c.

    With two classes it is the mean of sensitivity and specificity (Brodersen et al., "The Balanced Accuracy and Its
    Posterior Distribution", ICPR 2010); with any number it is scikit-learn's `balanced_accuracy_score`.
    """
    recalls = [right / images for right, images in found if images]
    return sum(recalls) / len(recalls) if recalls else float("nan")
