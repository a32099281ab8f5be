"""Peers that mean harm, beside 64 well-behaved clients of other users: these keep their calls, and nearly their speed."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from tests.chaos.inside.hostile import ATTACKS
from tests.chaos.judgement import p99_between, read_reports
from tests.chaos.load import CLIENTS, program
from tests.chaos.stage import HOSTILE, Stage, pause
from tests.chaos.table import Finding
from tests.system.guest import PATIENCE, GuestError

#: How many times as slow as without it the slowest of a hundred calls may be.
SLOWDOWN_MAX: Final = 3.0

#: Descriptors that superd may have more than before, once an attack is over: those of the load come and go.
SPARE_DESCRIPTORS: Final = 16


class Span(NamedTuple):
    """From when to when, in microseconds of CLOCK_MONOTONIC."""

    begun: int
    ended: int


class Attacked(NamedTuple):
    """One attack: the time without it, the time with it, how many steps it took, and what it left behind."""

    name: str
    calm: Span
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
    for each in attacked:
        calm, storm = (p99_between(records, *span) for span in (each.calm, each.storm))
        slowdown = storm / calm if calm else 0.0
        losses = [each.left] if each.left else []
        if slowdown > SLOWDOWN_MAX and stage.scale.judges_latency:
            losses.append(f"p99 is {slowdown:.1f} times what it was")
        yield Finding(
            row="hostile peers",
            done=f"{each.name.replace('_', ' ')} for {stage.scale.hostile_seconds:g} s",
            figures=(
                f"{each.steps:,} steps; p99 {calm * 1000:.1f} ms before, {storm * 1000:.1f} ms beside it: "
                f"{slowdown:.1f} x"
            ),
            losses=tuple(losses),
        )
    yield Finding(
        row="hostile peers",
        done=f"{CLIENTS} well-behaved clients of 4 other uids beside all of them",
        figures=judgement.figures(),
        losses=(*map(str, judgement.losses), *(() if survived else ("superd ended",))),
        pause=judgement.longest,
    )


def _attack(stage: Stage, name: str) -> Attacked:
    seconds = stage.scale.hostile_seconds
    stage.settle()
    before = stage.descriptors()
    with _span() as calm:
        pause(seconds)
    command = program(HOSTILE, "tests.chaos.inside.hostile", name, stage.seed)
    with stage.guest.popen(*command) as attacker:
        try:
            assert attacker.stdout is not None
            if attacker.stdout.readline() != "begun\n":
                raise GuestError(f"{name} does not begin: {attacker.communicate()[1]}")
            with _span() as storm:
                pause(seconds)
            said, complaint = attacker.communicate(timeout=PATIENCE)
        finally:
            attacker.kill()
    if attacker.returncode != 0:
        raise GuestError(f"{name} broke: {complaint}")
    left = stage.leaked(before, SPARE_DESCRIPTORS)
    return Attacked(name, calm[0], storm[0], json.loads(said)["steps"], left)


@contextmanager
def _span() -> Iterator[list[Span]]:
    """Is filled with the time that the block took, once it is over."""
    span: list[Span] = []
    begun = time.monotonic_ns() // 1000
    yield span
    span.append(Span(begun, time.monotonic_ns() // 1000))
