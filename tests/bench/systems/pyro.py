"""Pyro5 over a Unix socket: the thread server, and the serpent serializer, as shipped. Nothing is validated."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import Pyro5.api
from Pyro5 import config
from typing_extensions import override

from tests.bench.client import Blocking
from tests.bench.payload import ITEM_SKU, POOL, Item, Params, answer, exchanges, expect

#: Threads of the server, each for a connection: as many as a scenario opens.
config.THREADPOOL_SIZE = 20_000
config.MAX_MESSAGE_SIZE = 1 << 30

NAME: Final = "inventory"


@Pyro5.api.expose
@Pyro5.api.behavior(instance_mode="single")
class Inventory:
    """The service."""

    def __init__(self) -> None:
        self._notes: list[str] = []

    def lookup(self, params: Params) -> Item:
        return answer(params)

    @Pyro5.api.oneway
    def note(self, params: Params) -> None:
        self._notes.append(params["sku"])

    def noted(self) -> int:
        count = len(self._notes)
        del self._notes[:count]  # one-way calls have threads of their own, and may come meanwhile
        return count

    def watch(self, items: int) -> Iterator[tuple[int, str]]:
        for number in range(items):
            yield (number, ITEM_SKU)


def serve(address: str, ready: Callable[[], None]) -> None:
    """Accept for ever."""
    daemon = Pyro5.api.Daemon(unixsocket=address)
    daemon.register(Inventory, NAME)
    ready()
    daemon.requestLoop()


class Pyro(Blocking[Any]):
    """Proxies: one call at a time on each."""

    def __init__(self, address: str, size: int) -> None:
        super().__init__(address, size)
        self._exchanges: Final = exchanges(size)

    @override
    def connect(self) -> Any:
        return Pyro5.api.Proxy(f"PYRO:{NAME}@./u:{self.address}")

    @override
    def disconnect(self, connection: Any) -> None:
        self.adopt(connection)
        connection._pyroRelease()

    @override
    def call(self, connection: Any, number: int) -> None:
        params, item = self._exchanges[number % POOL]
        expect(number, connection.lookup(params), item)

    @override
    def adopt(self, connection: Any) -> None:
        connection._pyroClaimOwnership()

    @override
    def stream(self, items: int) -> None:
        number = -1
        for number, item in enumerate(self.all[0].watch(items)):
            expect(number, tuple(item), (number, ITEM_SKU))
        expect(items, number + 1, items)

    @override
    def one_way(self, calls: int) -> None:
        connection, params = self.all[0], self._exchanges[0].params
        for _ in range(calls):
            connection.note(params)
        missing = calls
        while missing > 0:
            missing -= connection.noted()
        expect(calls, missing, 0)
