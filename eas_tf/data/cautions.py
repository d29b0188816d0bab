"""What may make the accuracy of a split misleading: said before a search, and again beside its result."""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b

import numpy as np

from eas_tf.data.groups import group_names
from eas_tf.data.images import ImageData
from eas_tf.text import printable

_PARTS = {"val": "validation", "test": "test"}
#: From this share of a part on, images that are training images too are said: a few black ones prove nothing.
_COPIES = 0.01
#: Names that are listed.
_SHOWN = 5


def cautions(images: ImageData, arrays: Mapping[str, np.ndarray]) -> Iterator[str]:
    """One line for each.

    Args:
        images: A data set.
        arrays: What it was made of: of use are `groups_train`, `groups_val` and `groups_test`.
    """
    groups = {name[7:]: group_names(arrays[name]) for name in arrays if name.startswith("groups_")}
    if images.validation == "groups":
        held = groups["train"][images.validation_indices]
        yield (
            f"{len(np.unique(held)):,} of {len(np.unique(groups['train'])):,} groups of {images.name}, with "
            f"{len(held):,} of {len(groups['train']):,} images, are held out for validation; no image of theirs is "
            "trained on."
        )
    if missing := np.flatnonzero(np.bincount(images.y_val, minlength=images.classes) == 0).tolist():
        yield (
            f"No validation image of {images.name} is of {_listed(images.class_name(label) for label in missing)}: the "
            "search does not see whether its networks find any. Save x_val and y_val with images of each class."
        )
    yield from _shared_groups(groups)
    yield from _copies(images)


def _shared_groups(groups: Mapping[str, np.ndarray]) -> Iterator[str]:
    seen = groups.get("train", np.zeros(0, str))
    for part in (part for part in _PARTS if part in groups):
        names = np.unique(groups[part])
        shared = names[np.isin(names, seen)]
        if len(shared):
            others = "training or validation images" if part == "test" else "training images"
            yield (
                f"{len(shared):,} of the {len(names):,} groups of the {_PARTS[part]} images are groups of {others} too "
                f"({_listed(map(repr, shared.tolist()))}): the {_PARTS[part]} accuracy says less about new groups than "
                "it seems to."
            )
        seen = np.concatenate([seen, groups[part]])


def _copies(images: ImageData) -> Iterator[str]:
    known = {_digest(image) for image in images.x_train}
    for part, word in _PARTS.items():
        others = getattr(images, f"x_{part}")
        count = 0 if others is None else sum(_digest(image) in known for image in others)
        if count and count >= _COPIES * len(others):
            yield (
                f"{count:,} of the {len(others):,} {word} images of {images.name} are training images too: the {word} "
                "accuracy says less about new images than it seems to."
            )


def _digest(image: np.ndarray) -> bytes:
    return blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()


def _listed(names: Iterator[str] | Sequence[str]) -> str:
    every = [printable(name, 40) for name in names]
    more = f" and {len(every) - _SHOWN:,} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + more
