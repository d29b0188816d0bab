"""What an accuracy hides: classes that a network never finds, and one class that is nearly all there is."""

from collections.abc import Iterator, Sequence

from eas_tf.metrics import Found
from eas_tf.text import printable

#: From this share of one class on, an accuracy says little: a network that knows nothing else reaches it.
NEARLY_ALL = 0.9
#: Classes that a line names.
SHOWN = 6


def class_name(label: int, names: Sequence[str]) -> str:
    """What to call a class: its name if there is one, else its number."""
    return printable(repr(names[label]), 40) if label < len(names) else str(label)


def worst_first(found: Found) -> list[int]:
    """The classes that have images, lowest recall first."""
    having = [label for label, (_, images) in enumerate(found) if images]
    return sorted(having, key=lambda label: found[label][0] / found[label][1])


def hidden(found: Found, names: Sequence[str], which: str, who: str = "the best network") -> str:
    """One line that says what the accuracy hides, with the recall of each class; empty if it hides nothing.

    Args:
        found: What a network finds.
        names: What the classes are called; empty for numbers.
        which: The images, such as "validation".
        who: What finds them.
    """
    order, total = worst_first(found), sum(images for _, images in found)
    never = [label for label in order if not found[label][0]]
    most = max(order, key=lambda label: found[label][1], default=0)
    said = []
    if never:
        missed = sum(found[label][1] for label in never)
        said.append(
            f"{who} finds none of the {missed:,} {which} image{'s' * (missed > 1)} of class{'es' * (len(never) > 1)} "
            f"{_listed(class_name(label, names) for label in never)}"
        )
    if order and found[most][1] > NEARLY_ALL * total:
        share = 100 * found[most][1] / total
        said.append(f"{share:.1f} % of the {which} images are of class {class_name(most, names)}")
    if not said:
        return ""
    recalls = (f"{class_name(label, names)} {recall_in_words(found[label])}" for label in order)
    return f"The {which} accuracy hides that {', and '.join(said)}. Recall by class: {_listed(recalls)}"


def recall_in_words(counts: tuple[int, int]) -> str:
    """In percent, with the images that it is of."""
    right, images = counts
    return f"{100 * right / images:.2f} % of {images:,}"


def _listed(words: Iterator[str]) -> str:
    every = list(words)
    return ", ".join(every[:SHOWN]) + (f" and {len(every) - SHOWN:,} more" if len(every) > SHOWN else "")
