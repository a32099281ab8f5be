"""Peers that mean harm, beside 64 well-behaved clients of other users: these keep their calls, and nearly their speed."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from tests.chaos.inside.hostile import ATTACKS
from tests.chaos.inside.load import Record
from tests.chaos.judgement import p99_between, read_reports
from tests.chaos.load import program
from tests.chaos.stage import HOSTILE, Stage, pause
from tests.chaos.table import Finding
from tests.system.guest import PATIENCE, GuestError

#: How many times as slow as without it the slowest of a hundred calls may be.
SLOWDOWN_MAX: Final = 3.0

#: What does not even connect, and is measured for comparison.
CONTROL: Final = "busy_loop"

#: Descriptors that superd may have more than before, once an attack is over: those of the load come and go.
SPARE_DESCRIPTORS: Final = 16


class Span(NamedTuple):
    """From when to when, in microseconds of CLOCK_MONOTONIC."""

    begun: int
    ended: int


class Attacked(NamedTuple):
    """One attack: the time without it, the time with it, how many steps it took, and what it left behind."""

    name: str
    calm: Span | None
    storm: Span
    steps: int
    left: str


def hostile(stage: Stage) -> Iterator[Finding]:
    """One attack after the other, under one load."""
    stage.start()
    before = stage.pid
    with stage.load(pace=0.05) as load:
        attacked = [_attack(stage, name) for name in ATTACKS]
    survived = stage.pid == before
    judgement = stage.judge(load, strict=True)
    records = list(read_reports(load.reports))
    yield from (_attack_finding(stage, each, records) for each in attacked)
    yield Finding(
        row="hostile peers",
        done=f"{stage.crowd}, all well-behaved and none of them the attacker's",
        figures=judgement.figures(),
        losses=(*map(str, judgement.losses), *(() if survived else ("superd ended",))),
        pause=judgement.longest,
    )


def _attack_finding(stage: Stage, attacked: Attacked, records: Sequence[Record]) -> Finding:
    storm = p99_between(records, *attacked.storm)
    figures = f"{attacked.steps:,} steps; p99 {storm * 1000:.1f} ms beside it"
    losses = [attacked.left] if attacked.left else []
    if attacked.calm is not None and (calm := p99_between(records, *attacked.calm)):
        figures += f", {calm * 1000:.1f} ms without: {storm / calm:.1f} x"
        if storm > calm * SLOWDOWN_MAX and attacked.name != CONTROL:
            losses.append(f"p99 is {storm / calm:.1f} times what it was")
    return Finding(
        row="hostile peers",
        done=f"{attacked.name.replace('_', ' ')} for {stage.scale.hostile_seconds:g} s",
        figures=figures,
        losses=tuple(losses),
    )


def _attack(stage: Stage, name: str) -> Attacked:
    stage.settle()
    before = stage.descriptors()
    calm = _calm(stage, name) if stage.scale.judges_latency else None
    storm, steps = _beside(stage, name)
    return Attacked(name, calm, storm, steps, stage.leaked(before, SPARE_DESCRIPTORS))


def _calm(stage: Stage, name: str) -> Span:
    """The undisturbed run. A process that takes as much of the processors runs beside it, too, and does not connect.

    Else the figures would be the scheduler's, and not superd's.
    """
    if name != CONTROL:
        return _beside(stage, CONTROL)[0]
    with _span() as calm:
        pause(stage.scale.hostile_seconds)
    return calm[0]


def _beside(stage: Stage, name: str) -> tuple[Span, int]:
    """Run an attack for its time; when that was, and how many steps it took."""
    command = program(HOSTILE, "tests.chaos.inside.hostile", name, stage.seed)
    with stage.guest.popen(*command) as attacker:
        try:
            assert attacker.stdout is not None
            if attacker.stdout.readline() != "begun\n":
                raise GuestError(f"{name} does not begin: {attacker.communicate()[1]}")
            with _span() as span:
                pause(stage.scale.hostile_seconds)
            said, complaint = attacker.communicate(timeout=PATIENCE)
        finally:
            attacker.kill()
    if attacker.returncode != 0:
        raise GuestError(f"{name} broke: {complaint}")
    return span[0], json.loads(said)["steps"]


@contextmanager
def _span() -> Iterator[list[Span]]:
    """Is filled with the time that the block took, once it is over."""
    span: list[Span] = []
    begun = time.monotonic_ns() // 1000
    yield span
    span.append(Span(begun, time.monotonic_ns() // 1000))
