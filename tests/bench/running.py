"""Rounds: every system once in each scenario, in an order that moves on from round to round."""

import json
import math
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.bench.load import Work
from tests.bench.matrix import DESCRIPTORS, SCENARIOS, VARIANTS, Scenario, System, system
from tests.bench.processes import LOAD_PATIENCE, NotStartedError, Processes, descriptors
from tests.bench.starting import AbsentError, Place
from tests.bench.targets import TARGETS

#: Both ends on one core, and a core each.
CORES: Final = {"same": (0, 0), "split": (0, 1)}

#: Processor time of others, as a share of a section's time, above which its cell is thrown away; and seconds that the
#: kernel's count (in ticks of 10 ms, for each processor) may be wrong by.
FOREIGN_MAX: Final = 0.05
FOREIGN_GRAIN: Final = 0.02

#: Seconds between two looks of the kernel at who uses a processor, at CONFIG_HZ=250. Where processors are busy in part, as
#: they are with a core for each side, their use is a sample, and its error grows as the root of the looks.
LOOK_SECONDS: Final = 0.004

#: Tries of a cell, as long as it is disturbed, one at once after the other; and the time that a run spends on more than the
#: first, as a share of its forecast. On a machine that is never quiet more tries would only take longer.
TRIES: Final = 4
AGAIN_SHARE: Final = 0.25

#: Rounds of more than were asked for, where a system has fewer than ENOUGH cells that count.
MORE_ROUNDS: Final = 2
ENOUGH: Final = 3

#: Seconds that a cell takes beside its section: to start both sides, to warm them up, to end them. For the forecast.
AROUND_SECONDS: Final = 1.2

Cell = dict[str, Any]
Cells = dict[str, Cell]


class Plan(NamedTuple):
    """What a run does. `seconds` is how long a measured section takes, where time decides its size."""

    scenarios: Sequence[Scenario]
    systems: Sequence[str]
    rounds: int
    seconds: float
    quick: bool
    more: int = 0

    def of(self, scenario: Scenario, number: int = 0) -> list[str]:
        """The systems of a scenario in a round; what is a variant is not chosen by name, but comes with superd.

        Who is in no target of the scenario is there to be seen beside it, and measured in every other round.
        """
        names = scenario.quick if self.quick else scenario.systems
        return [
            name
            for name in names
            if (not self.systems or name in self.systems or _belongs(name, self.systems))
            and (number % 2 == 0 or name in judged(scenario.key))
        ]

    def forecast(self) -> tuple[int, float]:
        """Cells, and about how many seconds they take where nothing is measured again."""
        cells = [
            each.longer * self.seconds + AROUND_SECONDS
            for number in range(self.rounds)
            for each in self.scenarios
            for _ in self.of(each, number)
        ]
        return len(cells), sum(cells)


def _belongs(name: str, chosen: Sequence[str]) -> bool:
    families = {each.partition("-")[0] for each in chosen}
    return name == "imports" or (name in VARIANTS and name.partition("-")[0] in families)


@cache
def judged(key: str) -> frozenset[str]:
    """The systems that a target compares in a scenario."""
    places = [place for target in TARGETS for place in (target.left, target.right) if place]
    return frozenset(name for one, name in places if key == (SCENARIOS[one].same_as or one))


def run(plan: Plan, say: Callable[[str], None]) -> dict[str, list[dict[str, Any]]]:
    """For each scenario its rounds, as the JSON has them."""
    count, seconds = plan.forecast()
    extra = seconds * AGAIN_SHARE
    say(f"{count} cells, in about {_minutes(seconds)}, and up to {_minutes(extra)} more for disturbed ones")
    found: dict[str, list[dict[str, Any]]] = {scenario.key: [] for scenario in plan.scenarios}
    again = Again(extra)
    with descriptors(DESCRIPTORS):
        for number in range(plan.rounds + plan.more):
            for scenario in plan.scenarios:
                rounds = found[scenario.key]
                if needs_more(rounds, plan.rounds) and plan.of(scenario, number):
                    rounds.append({"round": number, "cells": one_round(plan, scenario, number, again, say)})
    return found


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} minutes"


def needs_more(rounds: Sequence[dict[str, Any]], wanted: int) -> bool:
    """Whether there are fewer rounds than are wanted, or a system whose cells were disturbed too often."""
    if len(rounds) < wanted:
        return True
    disturbed = Counter[str]()
    for each in rounds:
        disturbed.update(name for name, one in each["cells"].items() if one.get("disturbed"))
    return any(wanted - times < min(ENOUGH, wanted) for times in disturbed.values())


class Again:
    """The time that is left to measure disturbed cells again."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`seconds` for all cells of a run."""
        self._left = seconds
        self._clock = clock

    def until_quiet(self, measure: Callable[[], Cell], *, split: bool) -> Cell:
        """Measure a cell, and again as long as it is disturbed; the last try, with the number of those before it.

        Nothing but others' use of the machine decides: no try is chosen by its figure.
        """
        one = measure() | {"thrown_away": 0}
        one["disturbed"] = disturbance(one, split=split)
        for thrown in range(1, TRIES):
            if not one["disturbed"] or self._left <= 0:
                break
            start = self._clock()
            one = measure() | {"thrown_away": thrown}
            one["disturbed"] = disturbance(one, split=split)
            self._left -= self._clock() - start
        return one


def one_round(plan: Plan, scenario: Scenario, number: int, again: Again, say: Callable[[str], None]) -> Cells:
    """A scenario with each of its systems, one after the other."""
    cells = {}
    for name in turned(plan.of(scenario, number), number):
        measure = partial(cell, plan, scenario, system(name))
        cells[name] = again.until_quiet(measure, split=scenario.placement == "split")
        say(f"round {number + 1}  {scenario.key:<18} {name:<20} {_summary(cells[name])}")
    return cells


def turned(names: Sequence[str], number: int) -> Iterator[str]:
    """The names, beginning with another one in each round: nobody is always the first, when the machine is cool."""
    place = number % len(names) if names else 0
    yield from (*names[place:], *names[:place])


def disturbance(one: Cell, *, split: bool = False) -> str | None:
    """How much of a processor others used, if so much that the cell is no measurement."""
    share = foreign_share(one, split=split)
    if share <= FOREIGN_MAX:
        return None
    stolen = one["stolen"] / one["seconds"]
    hypervisor = f", {stolen:.0%} of it other guests of the host" if stolen >= 0.01 else ""
    return f"others used {share:.0%} of a processor{hypervisor}"


def foreign_share(one: Cell, *, split: bool) -> float:
    """What others used, as a share of the section's time, less what the kernel's count may be wrong by."""
    if not one.get("seconds"):
        return 0.0
    seconds = one["seconds"]
    looks = (os.cpu_count() or 1) * seconds / LOOK_SECONDS
    sampling = math.sqrt(looks) / 2 * LOOK_SECONDS if split else 0.0
    share: float = (one["foreign"] - FOREIGN_GRAIN - sampling) / seconds
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
        rate=scenario.rate,
        seconds=plan.seconds * scenario.longer,
        servers=processes.pids,
        notices=processes.notices.fileno() if processes.notices else -1,
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
    rate = one["calls"] / one["seconds"]
    tries = f"  ({one['thrown_away']} thrown away)" if one["thrown_away"] else ""
    return f"{rate:>12,.0f}/s  foreign {one['foreign']:.2f} s of {one['seconds']:.2f} s{tries}"
