"""The service under load: waits, enters the call in the ledger, waits, answers.

A kill that comes in the first wait finds a call that has not run; in the second, one that has and whose caller is not told.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from superd.service import Context, Service
from superd_client import Blob, Fd
from tests.chaos.inside.api import (
    CarryJob,
    CountJob,
    Done,
    Job,
    Number,
    PackJob,
    again,
    carry,
    count,
    keyed,
    note,
    pack,
    total,
)
from tests.chaos.inside.ledger import Ledger

FILE: Final = "chaos.db"

#: More than any caller sends by a descriptor.
CARRIED_MAX: Final = 65536

USEC: Final = 1e-6


@asynccontextmanager
async def keep_ledger() -> AsyncIterator[Ledger]:
    """One ledger for all processes that superd ever is."""
    ledger = Ledger(Path(os.environ["STATE_DIRECTORY"]) / FILE)
    try:
        yield ledger
    finally:
        ledger.close()


chaos = Service("chaos", version="1.0.0", lifespan=keep_ledger)


def enter(params: Job, context: Context) -> None:
    """Enter this execution, under the name of the method."""
    ledger: Ledger = context.state
    ledger.enter(params.op, context.method.rpartition(".")[2], context.caller.uid, os.getpid())


async def work(params: Job, context: Context) -> Done:
    """Wait, enter, wait."""
    await asyncio.sleep(params.before_usec * USEC)
    enter(params, context)
    await asyncio.sleep(params.after_usec * USEC)
    return Done(op=params.op)


@chaos.method(note)
async def handle_note(params: Job, context: Context) -> Done:
    return await work(params, context)


@chaos.method(keyed)
async def handle_keyed(params: Job, context: Context) -> Done:
    return await work(params, context)


@chaos.method(again)
async def handle_again(params: Job, context: Context) -> Done:
    return await work(params, context)


@chaos.method(carry)
def handle_carry(params: CarryJob, context: Context) -> Fd:
    """On a thread; gives the same bytes by a descriptor of its own."""
    data = os.pread(params.source.fileno(), CARRIED_MAX, 0)
    enter(params, context)
    copy = Fd(os.memfd_create("chaos"))
    os.pwrite(copy.fileno(), data, 0)
    return copy


@chaos.method(pack)
def handle_pack(params: PackJob, context: Context) -> Blob:
    """On a thread; gives the blob that came."""
    enter(params, context)
    return params.data.share()


@chaos.method(count)
async def handle_count(params: CountJob, context: Context) -> AsyncIterator[Number]:
    """Entered with its first step; then one item after the other."""
    await asyncio.sleep(params.before_usec * USEC)
    enter(params, context)
    for value in range(params.upto):
        yield Number(value=value)
        await asyncio.sleep(params.after_usec * USEC)


@chaos.method(total)
async def handle_total(params: Job, items: AsyncIterator[Number], context: Context) -> int:
    """Entered when it is complete."""
    found = 0
    async for each in items:
        found += each.value
        await asyncio.sleep(params.before_usec * USEC)
    enter(params, context)
    return found
