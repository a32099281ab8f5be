"""Lines of the shell, cut into words as a POSIX shell would, except that JSON needs no quotes."""

import json
import re
import shlex
from io import StringIO
from typing import Final

from superd.ctl.exits import UsageError

_SPACE: Final = re.compile(r"\s*")
_JSON_KEY: Final = re.compile(r"[^\s=:'\"]+:=")
_decoder: Final = json.JSONDecoder()


def split_line(line: str) -> list[str]:
    """The words of a line; after `key:=` a JSON value is one word, quotes and spaces included.

    A `#` at the beginning of a word starts a comment. Raises UsageError for a quote that is not closed.
    """
    words: list[str] = []
    position = _skip_space(line, 0)
    while position < len(line) and line[position] != "#":
        word, position = _next_word(line, position)
        words.append(word)
        position = _skip_space(line, position)
    return words


def _skip_space(line: str, position: int) -> int:
    match = _SPACE.match(line, position)
    return match.end() if match else position


def _next_word(line: str, start: int) -> tuple[str, int]:
    key = _JSON_KEY.match(line, start)
    end = _json_end(line, key.end()) if key else None
    return (line[start:end], end) if end is not None else _shell_word(line, start)


def _json_end(line: str, start: int) -> int | None:
    """Where the JSON value that begins at `start` ends, if there is one and a word may end there."""
    try:
        _, end = _decoder.raw_decode(line, start)
    except (ValueError, RecursionError):
        return None
    return end if end == len(line) or line[end].isspace() else None


def _shell_word(line: str, start: int) -> tuple[str, int]:
    rest = StringIO(line[start:])
    lexer = shlex.shlex(rest, posix=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        word = lexer.get_token()
    except ValueError as error:
        raise UsageError(f"{error}: quote the quote, or close it".lower()) from None
    return word or "", start + rest.tell()
