#!/usr/bin/python3
"""Calls superd over connections that stay open, until standard input ends, and proves that none of it was lost.

Prints "begun" when every connection has had its first answer; for each line of standard input the longest that a call took
since the last one, in milliseconds; and at the end what was counted, as JSON. Exit status 0: each
call that was sent has its right answer, what the calls added to the inventory is there exactly once, and every connection is
the one that was made at the beginning. Otherwise 1, and standard error says what is missing.
"""

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from superd_client import AsyncClient, Client, SuperdError

#: Connections of each kind. Two callers share one: there are always calls in flight beside others.
CONNECTIONS: Final = 8
SHARED_BY: Final = 2

#: Connections that nobody uses from the first call to the last.
IDLE: Final = 16

#: Seconds that a call may take: a restart, while the machine is busy with unpacking.
TIMEOUT: Final = 60.0

#: Seconds between two calls of a caller, so that the upgrade gets a processor, too.
PACE: Final = 0.005

COMPLAINTS_SHOWN: Final = 20


class Tally:
    """What became of one caller's calls."""

    def __init__(self, sku: str) -> None:
        self._sku: Final = sku
        self._added = 0
        self.sent = self.answered = self.longest_usec = self.longest_of_lap_usec = 0
        self.complaints: list[str] = []

    def next_call(self) -> tuple[str, dict[str, Any], Callable[[Any], bool]]:
        """A method, its params, and whether a result is the right one: a text that comes back, or one more on the shelf."""
        self.sent += 1
        if self.sent % 2:
            echo = {"text": f"{self._sku} {self.sent}"}
            return "echo.echo", echo, lambda result: bool(result == echo)
        # Not idempotent: one that is lost, or carried out twice, shows in each later answer.
        self._added += 1
        expected = self._added
        stock = {"sku": self._sku, "quantity": 1}
        return "inventory.add", stock, lambda result: bool(result["quantity"] == expected)

    @contextmanager
    def judged(self) -> Iterator[None]:
        """Around a call and the check of its answer."""
        begun = time.monotonic_ns()
        try:
            yield
            self.answered += 1
        except (SuperdError, AssertionError) as error:
            self.complaints.append(f"{self._sku}, call {self.sent}: {error!r}, caused by {error.__cause__!r}")
        took = (time.monotonic_ns() - begun) // 1000
        self.longest_usec = max(self.longest_usec, took)
        self.longest_of_lap_usec = max(self.longest_of_lap_usec, took)

    def lap(self) -> int:
        """The longest call since this was asked last, in microseconds."""
        longest, self.longest_of_lap_usec = self.longest_of_lap_usec, 0
        return longest


def call(client: Client, tally: Tally) -> None:
    """One call of a blocking client."""
    method, params, is_right = tally.next_call()
    with tally.judged():
        result = client.call(method, params, timeout=TIMEOUT)
        assert is_right(result), f"a wrong answer: {result}"


async def call_async(client: AsyncClient, tally: Tally) -> None:
    """One call of an asyncio client."""
    method, params, is_right = tally.next_call()
    with tally.judged():
        result = await client.call(method, params, timeout=TIMEOUT)
        assert is_right(result), f"a wrong answer: {result}"


def call_on(client: Client, tally: Tally, stopped: threading.Event) -> None:
    """One call after the other."""
    while not stopped.wait(PACE):
        call(client, tally)


async def call_on_async(client: AsyncClient, tally: Tally, stopped: threading.Event) -> None:
    """One call after the other."""
    while not stopped.is_set():
        await call_async(client, tally)
        await asyncio.sleep(PACE)


def call_anew(tally: Tally, stopped: threading.Event) -> None:
    """A connection for each call: nobody who comes is turned away."""
    while not stopped.wait(PACE):
        with Client() as client:
            call(client, tally)


def sockets() -> dict[str, str]:
    """The sockets of this process by their descriptors. A connection that was made again is another socket."""
    found = {}
    for each in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the descriptor of this very list
            found[each.name] = str(each.readlink())
    return {fd: target for fd, target in found.items() if target.startswith("socket:")}


def tallies(kind: str, count: int) -> list[Tally]:
    """For so many callers, with items of their own in the inventory."""
    return [Tally(f"{kind}-{os.getpid()}-{index}") for index in range(count)]


async def run(stack: AsyncExitStack) -> dict[str, list[Tally]]:
    """Call until told to stop; what became of each kind of caller."""
    clients = [stack.enter_context(Client()) for _ in range(CONNECTIONS)] * SHARED_BY
    async_clients = [await stack.enter_async_context(AsyncClient()) for _ in range(CONNECTIONS)] * SHARED_BY
    idle_clients = [stack.enter_context(Client()) for _ in range(IDLE)]
    counts = {
        "blocking": tallies("B", len(clients)),
        "asyncio": tallies("A", len(async_clients)),
        "idle": tallies("I", len(idle_clients)),
        "newcomers": tallies("N", 1),
    }
    blocking = list(zip(clients, counts["blocking"], strict=True))
    asynchronous = list(zip(async_clients, counts["asyncio"], strict=True))
    idle = list(zip(idle_clients, counts["idle"], strict=True))

    # The first call connects. The descriptors of blocking calls are not in use while nobody calls.
    for client, tally in blocking + idle:
        call(client, tally)
    for async_client, tally in asynchronous:
        await call_async(async_client, tally)
    connected = sockets()
    print("begun", flush=True)

    stopped, nobody_comes = threading.Event(), threading.Event()
    newcomer = asyncio.to_thread(call_anew, counts["newcomers"][0], nobody_comes)
    calling = asyncio.gather(
        newcomer,
        *(asyncio.to_thread(call_on, *pair, stopped) for pair in blocking),
        *(call_on_async(*pair, stopped) for pair in asynchronous),
    )
    while await asyncio.to_thread(sys.stdin.readline):
        laps = [each.lap() for callers in counts.values() for each in callers]
        print(max(laps) // 1000, flush=True)
    nobody_comes.set()
    stopped.set()
    await calling
    for client, tally in idle:
        call(client, tally)
    for fd, target in connected.items() ^ sockets().items():
        counts["idle"][0].complaints.append(
            f"descriptor {fd}, {target}, is not the connection of the beginning"
        )
    return counts


def summary(callers: list[Tally]) -> dict[str, int]:
    """The figures of one kind."""
    return {
        "callers": len(callers),
        "sent": sum(each.sent for each in callers),
        "answered": sum(each.answered for each in callers),
        "longest_usec": max(each.longest_usec for each in callers),
    }


async def main() -> int:
    """Run, and say what was counted."""
    # All blocking callers at once, the newcomer, and the reader of standard input.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(CONNECTIONS * SHARED_BY + 2))
    async with AsyncExitStack() as stack:
        counts = await run(stack)
    complaints = [text for callers in counts.values() for each in callers for text in each.complaints]
    print(json.dumps({kind: summary(callers) for kind, callers in counts.items()}))
    print("\n".join(complaints[:COMPLAINTS_SHOWN]), file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
