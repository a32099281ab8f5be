"""Both clients behind one blocking interface, so that one suite runs over both."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Protocol, Self

import uvloop

from superd_client import AsyncClient, Client


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

    def call(self, method: Any, params: Any = None, **options: Any) -> Any:
        return self._runner.run(self._client.call(method, params, **options))

    def call_all(self, method: Any, all_params: list[Any]) -> list[Any]:
        async def gather() -> list[Any]:
            return await asyncio.gather(*(self._client.call(method, params) for params in all_params))

        return self._runner.run(gather())

    def close(self) -> None:
        self._runner.run(self._client.aclose())


class UvloopDriver(LoopDriver):
    """The same on uvloop."""

    loop_factory = uvloop.new_event_loop


DRIVERS: Final[dict[str, type[Driver]]] = {
    "blocking": BlockingDriver,
    "asyncio": LoopDriver,
    "uvloop": UvloopDriver,
}
