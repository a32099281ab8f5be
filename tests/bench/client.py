"""The interface that every system has: few operations, from which the scenarios are made.

A client keeps connections, opened by `open`; each has answered a first call. Every reply is compared with the one
right answer: a client that gets another raises WrongAnswerError. What a system cannot do raises CannotError with the
reason, and its cell in the table stays empty.
"""

import asyncio
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Generic, TypeVar

import uvloop
from typing_extensions import override

C = TypeVar("C")


class CannotError(Exception):
    """The system has no such thing; the text says why, for the reader of the table."""


class Client(ABC):
    """One process that calls. `size` is that of the params (payload.SMALL ...)."""

    def __init__(self, address: str, size: int) -> None:
        self.address: Final = address
        self.size: Final = size

    @abstractmethod
    def open(self, count: int) -> None:
        """Open `count` more connections; return when each has answered a call, and keep them."""

    @abstractmethod
    def sequential(self, calls: int) -> None:
        """Make calls on the first connection, one after the other."""

    @abstractmethod
    def in_flight(self, calls: int, width: int) -> None:
        """Make calls on the first connection, `width` of them at a time."""

    @abstractmethod
    def spread(self, calls: int, active: int) -> None:
        """Make calls on the first `active` connections, one at a time on each."""

    def stream(self, items: int) -> None:
        """Receive a stream of small items, in order."""
        message = "no streams"
        raise CannotError(message)

    def one_way(self, calls: int) -> None:
        """Make calls without replies; return when the server has carried out all of them."""
        message = "no one-way calls"
        raise CannotError(message)

    def paced(self, rate: int, seconds: float) -> int:
        """Make so many calls a second on the first connection, for `seconds`; return how many they were."""
        message = "is not asked for calls at a pace"
        raise CannotError(message)

    @abstractmethod
    def close(self) -> None:
        """Close all connections."""


