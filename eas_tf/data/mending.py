"""Programs that mend a user's arrays: followed to the letter, one writes a file that is right.

A message that refuses arrays ends with one, made for these very values.
"""

from collections.abc import Collection

#: The arrays of a file without test images.
TRAINING = ("x_train", "y_train")


def program(names: Collection[str], *first: str, **changed: str) -> str:
    """A line of Python that writes arrays of these names to a new file, some of them changed."""
    saved = ", ".join(f"{name}={changed.get(name, name)}" for name in names)
    return "; ".join((*first, f"np.savez('new.npz', {saved})"))
