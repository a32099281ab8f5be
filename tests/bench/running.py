"""Rounds: every system once in each scenario, in an order that moves on from round to round."""

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.bench.load import Work
from tests.bench.matrix import DESCRIPTORS, VARIANTS, Scenario, System, system
from tests.bench.processes import LOAD_PATIENCE, NotStartedError, Processes, descriptors
from tests.bench.starting import AbsentError, Place

#: Both ends on one core, and a core each.
CORES: Final = {"same": (0, 0), "split": (0, 1)}

#: Processor time of others, as a share of a section's time, above which its round is thrown away; and seconds that the
#: kernel's count (in ticks of 10 ms, for each processor) may be wrong by.
FOREIGN_MAX: Final = 0.05
FOREIGN_GRAIN: Final = 0.02

Cell = dict[str, Any]
Cells = dict[str, Cell]


class Plan(NamedTuple):
    """What a run does. `seconds` is how long a measured section takes, where time decides its size."""

    scenarios: Sequence[Scenario]
    systems: Sequence[str]
    rounds: int
    retries: int
    seconds: float
    quick: bool

    def of(self, scenario: Scenario) -> list[str]:
        """The systems of a scenario; what is a variant is not chosen by name, but comes with superd."""
        names = scenario.quick if self.quick else scenario.systems
        return [
            name for name in names if not self.systems or name in self.systems or _belongs(name, self.systems)
        ]


def _belongs(name: str, chosen: Sequence[str]) -> bool:
    families = {each.partition("-")[0] for each in chosen}
    return name == "imports" or (name in VARIANTS and name.partition("-")[0] in families)


def run(plan: Plan, say: Callable[[str], None]) -> dict[str, list[dict[str, Any]]]:
    """For each scenario its rounds, as the JSON has them; those that are disturbed are repeated `retries` times at most."""
    found: dict[str, list[dict[str, Any]]] = {scenario.key: [] for scenario in plan.scenarios}
    with descriptors(DESCRIPTORS):
        for number in range(plan.rounds + plan.retries):
            for scenario in plan.scenarios:
                rounds = found[scenario.key]
                if needs_more(rounds, plan.rounds) and plan.of(scenario):
                    cells = one_round(plan, scenario, number, say)
                    rounds.append({"round": number, "disturbed": disturbance(cells), "cells": cells})
    return found


def needs_more(rounds: Sequence[dict[str, Any]], wanted: int) -> bool:
    """Whether fewer rounds count than are wanted."""
    return sum(each["disturbed"] is None for each in rounds) < wanted


def one_round(plan: Plan, scenario: Scenario, number: int, say: Callable[[str], None]) -> Cells:
    """A scenario with each of its systems, one after the other."""
    cells = {}
    for name in turned(plan.of(scenario), number):
        cells[name] = cell(plan, scenario, system(name))
        say(f"round {number + 1}  {scenario.key:<18} {name:<20} {_summary(cells[name])}")
    return cells


def turned(names: Sequence[str], number: int) -> Iterator[str]:
    """The names, beginning with another one in each round: nobody is always the first, when the machine is cool."""
    place = number % len(names) if names else 0
    yield from (*names[place:], *names[:place])


def disturbance(cells: Cells) -> str | None:
    """Who was disturbed most, and how much, if anybody was: then the round is no measurement."""
    shares = {name: foreign_share(one) for name, one in cells.items()}
    worst = max(shares, key=lambda name: shares[name], default="")
    if not worst or shares[worst] <= FOREIGN_MAX:
        return None
    return f"{worst}: others used {shares[worst]:.0%} of a processor"


def foreign_share(one: Cell) -> float:
    """What others used, as a share of the section's time, less what the kernel's count may be wrong by."""
    if not one.get("seconds"):
        return 0.0
    share: float = (one["foreign"] - FOREIGN_GRAIN) / one["seconds"]
    return max(0.0, share)


def cell(plan: Plan, scenario: Scenario, one: System) -> Cell:
    """One system in one scenario, in processes of its own. A failure is a cell too: the others go on."""
    if missing := one.missing():
        return {"cannot": f"{missing} is not installed"}
    with tempfile.TemporaryDirectory(prefix="superd-bench-") as folder, Processes(Path(folder)) as processes:
        server, client = CORES[scenario.placement]
        address = str(Path(folder) / "s")
        try:
            one.start(
                Place(
                    processes,
                    server,
                    address,
                    scenario.connections_of(one.name, quick=plan.quick),
                    one.environment,
                )
            )
            return _load(plan, scenario, one, processes, client)
        except AbsentError as absent:
            return {"cannot": str(absent)}
        except NotStartedError as failure:
            return {"failed": str(failure)}


def _load(plan: Plan, scenario: Scenario, one: System, processes: Processes, core: int) -> Cell:
    work = Work(
        module=f"tests.bench.systems.{one.module}",
        client=one.client,
        address=str(processes.folder / "s"),
        load=scenario.load_for(one.name),
        size=scenario.size,
        opened=scenario.opened_for(one.name),
        width=scenario.width,
        calls=scenario.calls_in(quick=plan.quick),
        seconds=plan.seconds,
        servers=processes.pids,
    )
    file = processes.folder / "work.json"
    file.write_text(json.dumps(work._asdict()), "utf-8")
    client = processes.module("tests.bench.load", str(file), core=core, environment=one.environment)
    line = processes.wait_for_line(client, LOAD_PATIENCE)
    result: Cell = json.loads(line)
    return result


def _summary(one: Cell) -> str:
    if "cannot" in one:
        return f"- ({one['cannot']})"
    if "failed" in one:
        return f"FAILED: {one['failed'].strip().rpartition(chr(10))[2]}"
    return (
        f"{one['calls'] / one['seconds']:>12,.0f}/s  foreign {one['foreign']:.2f} s of {one['seconds']:.2f} s"
    )
