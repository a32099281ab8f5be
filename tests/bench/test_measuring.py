"""What the kernel says, and what is made of it."""

import os
import subprocess
import sys
import time

import pytest

from tests.bench.client import Pace
from tests.bench.machine import (
    cpu_seconds,
    describe,
    family,
    private_bytes,
    processors_used,
    resident_bytes,
    wakeups,
)
from tests.bench.measuring import WARM_UP_CALLS, calibrate, measure
from tests.bench.payload import KIB_64, MIB, POOL, SMALL, WrongAnswerError, encode, exchanges, expect, frame

TICK = os.sysconf("SC_CLK_TCK")


def test_busy_is_all_but_idle_and_waiting_and_what_was_stolen_too() -> None:
    stat = f"cpu  {TICK} {TICK} {TICK} 999 999 {TICK} {TICK} {2 * TICK} 7 7\ncpu0 1 1 1 1 1 1 1 1 1 1\n"
    assert processors_used(stat) == pytest.approx((7, 2))
    assert processors_used().busy > 0


def test_processor_time_is_that_of_the_process_itself() -> None:
    assert cpu_seconds(os.getpid()) == pytest.approx(time.process_time(), abs=0.05)


def test_a_process_has_memory_and_children() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in family([os.getpid()])
        assert wakeups(child.pid) >= 0
        child.communicate(b"\n")
    assert 0 < private_bytes(os.getpid()) <= resident_bytes(os.getpid()) * 2


def test_the_machine_is_described_and_not_named() -> None:
    text = " ".join(describe().values())
    assert "Python" in text
    assert os.uname().nodename not in text


def test_a_section_is_measured_on_both_sides() -> None:
    before = cpu_seconds(os.getpid())
    span = measure(lambda: sum(range(100_000)), 7, [os.getpid()])
    assert span.calls == 7
    assert 0 < span.client_cpu <= cpu_seconds(os.getpid()) - before
    assert span.server_cpu > 0
    assert span.seconds > 0
    assert span.foreign >= 0
    assert span.stolen >= 0


class Clock:
    """Time that only work takes."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("each", "asked", "calls", "warm"),
    [
        (0.001, 1.0, 1000, WARM_UP_CALLS),
        (0.1, 1.0, 10, 20),  # two seconds of warming up are enough for a slow system
        (0.5, 1.0, 2, 3),
        (5.0, 1.0, 1, 1),
    ],
)
def test_both_sides_are_warm_before_the_number_of_calls_is_found_by_their_time(
    each: float, asked: float, calls: int, warm: int
) -> None:
    clock, done = Clock(), 0

    def work(number: int) -> None:
        nonlocal done
        done += number
        clock.now += number * each

    assert calibrate(work, asked, clock) == pytest.approx(calls, abs=1)
    assert warm <= done <= 2 * warm + 1


def test_a_pace_does_not_drift() -> None:
    clock = Clock()
    pace = Pace(100, 0.5, clock)
    assert pace.calls == 50
    assert pace.until(0) == 0
    assert pace.until(10) == pytest.approx(0.1)
    clock.now += 0.25  # a call that took long
    assert pace.until(10) == 0
    assert pace.until(26) == pytest.approx(0.01)
    assert pace.until(pace.calls) == pytest.approx(0.25)


def test_a_pace_of_nothing_is_a_time() -> None:
    pace = Pace(0, 2.0, Clock())
    assert pace.calls == 0
    assert pace.until(0) == pytest.approx(2)


@pytest.mark.parametrize("size", [SMALL, KIB_64, MIB])
def test_params_have_their_size_and_each_its_own_answer(size: int) -> None:
    pool = exchanges(size)
    assert {len(encode(each.params)) for each in pool} == {size}
    assert len({each.item["price"] for each in pool}) == POOL
    assert all({**each.item, "price": 0} == {**each.params, "price": 0} for each in pool)
    assert len(frame(size)) > size


def test_another_answer_is_an_error_that_does_not_show_it() -> None:
    expect(1, "right", "right")
    with pytest.raises(WrongAnswerError, match="call 7 got another answer than its own") as caught:
        expect(7, "x" * 1000, "right")
    assert "xxx" not in str(caught.value)
