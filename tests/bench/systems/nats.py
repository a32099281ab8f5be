"""nats-py with JSON, over TCP on the loopback: nats-server has no Unix sockets. Nothing is validated."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import nats
import uvloop
from typing_extensions import override

from tests.bench.client import Asyncio
from tests.bench.payload import ITEM_SKU, METHOD, POOL, answer, encode, exchanges, expect

NOTE: Final = "inventory.notes.add"
NOTED: Final = "inventory.notes.count"
WATCH: Final = "inventory.watch"
#: Seconds for a reply: more than a machine that is busy needs.
PATIENCE: Final = 60


def _url(address: str) -> str:
    return f"nats://127.0.0.1:{Path(f'{address}.port').read_text('ascii')}"


async def _connect(url: str) -> Any:
    return await nats.connect(url, pending_size=64 << 20)


def serve(address: str, ready: Callable[[], None]) -> None:
    """Subscribe to the subjects, on the server whose port is in the file beside `address`."""

    url = _url(address)

    async def forever() -> None:
        connection = await _connect(url)
        notes: list[int] = []

        async def lookup(message: Any) -> None:
            await message.respond(encode(answer(json.loads(message.data))))

        async def note(message: Any) -> None:
            notes.append(json.loads(message.data)["qty"])

        async def noted(message: Any) -> None:
            await message.respond(encode(len(notes)))
            notes.clear()

        async def watch(message: Any) -> None:
            for number in range(json.loads(message.data)):
                await message.respond(encode([number, ITEM_SKU]))

        for subject, handler in ((METHOD, lookup), (WATCH, watch)):
            await connection.subscribe(subject, cb=handler, pending_msgs_limit=-1, pending_bytes_limit=-1)

        async def in_order(message: Any) -> None:  # two subscriptions would be two tasks, without an order
            await (noted if message.subject == NOTED else note)(message)

        await connection.subscribe(
            "inventory.notes.*", cb=in_order, pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        await connection.flush()
        ready()
        await asyncio.Event().wait()

    uvloop.run(forever())


class Nats(Asyncio[Any]):
    """`request`."""

    def __init__(self, address: str, size: int) -> None:
        super().__init__(address, size)
        self._exchanges: Final = exchanges(size)
        self._url: Final = _url(address)

    @override
    async def connect(self) -> Any:
        return await _connect(self._url)

    @override
    async def disconnect(self, connection: Any) -> None:
        await connection.close()

    @override
    async def call(self, connection: Any, number: int) -> None:
        params, item = self._exchanges[number % POOL]
        reply = await connection.request(METHOD, encode(params), timeout=PATIENCE)
        expect(number, json.loads(reply.data), item)

    @override
    def stream(self, items: int) -> None:
        self.run(self._stream(items))

    async def _stream(self, items: int) -> None:
        connection = self.all[0]
        inbox = connection.new_inbox()
        ticks = await connection.subscribe(inbox, pending_msgs_limit=-1, pending_bytes_limit=-1)
        await connection.publish(WATCH, encode(items), reply=inbox)
        for number in range(items):
            tick = await ticks.next_msg(timeout=PATIENCE)
            expect(number, json.loads(tick.data), [number, ITEM_SKU])
        await ticks.unsubscribe()

    @override
    def one_way(self, calls: int) -> None:
        self.run(self._one_way(calls))

    async def _one_way(self, calls: int) -> None:
        connection, params = self.all[0], self._exchanges[0].params
        for _ in range(calls):
            await connection.publish(NOTE, encode(params))
        reply = await connection.request(NOTED, b"0", timeout=PATIENCE)
        expect(calls, json.loads(reply.data), calls)
