"""What superd is to reach, and whether it does: ratios within a round, and a verdict only where cells count."""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from tests.bench.judging import (
    Run,
    Summary,
    differences,
    figures,
    is_quiet,
    ratios,
    reason,
    rounds_of,
    summarise,
)
from tests.bench.matrix import REFERENCE

#: A scenario and a system.
Place: TypeAlias = tuple[str, str]
Sign: TypeAlias = Literal[">=", "<="]
Verdict: TypeAlias = Literal["met", "missed", "not judged"]


class Target(NamedTuple):
    """`left` against `right`, or `left` alone in its own unit, has to be at least or at most `bound`."""

    scenario: str
    text: str
    left: Place
    sign: Sign
    bound: float
    right: Place | None = None
    #: Compare by the difference in the scenario's unit: there is no ratio to nothing.
    difference: bool = False
    #: Minor versions of Python 3 that it is of; empty: all.
    pythons: Sequence[int] = ()

    def holds(self, figure: float) -> bool:
        """Whether a figure reaches the bound."""
        return figure >= self.bound if self.sign == ">=" else figure <= self.bound


class Judgement(NamedTuple):
    """A target with its figure; `why` says what is missing where there is no verdict."""

    target: Target
    verdict: Verdict
    found: Summary | None
    why: str = ""


def _against(key: str, system: str, sign: Sign, bounds: dict[str, float], title: str) -> list[Target]:
    """One system against others in one scenario."""
    return [
        Target(
            title,
            f"{'≥' if sign == '>=' else '≤'} {bound:g} × {other}",
            (key, system),
            sign,
            bound,
            (key, other),
        )
        for other, bound in bounds.items()
    ]


_LOW: Final = 'sequential, two cores, `latency = "low"`'
_LOW_CPU: Final = 'CPU with `latency = "low"`'

#: What two figures of the same may differ by, where the target is that they do not: as much as others may use of a cell
#: that counts. And for nothing against nothing, milliseconds of processor time a second.
SAME: Final = 1.05
SAME_MS: Final = 0.2

#: In the order of the table.
TARGETS: Final[Sequence[Target]] = (
    *_against(
        "sequential",
        "superd",
        ">=",
        {REFERENCE: 0.60, "multiprocessing": 1.0, "dbus-fast/broker": 3, "grpcio": 15},
        "sequential, blocking client",
    ),
    *_against("sequential", "superd-aio", ">=", {REFERENCE: 0.52}, "sequential, asyncio client"),
    *_against("sequential-split", "superd-low", ">=", {REFERENCE: 3.5, "multiprocessing": 1.8}, _LOW),
    Target(
        _LOW_CPU,
        f"no more at 0 calls/s (≤ {SAME_MS:g} ms/s)",
        ("paced-0", "superd-low"),
        "<=",
        SAME_MS,
        ("paced-0", "superd"),
        difference=True,
    ),
    *(
        Target(
            _LOW_CPU,
            f"no more at {rate:,} calls/s (≤ {SAME:g} ×)",
            (f"paced-{rate}", "superd-low"),
            "<=",
            SAME,
            (f"paced-{rate}", "superd"),
        )
        for rate in (100, 2000)
    ),
    *_against(
        "in-flight",
        "superd-aio",
        ">=",
        {REFERENCE: 0.17, "multiprocessing": 1.5, "dbus-fast/broker": 3, "grpc.aio": 35},
        "64 in flight",
    ),
    *_against(
        "connections-64", "superd-aio", ">=", {REFERENCE: 0.48, "multiprocessing": 1.2}, "64 connections"
    ),
    Target(
        "64 in flight, two cores",
        "≥ 1.6 × one core",
        ("in-flight-split", "superd-aio"),
        ">=",
        1.6,
        ("in-flight", "superd-aio"),
    ),
    *_against("connects", "superd", "<=", {REFERENCE: 1.4}, "1,000 connects with a first reply each"),
    Target(
        "1,000 connections, 10 active",
        "≥ 0.9 × 10 connections",
        ("connections-1000", "superd-aio"),
        ">=",
        0.9,
        ("connections-10", "superd-aio"),
    ),
    *_against("echo-64k", "superd", ">=", {REFERENCE: 0.45}, "64 KiB echo"),
    *_against("echo-1m", "superd", ">=", {REFERENCE: 0.40}, "1 MiB echo"),
    Target(
        "stream items", "≥ 2 × 64 in flight", ("stream", "superd-aio"), ">=", 2, ("in-flight", "superd-aio")
    ),
    Target("idle connection", "≤ 3 KB at 10,000", ("idle-10000", "superd-aio"), "<=", 3),
    *(
        Target(
            "async handler, blocking client",
            f"costs ≤ {bound - 1:.0%} more than inline ({text})",
            ("sequential", "superd"),
            "<=",
            bound,
            ("sequential", "superd-async"),
            pythons=pythons,
        )
        for bound, text, pythons in ((1.25, "3.11", (11,)), (1.15, "3.12+", range(12, 100)))
    ),
    *_against("cold-start", "superd-activated", "<=", {"imports": 1.35}, "cold start"),
    Target("idle daemon", "0 wake-ups/s but the watchdog's", ("idle", "superd-watched"), "<=", 0),
    Target("idle daemon", "≤ 40 MB resident", ("idle-resident", "superd-watched"), "<=", 40),
    Target(
        "cost of growth",
        "≤ 1.15 × at 10,000 connections and 200 methods",
        ("growth", "superd-200-methods"),
        "<=",
        1.15,
        ("growth", "superd-1-method"),
    ),
)


def judge(run: Run, targets: Sequence[Target] = TARGETS) -> list[Judgement]:
    """Each target with its figure and verdict; without those of other versions of Python."""
    minor = int(run["machine"]["python"].split(".")[1])
    return [_judge(run, target) for target in targets if not target.pythons or minor in target.pythons]


def _judge(run: Run, target: Target) -> Judgement:
    places = [target.left, *([target.right] if target.right else [])]
    found = summarise(_values(run, target))
    if found is None:
        return Judgement(target, "not judged", None, _missing(run, places))
    if disturbed := [place for place in places if not is_quiet(run, *place)]:
        key, system = disturbed[0]
        return Judgement(target, "not judged", found, f"{system} was disturbed in each round of {key}")
    return Judgement(target, "met" if target.holds(found.middle) else "missed", found)


def _values(run: Run, target: Target) -> list[float]:
    if target.right:
        return (differences if target.difference else ratios)(run, target.left, target.right)
    return list(figures(run, *target.left).values())


def _missing(run: Run, places: Sequence[Place]) -> str:
    for key, system in places:
        if why := reason(run, key, system):
            return f"{system}: {why}"
        if not any(system in each["cells"] for each in rounds_of(run, key)):
            return f"{system} was not measured in {key}"
    return "there is no round in which both count"
