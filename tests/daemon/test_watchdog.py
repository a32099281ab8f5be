import asyncio
import os
import time
from collections.abc import Callable, Iterator

import pytest
import uvloop

from superd.sd.watchdog import Watchdog
from tests.daemon.raw import PATIENCE


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    make: Callable[[], asyncio.AbstractEventLoop] = request.param
    new = make()
    yield new
    new.close()


async def feeds(fed: asyncio.Semaphore, count: int) -> None:
    """Wait until `count` more feeds have come."""
    async with asyncio.timeout(PATIENCE):
        for _ in range(count):
            await fed.acquire()


def test_feeds_at_once_and_then_at_half_the_interval(loop: asyncio.AbstractEventLoop) -> None:
    fed = asyncio.Semaphore(0)
    watchdog = Watchdog(40_000, fed.release)
    begin = time.monotonic()
    watchdog.start(loop)
    assert not fed.locked()
    before = watchdog.lag_usec
    loop.run_until_complete(feeds(fed, 4))
    assert time.monotonic() - begin >= 0.055, "one at once, three after 20 ms each"
    watchdog.stop()
    assert before is None
    assert watchdog.lag_usec is not None
    assert watchdog.lag_max_usec is not None
    assert 0 <= watchdog.lag_usec <= watchdog.lag_max_usec


def test_a_loop_that_hangs_does_not_feed_and_its_lag_is_measured(loop: asyncio.AbstractEventLoop) -> None:
    fed = asyncio.Semaphore(0)
    times: list[float] = []

    def feed() -> None:
        times.append(time.monotonic())
        fed.release()

    watchdog = Watchdog(20_000, feed)
    watchdog.start(loop)
    loop.run_until_complete(feeds(fed, 2))
    begin = time.monotonic()
    while time.monotonic() < begin + 0.1:
        pass
    seen = len(times)
    loop.run_until_complete(feeds(fed, seen - 1))
    watchdog.stop()
    assert not [moment for moment in times if begin <= moment < begin + 0.1]
    assert watchdog.lag_max_usec is not None
    assert watchdog.lag_max_usec >= 85_000


def test_stopped_it_feeds_no_more(loop: asyncio.AbstractEventLoop) -> None:
    fed: list[None] = []
    watchdog = Watchdog(2_000, lambda: fed.append(None))
    watchdog.start(loop)
    watchdog.stop()
    watchdog.stop()
    # Twenty turns of the feed would fit in here.
    later = loop.create_future()
    loop.call_later(0.02, later.set_result, None)
    loop.run_until_complete(later)
    assert len(fed) == 1, "start feeds at once, and nothing after stop"


def test_started_twice_it_has_one_timer(loop: asyncio.AbstractEventLoop) -> None:
    count: list[None] = []
    watchdog = Watchdog(60_000_000, lambda: count.append(None))
    watchdog.start(loop)
    watchdog.start(loop)
    watchdog.stop()
    assert len(count) == 1


def test_without_a_watchdog_there_is_no_timer() -> None:
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        loop.call_later = loop.call_at = pytest.fail  # type: ignore[method-assign,assignment]
        watchdog = Watchdog.from_environment(lambda: pytest.fail("fed"), {})
        watchdog.start(loop)
        watchdog.stop()
    assert watchdog.interval_usec is None
    assert watchdog.lag_usec is None
    assert watchdog.lag_max_usec is None


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_PID": str(os.getpid())}, None),
        ({"WATCHDOG_USEC": "2000000"}, 2_000_000),
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())}, 2_000_000),
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"}, None),
    ],
)
def test_the_environment_decides(environ: dict[str, str], interval: int | None) -> None:
    environ["PATH"] = "/bin"
    assert Watchdog.from_environment(lambda: None, environ).interval_usec == interval
    assert environ == {"PATH": "/bin"}


@pytest.mark.parametrize("text", ["", "0", "-1", "2s", "1.5", "٣"])
def test_what_is_no_interval(text: str) -> None:
    with pytest.raises(ValueError, match="WATCHDOG_USEC is not a positive number"):
        Watchdog.from_environment(lambda: None, {"WATCHDOG_USEC": text})
    with pytest.raises(ValueError, match="WATCHDOG_PID is not a positive number"):
        Watchdog.from_environment(lambda: None, {"WATCHDOG_USEC": "1", "WATCHDOG_PID": text})
