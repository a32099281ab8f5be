"""Writing to people and to pipes.

Whatever is written passes `printable`: a server or a peer cannot move the cursor, set the title or hide text by
what it answers. Colours are added here, after that, and only on a terminal.
"""

import json
import os
import re
import sys
from enum import Enum
from io import StringIO
from typing import Any, Final, NamedTuple, TextIO, TypeAlias

from superd.ctl.exits import NotWritten

#: Control characters (C0, DEL, C1), those that reorder text (Unicode TR9), line separators, lone surrogates.
_UNPRINTABLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


class Style(Enum):
    """What a piece of text is, by the parameters of SGR (ECMA-48) that show it."""

    STRONG = "1"
    FAINT = "2"
    GOOD = "1;32"
    BAD = "1;31"
    NAME = "36"
    STRING = "32"
    NUMBER = "33"


class Painted(NamedTuple):
    """Text in a style."""

    text: str
    style: Style


Part: TypeAlias = str | Painted


def printable(text: str) -> str:
    r"""Show what a terminal would obey as \uXXXX, which JSON reads as the same character."""
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


class Console:
    """One output stream: lines of parts, and JSON."""

    def __init__(self, stream: TextIO | None) -> None:
        """Write to `stream`; None, which Python gives for a closed descriptor, fails at `flush`."""
        self._stream: Final = StringIO() if stream is None else stream
        self.is_terminal: Final = self._stream.isatty()
        self.has_colour: Final = self.is_terminal and wants_colour()

    @property
    def width(self) -> int:
        """Columns of the terminal, or of one that most people have."""
        from shutil import get_terminal_size

        return get_terminal_size().columns

    def line(self, *parts: Part) -> None:
        """Write one line."""
        self._write("".join(map(self._show, parts)) + "\n")

    def json(self, value: Any) -> None:
        """Write JSON: readable on a terminal, else one line for a program."""
        if self.is_terminal:
            self._json_lines(json.dumps(value, ensure_ascii=False, indent=2))
        else:
            self.line(compact_json(value, ascii_only=not self._is_unicode()))

    def json_line(self, value: Any) -> None:
        """Write JSON in one line, at once: others follow when they come."""
        self.line(compact_json(value, ascii_only=not self._is_unicode()))
        self.flush()

    def folded_json(self, value: Any) -> None:
        """Write JSON for people, wherever it goes: what fits in a line stands in one."""
        self._json_lines(_fold(value, 0))

    def _json_lines(self, text: str) -> None:
        for line in text.split("\n"):
            self.line(*(_paint(match) for match in _TOKEN.finditer(line)))

    def flush(self) -> None:
        """Hand over what is buffered; raises NotWritten or BrokenPipeError."""
        if isinstance(self._stream, StringIO) and self._stream.tell():
            raise NotWritten("it is closed")
        try:
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise NotWritten(error.strerror) from error

    def discard(self) -> None:
        """Drop what is buffered and everything that follows; the interpreter must not try again at its end."""
        if isinstance(self._stream, StringIO):
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, self._stream.fileno())
        finally:
            os.close(nowhere)

    def _show(self, part: Part) -> str:
        if isinstance(part, str):
            return printable(part)
        text = printable(part.text)
        return f"\x1b[{part.style.value}m{text}\x1b[0m" if self.has_colour and text else text

    def _write(self, text: str) -> None:
        encoding = self._stream.encoding or "utf-8"
        try:
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except BrokenPipeError:
            raise
        except OSError as error:
            raise NotWritten(error.strerror) from error

    def _is_unicode(self) -> bool:
        return (self._stream.encoding or "utf-8").lower().replace("-", "").startswith("utf")


class Streams(NamedTuple):
    """Standard output and standard error."""

    out: Console
    err: Console


def standard_streams() -> Streams:
    """The streams of this process, as they are now."""
    return Streams(Console(sys.stdout), Console(sys.stderr))


def wants_colour() -> bool:
    """Whether the environment permits colours: see no-color.org, and terminfo(5) for `dumb`."""
    return not os.environ.get("NO_COLOR") and (os.environ.get("TERM") or "dumb") != "dumb"


# --- JSON ------------------------------------------------------------------------------------------------------------


def compact_json(value: Any, *, ascii_only: bool = False) -> str:
    """JSON in one line, without spaces."""
    return json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":"))


#: Columns that folded JSON keeps to where it can.
_FOLD_WIDTH: Final = 100

_TOKEN: Final = re.compile(
    r'(?P<string>"(?:[^"\\]|\\.)*")(?P<colon>:)?|(?P<other>-?\d[\d.eE+-]*|true|false|null)|[^"\w-]+'
)


def _fold(value: Any, indent: int) -> str:
    """JSON whose objects and arrays are broken up only where they are too long."""
    flat = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or indent + len(flat) <= _FOLD_WIDTH:
        return flat
    if isinstance(value, list):
        return _broken("[", [_fold(item, indent + 2) for item in value], "]", indent)
    heads = {key: f"{json.dumps(key, ensure_ascii=False)}: " for key in value}
    members = [head + _fold(value[key], indent + 2) for key, head in heads.items()]
    return _broken("{", members, "}", indent)


def _broken(opening: str, parts: list[str], closing: str, indent: int) -> str:
    gap = "\n" + " " * (indent + 2)
    return f"{opening}{gap}{f',{gap}'.join(parts)}\n{' ' * indent}{closing}"


def _paint(match: re.Match[str]) -> Part:
    if match["colon"]:
        return Painted(match[0], Style.NAME)
    if match["string"]:
        return Painted(match[0], Style.STRING)
    if match["other"]:
        return Painted(match[0], Style.NUMBER)
    return match[0]
