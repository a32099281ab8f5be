"""Where in a TOML file something stands: tomllib gives values and no lines, and an error should name one.

A scanner, not a parser: it is given text that tomllib has read without a fault, and only has to know what is a header,
a key, a value, and where each ends.
"""

import re
from collections.abc import Iterable
from typing import Final, TypeAlias

#: The way to a value: names, and the index in an array. ("deny", 0, "users", 2) is the third user of the first rule.
Path: TypeAlias = tuple[str | int, ...]

#: Strings of all four kinds, multi-line ones first. A quotation mark of three may have two more before it.
_STRING: Final = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}'
    r"|'''(?:[^']|'(?!''))*'{3,5}"
    r'|"(?:[^"\\]|\\.)*"'
    r"|'[^']*'",
    re.DOTALL,
)
_SPACE: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)+")
_KEY_PART: Final = re.compile(r"[ \t]*(?:[A-Za-z0-9_-]+|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*')[ \t]*")


class Lines:
    """The lines, counted from 1, of what stands in a TOML text."""

    def __init__(self, text: str) -> None:
        """Scan `text`, which must be TOML."""
        self._lines = _Scanner(text).scan()

    def find(self, path: Iterable[str | int]) -> int:
        """The line of `path`, or of the innermost thing around it that has one; 1 where nothing has."""
        wanted = tuple(path)
        while wanted and wanted not in self._lines:
            wanted = wanted[:-1]
        return self._lines.get(wanted, 1)


class _Scanner:
    """One pass over a text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._counted = 0
        self._lines: dict[Path, int] = {}
        self._tables: dict[Path, int] = {}

    def scan(self) -> dict[Path, int]:
        """The line of each header, key and element of an array."""
        table: Path = ()
        while self._skip_space():
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
        return self._lines

    def _header(self) -> Path:
        line = self._here()
        is_array = self._text.startswith("[[", self._at)
        self._at += 1 + is_array
        path = self._resolve(self._key())
        self._at += 1 + is_array
        if is_array:
            index = self._tables[path] = self._tables.get(path, -1) + 1
            self._lines.setdefault(path, line)
            path = (*path, index)
        self._lines.setdefault(path, line)
        return path

    def _resolve(self, names: tuple[str, ...]) -> Path:
        """The way to a header's table: a name of an array of tables means the last one of it."""
        path: Path = ()
        for name in names[:-1]:
            path = (*path, name)
            if path in self._tables:
                path = (*path, self._tables[path])
        return (*path, names[-1])

    def _pair(self, table: Path) -> None:
        """A key and its value; a dotted key stands for each of its parts."""
        line, path = self._here(), table
        for name in self._key():
            path = (*path, name)
            self._lines.setdefault(path, line)
        self._at += 1  # the equals sign
        self._skip_space()
        self._value(path)

    def _value(self, path: Path) -> None:
        string = _STRING.match(self._text, self._at)
        if string is not None:
            self._at = string.end()
        elif self._text[self._at] == "[":
            self._array(path)
        elif self._text[self._at] == "{":
            self._inline_table(path)
        else:
            while self._at < len(self._text) and self._text[self._at] not in ",]}#\n":
                self._at += 1

    def _array(self, path: Path) -> None:
        self._at += 1
        index = 0
        while self._skip_space() and self._text[self._at] != "]":
            self._lines[*path, index] = self._here()
            self._value((*path, index))
            index += 1
            self._comma()
        self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while self._skip_space() and self._text[self._at] != "}":
            self._pair(path)
            self._comma()
        self._at += 1

    def _comma(self) -> None:
        if self._skip_space() and self._text[self._at] == ",":
            self._at += 1

    def _key(self) -> tuple[str, ...]:
        """A key, as far as its last part; quotes are taken off, escapes are left."""
        names = []
        while (part := _KEY_PART.match(self._text, self._at)) is not None:
            names.append(part[0].strip().strip("\"'"))
            self._at = part.end()
            if not self._text.startswith(".", self._at):
                break
            self._at += 1
        return tuple(names)

    def _skip_space(self) -> bool:
        """Go to what is neither space nor comment; whether there is any."""
        space = _SPACE.match(self._text, self._at)
        if space is not None:
            self._at = space.end()
        return self._at < len(self._text)

    def _here(self) -> int:
        """The line of the place that the scan has come to."""
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line
