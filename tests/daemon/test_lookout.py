"""Deadlines of calls that were just begun: noted, and watched when there are many or when the first is due."""

import asyncio
import os
import weakref
from collections.abc import Callable

import pytest

from superd.context import Context
from superd.deadlines import Deadlines, now_usec
from superd.handlers import Endpoint
from superd.lookout import NOTED_MAX, Lookout
from superd.peer import Caller
from superd.work import Outcome, Work
from superd_client.builtin import Nothing
from superd_client.contract import Method
from superd_client.wire.envelope import Request
from superd_client.wire.errors import ErrorObject
from tests.daemon.running import LOOPS

FAR = 10**9
ENDPOINT = Endpoint(Method("probe.run", Nothing, str), lambda params, context: "", False, "probe")


class Recorder:
    """Who began the calls: notes what is stopped."""

    def __init__(self) -> None:
        self.stopped: list[Work] = []
        self.changed = asyncio.Event()

    def stop(self, work: Work, error: ErrorObject) -> None:
        assert error.message == "the deadline of the call has passed"
        work.settle()
        self.stopped.append(work)
        self.changed.set()

    def ended(self, work: Work, outcome: Outcome | None) -> None:
        raise AssertionError("nothing runs")


def begin(owner: Recorder, due: int) -> Work:
    caller = Caller(os.getuid(), os.getgid(), os.getpid())
    context = Context(method="probe.run", call_id="c", caller=caller, state=None)
    return Work(owner, Request(1, "probe.run", Nothing()), ENDPOINT, context, due)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[..., None]:
    def run(test: Callable[[Deadlines, Lookout, Recorder], object]) -> None:
        async def main() -> None:
            deadlines = Deadlines()
            lookout = Lookout(deadlines)
            try:
                found = test(deadlines, lookout, Recorder())
                if asyncio.iscoroutine(found):
                    await found
            finally:
                lookout.close()
                deadlines.close()

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(main())

    return run


@pytest.mark.parametrize("count", [NOTED_MAX - 1, NOTED_MAX, NOTED_MAX + 1])
def test_the_deadlines_of_so_many_are_watched(run: Callable[..., None], count: int) -> None:
    def test(deadlines: Deadlines, lookout: Lookout, owner: Recorder) -> None:
        works = [begin(owner, now_usec() + FAR) for _ in range(count)]
        for work in works:
            lookout.note(work, now_usec() + FAR)
        assert len(deadlines) == (0 if count < NOTED_MAX else NOTED_MAX)

    run(test)


def test_what_has_ended_is_not_watched(run: Callable[..., None]) -> None:
    def test(deadlines: Deadlines, lookout: Lookout, owner: Recorder) -> None:
        for number in range(2 * NOTED_MAX):
            work = begin(owner, now_usec() + FAR)
            if number % NOTED_MAX:
                work.settle()
            lookout.note(work, now_usec() + FAR)
        assert len(deadlines) == 2

    run(test)


def test_a_call_is_stopped_when_it_is_due_and_not_sooner(run: Callable[..., None]) -> None:
    async def test(deadlines: Deadlines, lookout: Lookout, owner: Recorder) -> None:
        late, soon, ended = now_usec() + FAR, now_usec() + 20_000, now_usec() + 10_000
        works = {due: begin(owner, due) for due in (late, soon, ended)}
        for due, work in works.items():
            lookout.note(work, due)
        works[ended].settle()
        async with asyncio.timeout(10):
            await owner.changed.wait()
        assert now_usec() >= soon
        assert owner.stopped == [works[soon]]

    run(test)


def test_what_has_ended_is_not_kept_alive_where_it_is_tidied(run: Callable[..., None]) -> None:
    def test(deadlines: Deadlines, lookout: Lookout, owner: Recorder) -> None:
        kept, ended = begin(owner, now_usec() + FAR), begin(Recorder(), now_usec() + FAR)
        for work in (kept, ended):
            lookout.note(work, now_usec() + FAR)
        its_owner = weakref.ref(ended.owner)
        ended.settle()
        del work, ended
        assert its_owner() is not None
        lookout.tidy()
        assert its_owner() is None
        assert not kept.answered

    run(test)