class Pace:
    """When each of `rate` calls a second is due, by an absolute timer: a late one makes none after it late."""

    def __init__(self, rate: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """The first is due now."""
        self.calls: Final = int(rate * seconds)
        self._rate: Final = rate
        self._clock: Final = clock
        self._start: Final = clock()
        self._end: Final = self._start + seconds

    def until(self, number: int) -> float:
        """Seconds from now to a call; to the end, where there is no such call."""
        due = self._start + number / self._rate if number < self.calls else self._end
        return max(0.0, due - self._clock())


class Blocking(Client, Generic[C]):
    """A client of a blocking library: `connect` makes a connection, and `call` makes a checked call on it.

    A library that can send and receive apart also has `send` and `receive`; then no thread is needed for many calls at
    a time. Otherwise a call at a time is a thread; `shared` says that threads may share a connection.
    """

    split: bool = False
    shared: bool = False

    def __init__(self, address: str, size: int) -> None:
        super().__init__(address, size)
        self.all: list[C] = []

    @abstractmethod
    def connect(self) -> C: ...

    @abstractmethod
    def disconnect(self, connection: C) -> None: ...

    @abstractmethod
    def call(self, connection: C, number: int) -> None: ...

    def adopt(self, connection: C) -> None:
        """Called by a thread before its first call on a connection."""

    def send(self, connection: C, number: int) -> None:
        raise NotImplementedError

    def receive(self, connection: C, number: int) -> None:
        raise NotImplementedError

    @override
    def open(self, count: int) -> None:
        for number in range(count):
            connection = self.connect()
            self.all.append(connection)
            self.call(connection, number)

    @override
    def sequential(self, calls: int) -> None:
        connection, call = self.all[0], self.call
        for number in range(calls):
            call(connection, number)

    @override
    def in_flight(self, calls: int, width: int) -> None:
        if not (self.split or self.shared):
            message = "one call at a time on a connection"
            raise CannotError(message)
        self._many(calls, self.all[:1] * width)

    @override
    def spread(self, calls: int, active: int) -> None:
        self._many(calls, self.all[:active])

    @override
    def paced(self, rate: int, seconds: float) -> int:
        pace = Pace(rate, seconds)
        for number in range(pace.calls):
            time.sleep(pace.until(number))
            self.call(self.all[0], number)
        time.sleep(pace.until(pace.calls))
        return pace.calls

    def _many(self, calls: int, lanes: Sequence[C]) -> None:
        if self.split:
            self._in_turns(calls, lanes)
        else:
            self._in_threads(calls, lanes)

    def _in_turns(self, calls: int, lanes: Sequence[C]) -> None:
        """Send one call on each lane, then receive all of the replies: the fewest switches between processes."""
        for first in range(0, calls, len(lanes)):
            turn = list(enumerate(lanes[: calls - first], first))
            for number, lane in turn:
                self.send(lane, number)
            for number, lane in turn:
                self.receive(lane, number)

    def _in_threads(self, calls: int, lanes: Sequence[C]) -> None:
        failures: list[BaseException] = []

        def work(lane: C, first: int) -> None:
            try:
                self.adopt(lane)
                for number in range(first, calls, len(lanes)):
                    self.call(lane, number)
            except BaseException as error:  # noqa: BLE001 - raised below, in the thread that asked
                failures.append(error)

        threads = [threading.Thread(target=work, args=(lane, first)) for first, lane in enumerate(lanes)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    @override
    def close(self) -> None:
        for connection in self.all:
            self.disconnect(connection)


class Asyncio(Client, Generic[C]):
    """A client of an asyncio library, on uvloop where the library does not say otherwise."""

    new_loop: Callable[[], asyncio.AbstractEventLoop] = staticmethod(uvloop.new_event_loop)

    #: Connections that are opened at a time: more would wait in the listening socket's queue.
    opening: int = 32

    #: Why `in_flight` cannot be, if it cannot.
    one_at_a_time: str = ""

    def __init__(self, address: str, size: int) -> None:
        super().__init__(address, size)
        self.all: list[C] = []
        self._runner: Final = asyncio.Runner(loop_factory=self.new_loop)

    @abstractmethod
    async def connect(self) -> C: ...

    @abstractmethod
    async def disconnect(self, connection: C) -> None: ...

    @abstractmethod
    async def call(self, connection: C, number: int) -> None: ...

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` to its end, on the loop that all connections belong to."""
        self._runner.run(work)

    @override
    def open(self, count: int) -> None:
        async def one(numbers: range) -> None:
            for number in numbers:
                connection = await self.connect()
                self.all.append(connection)
                await self.call(connection, number)

        width = min(self.opening, count)
        self.run(_together([one(range(lane, count, width)) for lane in range(width)]))

    @override
    def sequential(self, calls: int) -> None:
        self.run(self._lane(self.all[0], range(calls)))

    @override
    def in_flight(self, calls: int, width: int) -> None:
        if self.one_at_a_time:
            raise CannotError(self.one_at_a_time)
        self._many(calls, self.all[:1] * width)

    @override
    def spread(self, calls: int, active: int) -> None:
        self._many(calls, self.all[:active])

    @override
    def paced(self, rate: int, seconds: float) -> int:
        pace = Pace(rate, seconds)

        async def calling() -> None:
            for number in range(pace.calls):
                await asyncio.sleep(pace.until(number))
                await self.call(self.all[0], number)
            await asyncio.sleep(pace.until(pace.calls))

        self.run(calling())
        return pace.calls

    def _many(self, calls: int, lanes: Sequence[C]) -> None:
        width = len(lanes)
        self.run(_together([self._lane(each, range(i, calls, width)) for i, each in enumerate(lanes)]))

    async def _lane(self, connection: C, numbers: range) -> None:
        call = self.call
        for number in numbers:
            await call(connection, number)

    @override
    def close(self) -> None:
        async def all_of_them() -> None:
            for connection in self.all:
                await self.disconnect(connection)

        self.run(all_of_them())
        self._runner.close()


async def _together(work: Sequence[Coroutine[Any, Any, None]]) -> None:
    async with asyncio.TaskGroup() as group:
        for each in work:
            group.create_task(each)
