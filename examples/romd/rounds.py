"""The work: one round asks for all skus at once; rounds follow each other at the interval."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from inventoryd.api import Item, UnknownSku
from romd.log import logger
from romd.settings import Settings
from superd_client.errors import (
    ApplicationError,
    CallTimeout,
    Cancelled,
    NotSent,
    OutcomeUnknown,
    SuperdError,
    Unavailable,
)

#: Asks superd for one sku; raises SuperdError.
Lookup = Callable[[str], Awaitable[Item]]

#: These say something of superd as a whole (it is away, stopping or stuck), not of what was asked.
AWAY: Final = (NotSent, OutcomeUnknown, CallTimeout, Unavailable, Cancelled)


async def run_rounds(settings: Settings, lookup: Lookup) -> None:
    """Ask round after round: `settings.count` of them, or until the task is cancelled.

    A round is due one interval after the start of the one before; rounds that a slow superd made late are left out.
    """
    done = 0
    while True:
        due = time.monotonic() + settings.interval
        await ask_round(settings, lookup)
        done += 1
        if done == settings.count:
            return
        await asyncio.sleep(due - time.monotonic())


async def ask_round(settings: Settings, lookup: Lookup) -> None:
    """Ask for all skus at once and log the answers in the order of the skus."""
    answers = await asyncio.gather(*(_ask(lookup, sku) for sku in settings.skus))
    away = [answer for answer in answers if isinstance(answer, AWAY)]
    for sku, answer in zip(settings.skus, answers, strict=True):
        if not isinstance(answer, AWAY):
            report(sku, answer)
    if away:
        report_away(away, settings)


async def _ask(lookup: Lookup, sku: str) -> Item | SuperdError:
    try:
        return await lookup(sku)
    except SuperdError as error:
        return error


def report(sku: str, answer: Item | SuperdError) -> None:
    """One line on what superd said of one sku."""
    if isinstance(answer, Item):
        logger.info("%s: %d of %s", sku, answer.quantity, answer.name)
    elif isinstance(answer, ApplicationError) and isinstance(answer.detail, UnknownSku):
        logger.warning("%s: unknown to the inventory [call %s]", sku, answer.call_id)
    else:
        logger.error("%s: %s", sku, answer)


def report_away(errors: Sequence[SuperdError], settings: Settings) -> None:
    """One line for all calls of a round that failed because of superd's state."""
    others = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    logger.warning("superd is away: %s%s; next try in %g s", errors[0], others, settings.interval)
