"""Who waits for connections to be closed."""

import asyncio
from collections.abc import Collection
from typing import Final


class Departures:
    """Told of each connection that is over, it wakes those that wait for the last one of theirs."""

    def __init__(self) -> None:
        self._waiting: Final[dict[asyncio.Future[None], set[object]]] = {}
        self._is_over = False

    def left(self, connection: object) -> None:
        """This connection is over."""
        for future, awaited in self._waiting.items():
            awaited.discard(connection)
            if not awaited and not future.done():
                future.set_result(None)

    def give_up(self) -> None:
        """Nobody is to wait any longer, now and later: the stop of the daemon must not wait for them."""
        self._is_over = True
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    async def wait(self, connections: Collection[object], seconds: float) -> int:
        """Wait at most so long until all these, which are open now, are over; how many are not."""
        awaited = set(connections)
        if not awaited or self._is_over:
            return len(awaited)
        future = asyncio.get_running_loop().create_future()
        self._waiting[future] = awaited
        try:
            async with asyncio.timeout(seconds):
                await future
        except TimeoutError:
            pass
        finally:
            del self._waiting[future]
        return len(awaited)
