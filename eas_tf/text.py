"""Foreign text in our messages: names and strings of a user's, and what other libraries say."""

import unicodedata


def printable(value: object, most: int = 200) -> str:
    r"""The text of a value on one printable line: control characters as `\x1b`, the middle of a long text left out."""
    text = str(value)
    if len(text) > most:
        text = f"{text[: most // 2]}...{text[-most // 4 :]}"
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def has_control_characters(text: str) -> bool:
    """Whether there are characters that move the cursor, break the line, or cannot be written as UTF-8."""
    return any(unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") for each in text)
