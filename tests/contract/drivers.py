"""Both clients behind one blocking interface, so that one suite runs over both."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from types import TracebackType
from typing import Any, Final, Protocol, Self

import uvloop

from superd_client import AsyncClient, Client
from superd_client.address import SocketKind

#: More items than any test's stream has.
MANY: Final = 1_000_000


class Driver(Protocol):
    """What the suite needs of a client."""

    def __init__(self, address: str, **options: Any) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def call(self, method: Any, params: Any = None, **options: Any) -> Any:
        """One call."""

    def call_all(self, method: Any, all_params: list[Any]) -> list[Any]:
        """Many calls, at once where the client can."""

    def notify(self, method: Any, params: Any = None, **options: Any) -> None:
        """One call without a reply."""

    def hello(self) -> Any:
        """What the server says of itself."""

    def collect(self, into: list[Any], method: Any, params: Any = None, **options: Any) -> None:
        """Iterate over a stream, to its end or to `most` items; what came before a failure is in `into`."""

    def upload(self, method: Any, params: Any, items: Any, **options: Any) -> Any:
        """One upload of an iterable."""

    def close(self) -> None:
        """Close it for good."""


class BlockingDriver:
    """A Client."""

    def __init__(self, address: str, **options: Any) -> None:
        self._client: Final = Client(address, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def call(self, method: Any, params: Any = None, **options: Any) -> Any:
        return self._client.call(method, params, **options)

    def call_all(self, method: Any, all_params: list[Any]) -> list[Any]:
        return [self.call(method, params) for params in all_params]

    def notify(self, method: Any, params: Any = None, **options: Any) -> None:
        self._client.notify(method, params, **options)

    def hello(self) -> Any:
        return self._client.hello()

    def collect(
        self, into: list[Any], method: Any, params: Any = None, *, most: int = MANY, **options: Any
    ) -> None:
        with self._client.stream(method, params, **options) as items:
            for item in items:
                into.append(item)
                if len(into) == most:
                    break

    def upload(self, method: Any, params: Any, items: Any, **options: Any) -> Any:
        return self._client.upload(method, params, items, **options)

    def close(self) -> None:
        self._client.close()


class LoopDriver:
    """An AsyncClient, and the loop that it belongs to."""

    loop_factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.SelectorEventLoop

    def __init__(self, address: str, **options: Any) -> None:
        self._runner: Final = asyncio.Runner(loop_factory=type(self).loop_factory)
        try:
            self._client: Final = AsyncClient(address, **options)
        except ValueError:
            self._runner.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self._runner.close()

    def _run(self, step: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(step, context=copy_context())

    def call(self, method: Any, params: Any = None, **options: Any) -> Any:
        return self._run(self._client.call(method, params, **options))

    def call_all(self, method: Any, all_params: list[Any]) -> Any:
        async def gather() -> list[Any]:
            return await asyncio.gather(*(self._client.call(method, params) for params in all_params))

        return self._run(gather())

    def notify(self, method: Any, params: Any = None, **options: Any) -> None:
        self._run(self._client.notify(method, params, **options))

    def hello(self) -> Any:
        return self._run(self._client.hello())

    def collect(
        self, into: list[Any], method: Any, params: Any = None, *, most: int = MANY, **options: Any
    ) -> None:
        async def iterate() -> None:
            async with self._client.stream(method, params, **options) as items:
                async for item in items:
                    into.append(item)
                    if len(into) == most:
                        break

        self._run(iterate())

    def upload(self, method: Any, params: Any, items: Any, **options: Any) -> Any:
        return self._run(self._client.upload(method, params, items, **options))

    def close(self) -> None:
        self._run(self._client.aclose())


class UvloopDriver(LoopDriver):
    """The same on uvloop."""

    loop_factory = uvloop.new_event_loop


class PollingDriver(BlockingDriver):
    """A Client that polls, where there is a connection to poll."""

    def __init__(self, address: str, **options: Any) -> None:
        super().__init__(address, **_low(address), **options)


class PollingUvloopDriver(UvloopDriver):
    """An AsyncClient that polls."""

    def __init__(self, address: str, **options: Any) -> None:
        super().__init__(address, **_low(address), **options)


def _low(address: str) -> dict[str, Any]:
    return {} if address.startswith(SocketKind.DATAGRAM.scheme) else {"latency": "low"}


DRIVERS: Final[dict[str, type[Driver]]] = {
    "blocking": BlockingDriver,
    "asyncio": LoopDriver,
    "uvloop": UvloopDriver,
    "blocking-low": PollingDriver,
    "uvloop-low": PollingUvloopDriver,
}
