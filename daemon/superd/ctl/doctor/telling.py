"""A report, for people and for programs."""

from collections.abc import Sequence
from typing import Any, Final

from superd.ctl.console import Console, Painted, Style
from superd.ctl.doctor.findings import Finding, Severity
from superd.ctl.doctor.outcomes import Outcome, count_by_severity, is_well

_STYLES: Final = {
    Severity.OK: Style.GOOD,
    Severity.UNCHECKED: Style.FAINT,
    Severity.NOTE: Style.STRONG,
    Severity.WARNING: Style.BAD,
    Severity.FAULT: Style.BAD,
}

#: What a report without --all leaves out.
_QUIET: Final = frozenset({Severity.OK})

_COLUMN: Final = max(map(len, Severity)) + 4


def as_json(address: str, version: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The report for programs; docs/reference/superctl.md describes it."""
    return {
        "address": address,
        "version": version,
        "well": is_well(outcomes),
        "counts": {severity.value: number for severity, number in count_by_severity(outcomes).items()},
        "findings": [
            {
                "check": check.id,
                "id": finding.id,
                "severity": finding.severity.value,
                "message": finding.message,
                "fix": finding.fix,
            }
            for check, findings in outcomes
            for finding in findings
        ],
    }


def tell(outcomes: Sequence[Outcome], out: Console, *, show_all: bool) -> None:
    """The report for people: what is not well under the title of its group, and how it stands in one line."""
    title = ""
    for check, findings in outcomes:
        for finding in findings:
            if finding.severity in _QUIET and not show_all:
                continue
            if check.title != title:
                title = check.title
                out.line(Painted(title, Style.STRONG))
            _tell(finding, out)
    out.line(Painted(_summary(outcomes), Style.GOOD if is_well(outcomes) else Style.BAD))


def _tell(finding: Finding, out: Console) -> None:
    label = Painted(f"  {finding.severity}".ljust(_COLUMN), _STYLES[finding.severity])
    out.line(label, finding.message, Painted(f"  [{finding.id}]", Style.FAINT))
    if finding.fix:
        out.line(" " * _COLUMN, Painted(finding.fix, Style.NAME))


def _summary(outcomes: Sequence[Outcome]) -> str:
    counts = count_by_severity(outcomes)
    nouns = {Severity.FAULT: "fault", Severity.WARNING: "warning", Severity.NOTE: "note"}
    parts = [_count(counts[severity], noun) for severity, noun in nouns.items() if counts[severity]]
    if counts[Severity.UNCHECKED]:
        parts.append(f"{counts[Severity.UNCHECKED]} not checked")
    if is_well(outcomes):
        return f"all is well: {_count(counts[Severity.OK], 'check')}{''.join(f', {part}' for part in parts)}"
    return f"{', '.join(parts)}; {counts[Severity.OK]} well"


def _count(number: int, noun: str) -> str:
    """As superd.ctl.selection has it, which needs the libraries."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
