"""Parts of error messages, each in one line."""

import re
from typing import Any

#: The characters of a line that people still read.
LONGEST = 300


def first_line(error: Exception) -> str:
    """What an error of Keras says first, without the colours and without which call it was in."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith("Exception encountered when calling")]
    return said[0] if said else repr(error)


def keras_reason(error: Exception) -> str:
    """Why Keras could not build something: the innermost error that it tells of, without a configuration."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).rpartition("Exception encountered: ")[2]
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text)]
    said = [part for part in paragraphs if part and not part.startswith("Exception encountered when calling")]
    return re.split(r"\.?\s*(?:Full object config|Full config|config=\{)", said[0] if said else repr(error))[0]


def one_line(problem: str, reason: str, way_out: str) -> str:
    """A message of at most `LONGEST` characters, for which the reason is cut where it has to be."""
    room = LONGEST - len(problem) - len(way_out) - len(": . ")
    reason = reason.rstrip(". ")
    return f"{problem}: {reason if len(reason) <= room else reason[: max(room - 1, 0)] + '…'}. {way_out}"


def shown(value: Any) -> str:
    """A value as its author wrote it, cut to what fits into a line."""
    return cut(" ".join(repr(value).split()))


def cut(text: str) -> str:
    """The beginning of a text, if it is too long for a part of a line."""
    return text if len(text) <= 100 else f"{text[:97]}…"
