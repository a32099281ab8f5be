"""What the rows found, as a table for people."""

import textwrap
from collections.abc import Sequence
from typing import Final, NamedTuple

HEADS: Final = ("row", "what was done", "figures", "losses", "longest pause", "verdict")

#: Columns wider than this are wrapped.
_WIDTHS: Final = (16, 36, 64, 8, 13, 12)


class Finding(NamedTuple):
    """One line: what was done, what was counted, what was lost. `pause` is in seconds, None where nobody waited."""

    row: str
    done: str
    figures: str = ""
    losses: tuple[str, ...] = ()
    pause: float | None = None
    #: Why it could not be done here; then nothing was.
    impossible: str = ""

    @property
    def verdict(self) -> str:
        """In a word or two."""
        if self.impossible:
            return "not possible"
        return "LOST" if self.losses else "kept"

    def cells(self) -> tuple[str, ...]:
        """The texts of its columns."""
        pause = "" if self.pause is None else f"{self.pause * 1000:,.0f} ms"
        losses = "" if self.impossible else str(len(self.losses))
        return (self.row, self.done, self.impossible or self.figures, losses, pause, self.verdict)


def is_lost(findings: Sequence[Finding]) -> bool:
    """Whether anything was."""
    return any(finding.losses for finding in findings)


def render(findings: Sequence[Finding]) -> str:
    """The table, and below it each loss in full."""
    lines = [*_wrap(HEADS), "  ".join("-" * width for width in _WIDTHS)]
    for finding in findings:
        lines += _wrap(finding.cells())
    for finding in findings:
        for loss in finding.losses:
            lines += ["", f"LOST in {finding.row}, {finding.done}: {loss}"]
    return "\n".join(lines)


def _wrap(cells: Sequence[str]) -> list[str]:
    """The lines of one row."""
    columns = [textwrap.wrap(cell, width) or [""] for cell, width in zip(cells, _WIDTHS, strict=True)]
    height = max(map(len, columns))
    padded = [column + [""] * (height - len(column)) for column in columns]
    return [
        "  ".join(text.ljust(width) for text, width in zip(texts, _WIDTHS, strict=True)).rstrip()
        for texts in zip(*padded, strict=True)
    ]
