"""asyncvarlink on the standard event loop, whose readers and writers it needs. It checks types by the annotations."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from asyncvarlink import (
    VarlinkClientProtocol,
    VarlinkInterface,
    VarlinkInterfaceRegistry,
    connect_unix_varlink,
    create_unix_server,
    varlinkmethod,
)
from typing_extensions import override

from tests.bench.client import Asyncio
from tests.bench.payload import ITEM_SKU, POOL, exchanges, expect, price_of


@dataclass
class Item:
    """A reply."""

    sku: str
    qty: int
    tags: list[str]
    note: str
    price: float


@dataclass
class Tick:
    """A small item."""

    seq: int
    sku: str


class Inventory(VarlinkInterface, name="com.example.inventory"):  # type: ignore[call-arg] # known where it is installed
    """The service, and for the client its description."""

    def __init__(self) -> None:
        self._notes = 0

    @varlinkmethod(return_parameter="item")
    def Lookup(self, *, sku: str, qty: int, tags: list[str], note: str) -> Item:  # noqa: N802 - varlink's names
        return Item(sku, qty, tags, note, price_of(qty))

    @varlinkmethod
    def Note(self, *, sku: str, qty: int, tags: list[str], note: str) -> None:  # noqa: N802
        self._notes += 1

    @varlinkmethod(return_parameter="count")
    def Noted(self) -> int:  # noqa: N802
        count, self._notes = self._notes, 0
        return count

    @varlinkmethod(return_parameter="tick")
    def Watch(self, *, items: int) -> Iterator[Tick]:  # noqa: N802
        for number in range(items):
            yield Tick(number, ITEM_SKU)


def serve(address: str, ready: Callable[[], None]) -> None:
    """Accept for ever."""

    async def forever() -> None:
        registry = VarlinkInterfaceRegistry()
        registry.register_interface(Inventory())
        server = await create_unix_server(registry.protocol_factory, address)
        ready()
        await server.serve_forever()

    asyncio.run(forever())


class AsyncVarlink(Asyncio[Any]):
    """Proxies of the interface. Calls are queued, and answered one after the other."""

    new_loop = staticmethod(asyncio.new_event_loop)
    #: The server's queue of connections is the shortest there is.
    opening = 1

    def __init__(self, address: str, size: int) -> None:
        super().__init__(address, size)
        self._exchanges: Final = exchanges(size)

    @override
    async def connect(self) -> Any:
        transport, protocol = await connect_unix_varlink(VarlinkClientProtocol, self.address)
        proxy: Any = protocol.make_proxy(Inventory)
        proxy.transport = transport
        return proxy

    @override
    async def disconnect(self, connection: Any) -> None:
        connection.transport.close()

    @override
    async def call(self, connection: Any, number: int) -> None:
        params, item = self._exchanges[number % POOL]
        reply = await connection.Lookup(**params)
        expect(number, asdict(reply["item"]), item)

    @override
    def stream(self, items: int) -> None:
        self.run(self._stream(items))

    async def _stream(self, items: int) -> None:
        seen = 0
        async for reply in self.all[0].Watch(items=items):
            tick = reply["tick"]
            expect(seen, (tick.seq, tick.sku), (seen, ITEM_SKU))
            seen += 1
        expect(items, seen, items)

    @override
    def one_way(self, calls: int) -> None:
        self.run(self._one_way(calls))

    async def _one_way(self, calls: int) -> None:
        connection, params = self.all[0], self._exchanges[0].params
        for _ in range(calls):
            await connection.Note.oneway(**params)
        expect(calls, (await connection.Noted())["count"], calls)
