"""Who reads the wall clock: a host's time may jump, and no decision may jump with it."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

#: Attributes that read the wall clock, of whatever they are attributes; `time` counts where it is that of `time`.
_READS: Final = frozenset(
    {"CLOCK_REALTIME", "ctime", "gmtime", "localtime", "now", "strftime", "time_ns", "today", "utcnow"}
)

#: Reads that decide nothing, by module: how often, and what for.
ADMITTED: Final[Mapping[str, tuple[int, str]]] = {
    "superd/journal.py": (1, "the time of a line on standard error, for people"),
}


def wall_clock_reads(source: str) -> list[int]:
    """The lines of a module that read the wall clock, or import what does."""
    return sorted({line for node in ast.walk(ast.parse(source)) for line in _reads(node)})


def _reads(node: ast.AST) -> Iterator[int]:
    match node:
        case ast.Attribute(value=ast.Name(id="time"), attr="time"):
            yield node.lineno
        case ast.Attribute(attr=name) if name in _READS:
            yield node.lineno
        case ast.ImportFrom(module="time", names=names):
            if any(alias.name in {*_READS, "time"} for alias in names):
                yield node.lineno


def find_readers(*packages: Path) -> tuple[int, list[str]]:
    """How many modules there are, and which lines of them read the wall clock without leave."""
    modules = 0
    found: list[str] = []
    for package in packages:
        for path in sorted(package.rglob("*.py")):
            modules += 1
            name = str(path.relative_to(package.parent))
            lines = wall_clock_reads(path.read_text("utf-8"))
            if len(lines) != ADMITTED.get(name, (0, ""))[0]:
                found += [f"{name}:{line} reads the wall clock" for line in lines] or [
                    f"{name} does not any more"
                ]
    return modules, found
