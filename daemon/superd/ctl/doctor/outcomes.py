"""What checks are, and what came of them. Nothing here needs a library: half an installation is told by it, too."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from superd.ctl.doctor.findings import Finding, Severity

if TYPE_CHECKING:
    from superd.ctl.doctor.facts import Facts


class Check(NamedTuple):
    """One subject. `of_units` are those that make sense for a unit of systemd alone."""

    id: str
    title: str
    run: "Callable[[Facts], Iterable[Finding]]"
    of_units: bool = True


class Outcome(NamedTuple):
    """What one check found."""

    check: Check
    findings: tuple[Finding, ...]


def is_well(outcomes: Iterable[Outcome]) -> bool:
    """Whether there is neither a warning nor a fault."""
    seen = count_by_severity(outcomes)
    return not seen[Severity.WARNING] and not seen[Severity.FAULT]


def count_by_severity(outcomes: Iterable[Outcome]) -> dict[Severity, int]:
    """How many findings of each severity there are."""
    seen = Counter(finding.severity for outcome in outcomes for finding in outcome.findings)
    return {severity: seen[severity] for severity in Severity}
