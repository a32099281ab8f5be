"""What checks are, and what came of them. Nothing here needs a library: half an installation is told by it, too."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from superd.ctl.doctor.findings import Finding, Severity

if TYPE_CHECKING:
    from superd.ctl.doctor.facts import Facts, UnitFacts


@dataclass(frozen=True, slots=True)
class Check:
    """A subject that every server has."""

    id: str
    title: str
    run: "Callable[[Facts], Iterable[Finding]]"


@dataclass(frozen=True, slots=True)
class UnitCheck:
    """A subject that makes sense for units of systemd alone."""

    id: str
    title: str
    run: "Callable[[UnitFacts], Iterable[Finding]]"


class Outcome(NamedTuple):
    """What one check found."""

    check: Check | UnitCheck
    findings: tuple[Finding, ...]


def is_well(outcomes: Iterable[Outcome]) -> bool:
    """Whether there is neither a warning nor a fault."""
    seen = count_by_severity(outcomes)
    return not seen[Severity.WARNING] and not seen[Severity.FAULT]


def count_by_severity(outcomes: Iterable[Outcome]) -> dict[Severity, int]:
    """How many findings of each severity there are."""
    seen = Counter(finding.severity for outcome in outcomes for finding in outcome.findings)
    return {severity: seen[severity] for severity in Severity}
