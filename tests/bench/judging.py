"""From cells to figures: cells that count, medians, spreads, ratios within a round.

A run is what the JSON file holds: {"machine", "command", "quick", "scenarios": {key: [round, ...]}}, where a round is
{"round", "cells": {system: cell}}. A cell that somebody else disturbed has "disturbed", which says by how much; and each
has "thrown_away", the number of disturbed tries that it took the place of.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any, Final, NamedTuple, TypeAlias

from tests.bench.matrix import REFERENCE, SCENARIOS, Scenario

Run: TypeAlias = Mapping[str, Any]
Round: TypeAlias = Mapping[str, Any]
Cell: TypeAlias = Mapping[str, Any]

#: A section whose time was to this part not processor time of its own: a rate by processor time would flatter it.
WAITS_MAX: Final = 0.25


class Summary(NamedTuple):
    """Figures of the cells that count: the middle, the least and the most."""

    middle: float
    least: float
    most: float
    rounds: int

    @property
    def spread(self) -> float:
        """The distance from least to most, as a part of the middle."""
        return (self.most - self.least) / self.middle if self.middle else 0.0


def summarise(values: Sequence[float]) -> Summary | None:
    """None where there is nothing."""
    return Summary(median(values), min(values), max(values), len(values)) if values else None


def _rate(scenario: Scenario, cell: Cell) -> float:
    """Calls a second: on one core, of processor time of both sides, which is what a call costs; on two, of the clock."""
    seconds = cell["seconds"] if scenario.placement == "split" else cpu(cell)
    return float(cell["calls"] / seconds)


def cpu(cell: Cell) -> float:
    """Processor time of both sides, in seconds."""
    return float(cell["client_cpu"] + cell["server_cpu"])


def _cold(cell: Cell) -> float:
    return float(cell["seconds"] * 1000)


FIGURES: Final[Mapping[str, Callable[[Scenario, Cell], float]]] = {
    "calls/s": _rate,
    "ms": lambda _, cell: _cold(cell),
    "KB": lambda _, cell: float(cell["bytes"] / 1024),
    "wake-ups/s": lambda _, cell: float(cell["wakeups"]),
    "MB": lambda _, cell: float(cell["resident"] / 1024 / 1024),
    "us, client": lambda _, cell: float(cell["client_cpu"] / cell["calls"] * 1e6),
    "us, server": lambda _, cell: float(cell["server_cpu"] / cell["calls"] * 1e6),
    "us of CPU": lambda _, cell: cpu(cell) / cell["calls"] * 1e6,
    "ms of CPU/s": lambda _, cell: cpu(cell) / cell["seconds"] * 1e3,
}


def rounds_of(run: Run, key: str) -> list[Round]:
    """All rounds of a scenario; none where it was not measured."""
    return list(run["scenarios"].get(SCENARIOS[key].same_as or key, []))


class Thrown(NamedTuple):
    """Of a scenario: tries that were measured, that were thrown away, and cells that stayed disturbed nevertheless."""

    tries: int
    away: int
    left: int
    worst: str


def thrown_away(run: Run, key: str) -> Thrown:
    """What was disturbed; `worst` says by whom a cell that stayed so was."""
    named = [(name, cell) for each in rounds_of(run, key) for name, cell in each["cells"].items()]
    again = sum(cell.get("thrown_away", 0) for _, cell in named)
    left = [f"{name}: {cell['disturbed']}" for name, cell in named if cell.get("disturbed")]
    measured = sum("seconds" in cell for _, cell in named)
    return Thrown(measured + again, again, len(left), left[-1] if left else "")


def cells_of(run: Run, key: str, system: str) -> dict[int, Cell]:
    """The cells with a figure that count, by the number of their round; all of them, for a look and not for a judgement,
    where none does.
    """
    cells = {each["round"]: each["cells"].get(system, {}) for each in rounds_of(run, key)}
    found = {number: cell for number, cell in cells.items() if "seconds" in cell}
    return {number: cell for number, cell in found.items() if not cell.get("disturbed")} or found


def is_quiet(run: Run, key: str, system: str) -> bool:
    """Whether there is a cell that counts."""
    return any(not cell.get("disturbed") for cell in cells_of(run, key, system).values())


def figures(run: Run, key: str, system: str) -> dict[int, float]:
    """The figure of each cell that counts, by the number of its round."""
    scenario = SCENARIOS[key]
    make = FIGURES[scenario.unit]
    return {number: make(scenario, cell) for number, cell in cells_of(run, key, system).items()}


def ratios(run: Run, left: tuple[str, str], right: tuple[str, str]) -> list[float]:
    """One (scenario, system) against another, in each round where both count."""
    above, below = figures(run, *left), figures(run, *right)
    return [above[number] / below[number] for number in above if below.get(number)]


def differences(run: Run, left: tuple[str, str], right: tuple[str, str]) -> list[float]:
    """One (scenario, system) less another, in each round where both count."""
    above, below = figures(run, *left), figures(run, *right)
    return [above[number] - below[number] for number in above if number in below]


def ratio_to_reference(run: Run, key: str, system: str) -> Summary | None:
    """Against raw-uvloop in the same rounds."""
    return summarise(ratios(run, (key, system), (key, REFERENCE)))


def reason(run: Run, key: str, system: str) -> str:
    """Why a cell is empty; nothing where it is not, or was not asked for."""
    cells = [each["cells"].get(system, {}) for each in rounds_of(run, key)]
    for cell in cells:
        if "cannot" in cell:
            return str(cell["cannot"])
    failed = [cell["failed"] for cell in cells if "failed" in cell]
    return f"FAILED: {last_line(failed[0])}" if failed else ""


def last_line(text: str) -> str:
    """Of a traceback, what it says."""
    return text.strip().rpartition("\n")[2]


def failures(run: Run) -> list[str]:
    """All cells that failed: a wrong answer, a crash, no answer in time."""
    return [
        f"{key}: {name}: {last_line(cell['failed'])}"
        for key, rounds in run["scenarios"].items()
        for each in rounds
        for name, cell in each["cells"].items()
        if "failed" in cell
    ]


def waits(run: Run, key: str, system: str) -> bool:
    """Whether a rate by processor time hides that both sides often waited, in every cell that counts."""
    if SCENARIOS[key].unit != "calls/s" or SCENARIOS[key].placement != "same":
        return False
    cells = cells_of(run, key, system).values()
    shares = [1 - (cpu(cell) + cell["foreign"]) / cell["seconds"] for cell in cells]
    return bool(shares) and min(shares) > WAITS_MAX
