"""A cell of the matrix: an interpreter, and a set of versions."""

import re
from pathlib import Path
from typing import Final, NamedTuple

from typing_extensions import override

ROOT: Final = Path(__file__).resolve().parents[2]

#: The sets, each with the files that name its versions; what a later file names replaces what an earlier one does.
SETS: Final = {
    "oldest": ("constraints.txt", "constraints-oldest.txt"),
    "newest": ("constraints.txt",),
}
#: Those that the distributions name as theirs.
PYTHONS: Final = ("3.11", "3.12", "3.13")


class Cell(NamedTuple):
    """Written PYTHON/SET: 3.11/oldest."""

    python: str
    versions: str

    @override
    def __str__(self) -> str:
        return f"{self.python}/{self.versions}"

    @property
    def folder(self) -> Path:
        """Where all of it is made: environment, tests, report."""
        return ROOT / "build" / "matrix" / f"{self.python}-{self.versions}"

    def constraints(self) -> str:
        """The text of a constraints file for pip."""
        return merge(*((ROOT / name).read_text("utf-8") for name in SETS[self.versions]))


ALL: Final = tuple(Cell(python, versions) for python in PYTHONS for versions in SETS)


def read_cell(text: str) -> Cell:
    """The cell that `text` names, or ValueError."""
    python, _, versions = text.partition("/")
    cell = Cell(python, versions)
    if cell not in ALL:
        raise ValueError(f"{text!r} is no cell: there are {', '.join(map(str, ALL))}")
    return cell


def merge(*texts: str) -> str:
    """Constraints that all hold; of two for one distribution, the later."""
    lines: dict[str, str] = {}
    for line in "\n".join(texts).splitlines():
        if line and not line.startswith("#"):
            lines[normalize(line.partition("==")[0])] = line
    return "".join(f"{line}\n" for line in lines.values())


def normalize(name: str) -> str:
    """The name of a distribution, as all spellings of it are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()
