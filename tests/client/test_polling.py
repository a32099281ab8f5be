"""The decision to poll, with times that the tests make up: seconds as they would be read from a clock."""

from collections.abc import Iterator
from itertools import count

import pytest

from superd_client.polling import (
    CLOSE_EVENTS,
    CLOSE_EVENTS_MAX,
    CLOSE_USEC,
    CROWDED_POLLS,
    CROWDED_REST,
    POLL_USEC,
    YIELD_USEC,
    Polling,
)

USEC = 1 / 1_000_000

#: A microsecond less than a limit, the limit, and one more are told apart, whatever binary fractions make of them.
HAIR = USEC / 1000


class Waiter:
    """One who waits: its clock, in microseconds, moves as the tests say."""

    def __init__(self, now: int = 1_000_000) -> None:
        self.now = now
        self.polling = Polling()

    def events(self, number: int, apart: int = 20) -> None:
        """So many events, the first of them long after all before it."""
        self.now += 10 * CLOSE_USEC
        for _ in range(number):
            self.polling.note(self.now * USEC)
            self.now += apart

    def turn(self, lasts: int = 1) -> bool:
        """One look in vain, and a yield of the processor; whether to look once more."""
        before = self.now
        self.now += lasts
        return self.polling.goes_on(before * USEC, self.now * USEC)

    def poll_in_vain(self) -> int:
        """The turns of a poll that ends without an event."""
        return next(number for number in count(1) if not self.turn())

    def succeed(self) -> None:
        """A poll that ends with an event."""
        assert self.turn()
        self.polling.note(self.now * USEC)


@pytest.fixture
def waiter() -> Waiter:
    return Waiter()


def test_at_first_it_sleeps(waiter: Waiter) -> None:
    assert not waiter.polling.pays
    waiter.events(1)
    assert not waiter.polling.pays


@pytest.mark.parametrize(
    ("close", "pays"), [(CLOSE_EVENTS - 1, False), (CLOSE_EVENTS, True), (CLOSE_EVENTS + 1, True)]
)
def test_it_polls_after_a_row_of_close_events(waiter: Waiter, close: int, pays: bool) -> None:
    waiter.events(1 + close)  # the first is close to none
    assert waiter.polling.pays is pays


@pytest.mark.parametrize(
    ("apart", "pays"), [(CLOSE_USEC - 1, True), (CLOSE_USEC, True), (CLOSE_USEC + 1, False)]
)
def test_what_is_close(apart: int, pays: bool) -> None:
    polling = Polling()
    for _ in range(CLOSE_EVENTS):
        polling.note(0.0)
        polling.note(apart / 1_000_000)  # exact: nothing is subtracted from it
    assert polling.pays is pays


def test_one_event_that_is_late_begins_the_row_anew(waiter: Waiter) -> None:
    waiter.events(CLOSE_EVENTS)
    waiter.events(CLOSE_EVENTS)
    assert not waiter.polling.pays


@pytest.mark.parametrize("rate", [100, 2_000])
def test_calls_at_a_steady_rate_are_not_polled_for(waiter: Waiter, rate: int) -> None:
    for _ in range(1_000):
        waiter.polling.note(waiter.now * USEC)
        assert not waiter.polling.pays
        waiter.now += 1_000_000 // rate


def test_a_poll_in_vain_ends_and_needs_a_new_row(waiter: Waiter) -> None:
    waiter.events(1 + CLOSE_EVENTS)
    assert waiter.poll_in_vain() == POLL_USEC
    assert not waiter.polling.pays
    waiter.events(CLOSE_EVENTS)
    assert not waiter.polling.pays


@pytest.mark.parametrize(
    ("lasted", "goes_on"), [(POLL_USEC - 1, True), (POLL_USEC, False), (POLL_USEC + 1, False)]
)
def test_the_longest_poll(lasted: int, goes_on: bool) -> None:
    polling = Polling()
    assert polling.goes_on(2.0, 2.0)
    now = 2.0 + lasted * USEC
    assert polling.goes_on(now, now + (HAIR if lasted == POLL_USEC else 0.0)) is goes_on


