"""superd's two clients: blocking, and asyncio on uvloop. Typed calls; a deadline travels with each, as always."""

from collections.abc import Mapping
from typing import Any, Final

from typing_extensions import override

from superd_client import AsyncClient, Client
from superd_client.builtin import Nothing
from tests.bench.client import Asyncio, Blocking
from tests.bench.payload import ITEM_SKU, POOL, exchanges, expect
from tests.bench.systems.superd_api import Item, Lookup, Watch, lookup, note, noted, watch


class _Pool:
    """The requests and their answers, as models."""

    def __init__(self, size: int) -> None:
        both = exchanges(size)
        self.params: Final = [Lookup.model_validate(each.params) for each in both]
        self.items: Final = [Item.model_validate(each.item) for each in both]


class BlockingSuperd(Blocking[Client]):
    """`Client`: threads may share a connection."""

    shared = True
    options: Mapping[str, Any] = {}

    def __init__(self, address: str, size: int) -> None:
        super().__init__(address, size)
        self._pool: Final = _Pool(size)

    @override
    def connect(self) -> Client:
        return Client(f"unix:{self.address}", **self.options)

    @override
    def disconnect(self, connection: Client) -> None:
        connection.close()

    @override
    def call(self, connection: Client, number: int) -> None:
        place = number % POOL
        expect(number, connection.call(lookup, self._pool.params[place]), self._pool.items[place])

    @override
    def stream(self, items: int) -> None:
        seen = 0
        with self.all[0].stream(watch, Watch(items=items)) as ticks:
            for tick in ticks:
                expect(seen, (tick.seq, tick.sku), (seen, ITEM_SKU))
                seen += 1
        expect(items, seen, items)

    @override
    def one_way(self, calls: int) -> None:
        connection, params = self.all[0], self._pool.params[0]
        for _ in range(calls):
            connection.notify(note, params)
        expect(calls, connection.call(noted, Nothing()), calls)


class AsyncioSuperd(Asyncio[AsyncClient]):
    """`AsyncClient`."""

    options: Mapping[str, Any] = {}

    def __init__(self, address: str, size: int) -> None:
        super().__init__(address, size)
        self._pool: Final = _Pool(size)

    @override
    async def connect(self) -> AsyncClient:
        return AsyncClient(f"unix:{self.address}", **self.options)

    @override
    async def disconnect(self, connection: AsyncClient) -> None:
        await connection.aclose()

    @override
    async def call(self, connection: AsyncClient, number: int) -> None:
        place = number % POOL
        item = await connection.call(lookup, self._pool.params[place])
        expect(number, item, self._pool.items[place])

    @override
    def stream(self, items: int) -> None:
        self.run(self._stream(items))

    async def _stream(self, items: int) -> None:
        seen = 0
        async with self.all[0].stream(watch, Watch(items=items)) as ticks:
            async for tick in ticks:
                expect(seen, (tick.seq, tick.sku), (seen, ITEM_SKU))
                seen += 1
        expect(items, seen, items)

    @override
    def one_way(self, calls: int) -> None:
        self.run(self._one_way(calls))

    async def _one_way(self, calls: int) -> None:
        connection, params = self.all[0], self._pool.params[0]
        for _ in range(calls):
            await connection.notify(note, params)
        found = await connection.call(noted, Nothing())
        expect(calls, found, calls)


class BlockingSuperdLow(BlockingSuperd):
    """`Client(latency="low")`."""

    def __init__(self, address: str, size: int) -> None:
        super().__init__(address, size)
        self.options = {"latency": "low"}


class AsyncioSuperdLow(AsyncioSuperd):
    """`AsyncClient(latency="low")`."""

    def __init__(self, address: str, size: int) -> None:
        super().__init__(address, size)
        self.options = {"latency": "low"}
