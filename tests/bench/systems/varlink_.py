"""python-varlink, the reference implementation: blocking, a thread for each connection. It checks types by the interface."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import varlink
from typing_extensions import override

from tests.bench.client import Blocking, CannotError
from tests.bench.payload import ITEM_SKU, MIB, POOL, Item, Params, answer, exchanges, expect

NAME: Final = "com.example.inventory"

service: Final = varlink.Service("superd", "benchmark", "1", "", str(Path(__file__).parent))


class Handler(varlink.RequestHandler):
    """One connection."""

    service = service


@service.interface(NAME)
class Inventory:
    """The service."""

    notes = 0

    def Lookup(self, sku: str, qty: int, tags: list[str], note: str) -> Item:  # noqa: N802 - varlink's names
        return answer({"sku": sku, "qty": qty, "tags": tags, "note": note})

    def Note(  # noqa: N802
        self, sku: str, qty: int, tags: list[str], note: str, *, _oneway: bool = False
    ) -> dict[str, Any]:
        Inventory.notes += 1
        return {}

    def Noted(self) -> dict[str, int]:  # noqa: N802
        count, Inventory.notes = Inventory.notes, 0
        return {"count": count}

    def Watch(self, items: int, *, _more: bool = True) -> Iterator[dict[str, Any]]:  # noqa: N802
        for number in range(items):
            yield {"seq": number, "sku": ITEM_SKU, "_continues": number + 1 < items}


class Server(varlink.ThreadingServer):
    """As shipped, but for the queue of 5 connections, which 1,000 connects would not fit."""

    request_queue_size = 4096
    daemon_threads = True


def serve(address: str, ready: Callable[[], None]) -> None:
    """Accept for ever."""
    with Server(f"unix:{address}", Handler) as server:
        ready()
        server.serve_forever()


class Varlink(Blocking[Any]):
    """One call at a time on a connection."""

    def __init__(self, address: str, size: int) -> None:
        super().__init__(address, size)
        if size >= MIB:
            raise CannotError("it reads byte by byte: a megabyte takes seconds")
        self._exchanges: Final = exchanges(size)
        self._client: Final = varlink.Client(f"unix:{address}")

    @override
    def connect(self) -> Any:
        return self._client.open(NAME)

    @override
    def disconnect(self, connection: Any) -> None:
        connection.close()

    @override
    def call(self, connection: Any, number: int) -> None:
        params, item = self._exchanges[number % POOL]
        expect(number, connection.Lookup(**params), item)

    @override
    def stream(self, items: int) -> None:
        number = -1
        for number, item in enumerate(self.all[0].Watch(items, _more=True)):
            expect(number, (item["seq"], item["sku"]), (number, ITEM_SKU))
        expect(items, number + 1, items)

    @override
    def one_way(self, calls: int) -> None:
        connection = self.all[0]
        params: Params = self._exchanges[0].params
        for _ in range(calls):
            connection.Note(**params, _oneway=True)
        expect(calls, connection.Noted()["count"], calls)
