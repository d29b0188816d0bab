"""Programs that mend a user's arrays: followed to the letter, one writes a file that is right.

A message that refuses arrays ends with one, made for these very values.
"""

from collections.abc import Collection


def without(names: Collection[str], *parts: str) -> list[str]:
    """The arrays of all parts but these, which are "val" or "test"."""
    return [name for name in names if name.rpartition("_")[2] not in parts]


def rows(names: Collection[str], part: str, chosen: str) -> dict[str, str]:
    """What keeps some of the images of a part: for each of its arrays the rows of these numbers, or with this mask."""
    return {name: f"{name}[{chosen}]" for name in names if name.rpartition("_")[2] == part}


def program(names: Collection[str], *first: str, **changed: str) -> str:
    """A line of Python that writes arrays of these names to a new file, some of them changed."""
    saved = ", ".join(f"{name}={changed.get(name, name)}" for name in names)
    return "; ".join((*first, f"np.savez('new.npz', {saved})"))