def test_polls_with_success_go_on_for_ever(waiter: Waiter) -> None:
    waiter.events(1 + CLOSE_EVENTS)
    for _ in range(1_000):
        waiter.succeed()
        assert waiter.polling.pays


def rows_needed(waiter: Waiter) -> Iterator[int]:
    """How many close events it takes to poll, after each of polls that are all in vain."""
    while True:
        number = 0
        waiter.events(1)
        while not waiter.polling.pays:
            waiter.polling.note(waiter.now * USEC)
            number += 1
        yield number
        waiter.poll_in_vain()


def test_polls_that_all_fail_become_rare_up_to_a_limit(waiter: Waiter) -> None:
    needed = rows_needed(waiter)
    found = [next(needed) for _ in range(7)]
    assert found[:5] == [CLOSE_EVENTS * 2**power for power in range(5)]
    assert found[4:] == [CLOSE_EVENTS_MAX] * 3


def test_one_success_and_the_short_row_is_enough_again(waiter: Waiter) -> None:
    needed = rows_needed(waiter)
    assert [next(needed) for _ in range(3)][-1] == 4 * CLOSE_EVENTS
    waiter.succeed()
    waiter.poll_in_vain()
    assert next(rows_needed(waiter)) == CLOSE_EVENTS


def crowd(waiter: Waiter, polls: int, lasts: int) -> None:
    """Polls with success in which the processor was away for so long, twice."""
    for _ in range(polls):
        waiter.turn(lasts)
        waiter.turn(lasts)
        waiter.polling.note(waiter.now * USEC)


@pytest.mark.parametrize(
    ("polls", "pays"), [(CROWDED_POLLS - 1, True), (CROWDED_POLLS, False), (CROWDED_POLLS + 1, False)]
)
def test_a_processor_that_others_want_is_left_to_them(waiter: Waiter, polls: int, pays: bool) -> None:
    waiter.events(1 + CLOSE_EVENTS)
    crowd(waiter, polls, YIELD_USEC + 1)
    assert waiter.polling.pays is pays


@pytest.mark.parametrize(("lasts", "pays"), [(YIELD_USEC - 1, True), (YIELD_USEC + 1, False)])
def test_how_long_a_yield_may_last(waiter: Waiter, lasts: int, pays: bool) -> None:
    waiter.events(1 + CLOSE_EVENTS)
    crowd(waiter, CROWDED_POLLS, lasts)
    assert waiter.polling.pays is pays


def test_a_yield_of_the_very_limit() -> None:
    polling = in_a_row_at(0.0)  # so that nothing is subtracted from the limit
    for _ in range(CROWDED_POLLS):
        assert polling.goes_on(0.0, YIELD_USEC / 1_000_000)
        polling.note(0.0)
    assert polling.pays


def in_a_row_at(now: float) -> Polling:
    """One that polls, and whose events all came just now."""
    polling = Polling()
    for _ in range(1 + CLOSE_EVENTS):
        polling.note(now)
    return polling


def test_one_poll_without_a_long_yield_and_the_processor_is_free(waiter: Waiter) -> None:
    waiter.events(1 + CLOSE_EVENTS)
    for _ in range(10):
        crowd(waiter, CROWDED_POLLS - 1, YIELD_USEC + 1)
        waiter.succeed()
    assert waiter.polling.pays


@pytest.mark.parametrize(("early", "pays"), [(1, False), (0, True), (-1, True)])
def test_how_long_it_rests(early: int, pays: bool) -> None:
    polling = in_a_row_at(8.0)
    away = 8.0 + 2 * YIELD_USEC * USEC
    for number in range(CROWDED_POLLS):
        assert polling.goes_on(8.0, away) is (number < CROWDED_POLLS - 1)
        polling.note(8.0)
    for _ in range(1 + 2 * CLOSE_EVENTS):
        polling.note(away + CROWDED_REST - early * USEC)
    assert polling.pays is pays
