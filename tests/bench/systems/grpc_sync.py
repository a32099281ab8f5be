"""grpcio with threads, over a Unix socket."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc
from typing_extensions import override

from tests.bench.client import Blocking
from tests.bench.payload import ITEM_SKU, POOL, exchanges, expect, price_of
from tests.bench.systems.grpc_stubs import OWN, messages, pool, services


class Inventory(services.InventoryServicer):
    """The service."""

    @override
    def Lookup(self, request: Any, context: Any) -> Any:
        return messages.Item(
            sku=request.sku,
            qty=request.qty,
            tags=request.tags,
            note=request.note,
            price=price_of(request.qty),
        )

    @override
    def Watch(self, request: Any, context: Any) -> Iterator[Any]:
        for number in range(request.items):
            yield messages.Tick(seq=number, sku=ITEM_SKU)


def serve(address: str, ready: Callable[[], None]) -> None:
    """Accept for ever."""
    server = grpc.server(ThreadPoolExecutor(max_workers=8))
    services.add_InventoryServicer_to_server(Inventory(), server)
    server.add_insecure_port(f"unix:{address}")
    server.start()
    ready()
    server.wait_for_termination()


class GrpcSync(Blocking[Any]):
    """A channel, its stub; `future` for many calls at a time."""

    split = True

    def __init__(self, address: str, size: int) -> None:
        super().__init__(address, size)
        self._pool: Final = pool(exchanges(size))
        self._waiting: dict[tuple[int, int], Any] = {}

    @override
    def connect(self) -> Any:
        channel = grpc.insecure_channel(f"unix:{self.address}", options=OWN)
        stub: Any = services.InventoryStub(channel)
        stub.channel = channel
        return stub

    @override
    def disconnect(self, connection: Any) -> None:
        connection.channel.close()

    @override
    def call(self, connection: Any, number: int) -> None:
        params, item = self._pool[number % POOL]
        expect(number, connection.Lookup(params), item)

    @override
    def send(self, connection: Any, number: int) -> None:
        self._waiting[id(connection), number] = connection.Lookup.future(self._pool[number % POOL][0])

    @override
    def receive(self, connection: Any, number: int) -> None:
        expect(number, self._waiting.pop((id(connection), number)).result(), self._pool[number % POOL][1])

    @override
    def stream(self, items: int) -> None:
        seen = 0
        for tick in self.all[0].Watch(messages.WatchRequest(items=items)):
            expect(seen, (tick.seq, tick.sku), (seen, ITEM_SKU))
            seen += 1
        expect(items, seen, items)
