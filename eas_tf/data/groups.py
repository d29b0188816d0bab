"""Images that belong together, such as those of one patient: whole groups are held out. NumPy only."""

import numpy as np
import numpy.typing as npt

from eas_tf.errors import InvalidData


class NoGroups(InvalidData):
    """No group can be held out."""


#: Classes without a validation image get one as long as this many times the wanted images are held out.
_AT_MOST = 2
#: Single groups that are taken or given back.
_CHANGES = 60


def choose_groups(
    labels: npt.NDArray[np.integer], groups: npt.NDArray[np.generic], *, size: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Draw whole groups to hold out, so that no group is on both sides, and each class gives about its share.

    With h the held-out images of each class and t those wanted, groups are taken in random order as long as they make
    sum((h - t)^2 / t) no larger; then single groups are taken or given back as long as that makes it smaller. Classes
    that still have no image held out get a group, if that does not hold out far too much. No group is taken that would
    leave a class without training images.

    Args:
        labels: The class of each training image, `[n]`, from 0.
        groups: The group of each, `[n]`, numbers or words.
        size: How many images are wanted.
        rng: Decides the order.

    Returns:
        Indices into `labels`, ascending.

    Raises:
        NoGroups: If no group can be held out.
    """
    names, number = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), int(labels.max()) + 1))
    np.add.at(counts, (number, labels), 1)
    draw = _Draw(counts, size)
    for group in rng.permutation(len(names)):
        after = draw.held + counts[group]
        if draw.leaves_each_class(after, counts[group]) and draw.distance(after) <= draw.distance(draw.held):
            draw.change(group)
    for _ in range(_CHANGES):
        distances = draw.distances
        best = int(distances.argmin())
        if not distances[best] < draw.distance(draw.held):
            break
        draw.change(best)
    for label in np.flatnonzero(draw.held < np.minimum(counts.sum(axis=0), 1)):
        distances = np.where(counts[:, label] > 0, draw.distances, np.inf)
        best = int(distances.argmin())
        if (
            not draw.held[label]
            and distances[best] < np.inf
            and draw.held.sum() + counts[best].sum() <= _AT_MOST * size
        ):
            draw.change(best)
    if not draw.chosen.any():
        distances = draw.distances
        if np.isinf(distances).all():
            raise NoGroups("no group can be held out, because each has the only images of a class")
        draw.change(int(distances.argmin()))
    return np.flatnonzero(draw.chosen[number])


class _Draw:
    """Groups that are held out so far.

    Args:
        counts: The images of each class in each group, `[groups, classes]`.
        size: How many images are wanted.
    """

    def __init__(self, counts: np.ndarray, size: int) -> None:
        self._counts, self._total = counts, counts.sum(axis=0)
        self._wanted = np.maximum(self._total, 1) * size / counts.sum()
        self.held, self.chosen = np.zeros_like(self._total), np.zeros(len(counts), bool)

    def leaves_each_class(self, held: np.ndarray, taken: np.ndarray) -> np.ndarray:
        """Whether each class, `[..., classes]`, keeps images to train on after some were taken: `[...]`."""
        return np.asarray(((held < self._total) | (taken == 0)).all(axis=-1))

    def distance(self, held: np.ndarray) -> np.ndarray:
        """How far held-out images, `[..., classes]`, are from those wanted."""
        return np.asarray(((held - self._wanted) ** 2 / self._wanted).sum(axis=-1))

    @property
    def distances(self) -> np.ndarray:
        """How far they are if a group is taken or given back, `[groups]`; infinite if it may not be."""
        after = self.held + np.where(self.chosen, -1, 1)[:, None] * self._counts
        legal = self.chosen | self.leaves_each_class(after, self._counts)
        return np.where(legal, self.distance(after), np.inf)

    def change(self, group: int) -> None:
        """Take a group, or give it back."""
        self.held = self.held + (-1 if self.chosen[group] else 1) * self._counts[group]
        self.chosen[group] = not self.chosen[group]


def group_names(groups: np.ndarray) -> npt.NDArray[np.str_]:
    """The groups of images, `[n]` or `[n, 1]`, as words: 7, 7.0, "7" and b"7" are the same group."""
    groups = groups.reshape(-1)
    if groups.dtype.kind == "S":
        return np.char.decode(groups, "utf-8", "backslashreplace")
    if groups.dtype.kind == "f" and np.isfinite(groups).all() and (groups == np.rint(groups)).all():
        groups = groups.astype(np.int64)
    return groups.astype(str)
