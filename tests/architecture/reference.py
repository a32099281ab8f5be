"""The pages of docs/reference as they are built: sections by their headings, and in them lists of terms."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]


class Term(NamedTuple):
    """A term, which may be several with commas, and what is said of it."""

    title: str
    text: str

    @property
    def names(self) -> list[str]:
        """What stands in code in the title."""
        return codes(self.title)

    @property
    def options(self) -> set[str]:
        """The options in the title, and in those of the terms below it."""
        below = (term.options for term in terms(self.text))
        return {name for name in self.names if name.startswith("-")}.union(*below)


def read_page(name: str) -> str:
    """The text of a page without its examples, whose lines look like headings and terms."""
    text = (ROOT / "docs/reference" / f"{name}.md").read_text("utf-8")
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def sections(page: str, level: int = 2) -> dict[str, str]:
    """What is under the headings of a level, by their text."""
    parts = re.split(rf"^{'#' * level} `?([^`\n]+)`?$", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def codes(text: str) -> list[str]:
    """What stands in code."""
    return re.findall(r"`([^`]+)`", text)


def terms(text: str) -> list[Term]:
    """The terms that are not below another one."""
    return list(_terms(text.splitlines()))


def _terms(lines: list[str]) -> Iterator[Term]:
    for number, (title, begin) in enumerate(pairwise(lines)):
        if title[:1].strip() and begin.startswith(": "):
            below = lines[number + 2 :]
            end = next((i for i, line in enumerate(below) if line[:1].strip()), len(below))
            text = [begin[2:], *(line[2:] for line in below[:end])]
            yield Term(title, "\n".join(text))
