"""romd's command: reads the settings, asks until it is told to stop."""

import asyncio
import signal
import sys
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any

from inventoryd.api import Item, Lookup, lookup
from romd import __version__
from romd.log import logger, start_logging
from romd.rounds import run_rounds
from romd.settings import Settings, read_settings
from superd_client.aio import AsyncClient


def main(arguments: Sequence[str] | None = None) -> int:
    """Run romd; returns the exit status."""
    settings = read_settings(arguments)
    start_logging()
    asyncio.run(until_signal(ask_superd(settings)))
    return 0


async def ask_superd(settings: Settings) -> None:
    """Ask over one connection, which the client makes anew after superd was away."""
    logger.info("romd %s asks every %g s for %s", __version__, settings.interval, ", ".join(settings.skus))
    async with AsyncClient(timeout=settings.timeout) as superd:

        async def ask(sku: str) -> Item:
            return await superd.call(lookup, Lookup(sku=sku))

        await run_rounds(settings, ask)


async def until_signal(work: Coroutine[Any, Any, None]) -> None:
    """Do `work` to its end, or leave it at once when SIGTERM or SIGINT comes: waiting or in a call."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    caught: list[signal.Signals] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, partial(_stop, task, caught, number))
    try:
        await task
    except asyncio.CancelledError:
        if not caught:
            raise
        logger.info("stopped by %s", caught[0].name)


def _stop(task: asyncio.Task[None], caught: list[signal.Signals], number: signal.Signals) -> None:
    caught.append(number)
    task.cancel()


if __name__ == "__main__":
    sys.exit(main())
