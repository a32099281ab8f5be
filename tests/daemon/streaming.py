"""A service of streams and uploads for the tests, and what its handlers saw."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

from superd.service import Context, Service
from superd_client.contract import Message
from superd_client.errors import ApplicationError
from superd_client.streams import Stream, Upload
from tests.daemon.raw import RawClient, note, request


class Range(Message):
    """Numbers from 0: `count` of them, each with a text of `size` characters; number `unlucky` fails."""

    count: int = 10**9
    size: int = 0
    unlucky: int = -1


class Number(Message):
    value: int
    text: str = ""


class Unlucky(Message):
    value: int


numbers = Stream("flow.numbers", Range, Number, errors=[Unlucky])
plain = Stream("flow.plain", Range, Number, errors=[Unlucky])
total = Upload("flow.total", Range, Number, int, errors=[Unlucky])
plain_total = Upload("flow.plain_total", Range, Number, int, errors=[Unlucky])


class Flow:
    """The handlers. They count what they made, took and closed; `gate` holds them where it is not set."""

    def __init__(self) -> None:
        self.made = 0
        self.taken: list[int] = []
        self.closed = 0
        self.open = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.contexts: list[Context] = []
        self.service = Service("flow")
        self.service.method(numbers)(self.numbers)
        self.service.method(plain)(self.plain)
        self.service.method(total)(self.total)
        self.service.method(plain_total)(self.plain_total)

    async def numbers(self, params: Range, context: Context) -> AsyncIterator[Number]:
        with self._running(context):
            for value in range(params.count):
                await self.gate.wait()
                self.made += 1
                yield Number(value=value, text="x" * params.size)
                _fail_at(params, value)

    def plain(self, params: Range, context: Context) -> Iterator[Number]:
        assert threading.current_thread() is not threading.main_thread()
        with self._running(context):
            for value in range(params.count):
                self.made += 1
                yield Number(value=value, text="x" * params.size)
                _fail_at(params, value)

    async def total(self, params: Range, items: AsyncIterator[Number], context: Context) -> int:
        with self._running(context):
            async for number in items:
                self.taken.append(number.value)
                await self.gate.wait()
                if len(self.taken) == params.count:
                    break
                _fail_at(params, number.value)
        return sum(self.taken)

    def plain_total(self, params: Range, items: Iterator[Number], context: Context) -> int:
        with self._running(context):
            for number in items:
                self.taken.append(number.value)
                if len(self.taken) == params.count:
                    break
                _fail_at(params, number.value)
        return sum(self.taken)

    @contextlib.contextmanager
    def _running(self, context: Context) -> Iterator[None]:
        self.contexts.append(context)
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1
            self.closed += 1


def _fail_at(params: Range, value: int) -> None:
    if value == params.unlucky:
        raise ApplicationError(Unlucky(value=value), "not that one")


def start(
    method: str = "flow.numbers", request_id: object = 1, params: object = None, **meta: object
) -> bytes:
    """The request that opens a stream or an upload."""
    return request(method, params, request_id, **({"meta": meta} if meta else {}))


def receive_items(client: RawClient, request_id: object, first: int, count: int) -> list[Any]:
    """The next `count` messages, which are the items of this stream from number `first` on."""
    values = []
    for seq in range(first, first + count):
        message = client.receive()
        assert message["method"] == "rpc.item", message
        assert (message["params"]["id"], message["params"]["seq"]) == (request_id, seq)
        values.append(message["params"]["item"])
    return values


def credit(request_id: object, n: object) -> bytes:
    return note("credit", id=request_id, n=n)
