"""Parts of error messages, each in one line."""

import re
from typing import Any


def first_line(error: Exception) -> str:
    """What an error of Keras says first, without the colours and without which call it was in."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith("Exception encountered when calling")]
    return said[0] if said else repr(error)


def shown(value: Any) -> str:
    """A value as its author wrote it, cut to what fits into a line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 100 else f"{text[:97]}…"
