"""The two clients as the tests use them, in this process or in one of their own: `python -m tests.hot_path.clients`."""

import asyncio
import sys
from typing import Any, Final

import uvloop
from typing_extensions import override

from superd_client import AsyncClient, Client
from superd_client.contract import Method
from tests.bench.payload import SMALL, exchanges
from tests.bench.systems.superd_api import Item, Lookup, lookup

_EXCHANGE: Final = exchanges(SMALL)[0]
PARAMS: Final = Lookup.model_validate(_EXCHANGE.params)
ITEM: Final = Item.model_validate(_EXCHANGE.item)


class Caller:
    """Makes calls, one after the other, on one connection."""

    def lookups(self, count: int) -> None:
        """Make `count` of the measured calls; raises AssertionError for a wrong answer."""
        raise NotImplementedError

    def ask(self, method: Method[Any, Any], params: Any) -> Any:
        """Make another call."""
        raise NotImplementedError

    def close(self) -> None:
        """End the connection."""
        raise NotImplementedError


class BlockingCaller(Caller):
    """`Client`."""

    def __init__(self, address: str) -> None:
        self._client: Final = Client(f"unix:{address}")

    @override
    def lookups(self, count: int) -> None:
        call = self._client.call
        for _ in range(count):
            assert call(lookup, PARAMS) == ITEM

    @override
    def ask(self, method: Method[Any, Any], params: Any) -> Any:
        return self._client.call(method, params)

    @override
    def close(self) -> None:
        self._client.close()


class AsyncioCaller(Caller):
    """`AsyncClient`, on uvloop."""

    def __init__(self, address: str) -> None:
        self._runner: Final = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._client: Final = AsyncClient(f"unix:{address}")

    @override
    def lookups(self, count: int) -> None:
        async def calling() -> None:
            call = self._client.call
            for _ in range(count):
                assert await call(lookup, PARAMS) == ITEM

        self._runner.run(calling())

    @override
    def ask(self, method: Method[Any, Any], params: Any) -> Any:
        async def asking() -> Any:
            return await self._client.call(method, params)

        return self._runner.run(asking())

    @override
    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()


CALLERS: Final[dict[str, type[BlockingCaller] | type[AsyncioCaller]]] = {
    "blocking": BlockingCaller,
    "asyncio": AsyncioCaller,
}


def main() -> int:
    """Make calls to warm up; then as many as each line that is read says, and say so when they are done."""
    kind, address, warm_up = sys.argv[1:]
    caller = CALLERS[kind](address)
    caller.lookups(int(warm_up))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        caller.lookups(int(line))
        sys.stdout.write("done\n")
        sys.stdout.flush()
    caller.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
