"""rpyc over a Unix socket, with a thread for each connection. Params and reply are strings and tuples, which it copies."""

from collections.abc import Callable
from typing import Any, Final

import rpyc
from rpyc.utils.server import ThreadedServer
from typing_extensions import override

from tests.bench.client import Blocking
from tests.bench.payload import POOL, exchanges, expect, price_of


class Inventory(rpyc.Service):
    """What is exposed to callers. Immutable values are copied; a dict would be a proxy, and each key a call."""

    def exposed_lookup(self, sku: str, qty: int, tags: tuple[str, ...], note: str) -> tuple[Any, ...]:
        return (sku, qty, tags, note, price_of(qty))


def serve(address: str, ready: Callable[[], None]) -> None:
    """Accept for ever."""
    server = ThreadedServer(Inventory, socket_path=address, backlog=4096)
    server.listener.listen(4096)
    ready()
    server.start()


class Rpyc(Blocking[Any]):
    """A connection's `root`; `async_` for many calls at a time."""

    split = True

    def __init__(self, address: str, size: int) -> None:
        super().__init__(address, size)
        self._exchanges: Final = [
            ((item["sku"], item["qty"], tuple(item["tags"]), item["note"]), item["price"])
            for _, item in exchanges(size)
        ]
        self._waiting: dict[tuple[int, int], Any] = {}

    @override
    def connect(self) -> Any:
        connection = rpyc.utils.factory.unix_connect(self.address)
        connection.lookup = connection.root.lookup
        connection.lookup_async = rpyc.async_(connection.lookup)
        return connection

    @override
    def disconnect(self, connection: Any) -> None:
        connection.close()

    @override
    def call(self, connection: Any, number: int) -> None:
        params, price = self._exchanges[number % POOL]
        expect(number, connection.lookup(*params), (*params, price))

    @override
    def send(self, connection: Any, number: int) -> None:
        params, _ = self._exchanges[number % POOL]
        self._waiting[id(connection), number] = connection.lookup_async(*params)

    @override
    def receive(self, connection: Any, number: int) -> None:
        params, price = self._exchanges[number % POOL]
        expect(number, self._waiting.pop((id(connection), number)).value, (*params, price))
