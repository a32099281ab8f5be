"""Text of the other side, made harmless for a line of a log or of a terminal."""

from typing import Final

#: Characters of one value in a sentence: as much as a person reads.
VALUE_MAX: Final = 256


def printable(text: str, limit: int = VALUE_MAX) -> str:
    r"""`text` on one line and harmless: what cannot be printed as \x1b, what is over `limit` cut off."""
    rest = len(text) - limit
    shown = text if rest <= 0 else text[:limit]
    if not shown.isprintable():
        shown = "".join(each if each.isprintable() else _escape(each) for each in shown)
    return shown if rest <= 0 else f"{shown}… ({rest} more)"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
