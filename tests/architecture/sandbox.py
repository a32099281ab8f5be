"""What docs/howto/give-a-service-more.md says: the drop-ins, and what each costs."""

import re
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]

_PAGE: Final = ROOT / "docs/howto/give-a-service-more.md"
_ROW: Final = re.compile(r"^\| \[([^]]+)\]\(#[a-z-]+\) \| ([0-9.]+) \| ([0-9.]+) \|$", re.MULTILINE)
_SECTION: Final = re.compile(r"^## (.+?)\n.*?^```ini\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Costs(NamedTuple):
    """The exposure of superd.service with a drop-in, and of superd@.service."""

    plain: str
    instance: str


def read_costs() -> dict[str, Costs]:
    """By the name of the drop-in."""
    return {name.lower(): Costs(plain, instance) for name, plain, instance in _ROW.findall(_PAGE.read_text())}


def read_drop_ins() -> dict[str, str]:
    """Their texts, by the headings that they stand under."""
    sections = re.split(r"^(?=## )", _PAGE.read_text(), flags=re.MULTILINE)
    found = filter(None, map(_SECTION.match, sections))
    return {match[1].lower(): match[2] for match in found}
