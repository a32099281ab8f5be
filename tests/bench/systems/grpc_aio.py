"""grpc.aio over a Unix socket, on the standard event loop, as its pages show it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import grpc
from typing_extensions import override

from tests.bench.client import Asyncio
from tests.bench.payload import ITEM_SKU, POOL, exchanges, expect, price_of
from tests.bench.systems.grpc_stubs import OWN, messages, pool, services


class Inventory(services.InventoryServicer):
    """The service."""

    @override
    async def Lookup(self, request: Any, context: Any) -> Any:
        return messages.Item(
            sku=request.sku,
            qty=request.qty,
            tags=request.tags,
            note=request.note,
            price=price_of(request.qty),
        )

    @override
    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for number in range(request.items):
            yield messages.Tick(seq=number, sku=ITEM_SKU)


def serve(address: str, ready: Callable[[], None]) -> None:
    """Accept for ever."""

    async def forever() -> None:
        server = grpc.aio.server()
        services.add_InventoryServicer_to_server(Inventory(), server)
        server.add_insecure_port(f"unix:{address}")
        await server.start()
        ready()
        await server.wait_for_termination()

    asyncio.run(forever())


class GrpcAio(Asyncio[Any]):
    """A channel, its stub."""

    new_loop = staticmethod(asyncio.new_event_loop)

    def __init__(self, address: str, size: int) -> None:
        super().__init__(address, size)
        self._pool: Final = pool(exchanges(size))

    @override
    async def connect(self) -> Any:
        channel = grpc.aio.insecure_channel(f"unix:{self.address}", options=OWN)
        stub: Any = services.InventoryStub(channel)
        stub.channel = channel
        return stub

    @override
    async def disconnect(self, connection: Any) -> None:
        await connection.channel.close()

    @override
    async def call(self, connection: Any, number: int) -> None:
        params, item = self._pool[number % POOL]
        expect(number, await connection.Lookup(params), item)

    @override
    def stream(self, items: int) -> None:
        self.run(self._stream(items))

    async def _stream(self, items: int) -> None:
        seen = 0
        async for tick in self.all[0].Watch(messages.WatchRequest(items=items)):
            expect(seen, (tick.seq, tick.sku), (seen, ITEM_SKU))
            seen += 1
        expect(items, seen, items)
