"""The services that superd hosts in a measurement, as their author writes them.

A lookup only computes, so its handler is inline: called where the call is read. Its asynchronous twin, the same price
by a coroutine, is measured beside it.
"""

from collections.abc import AsyncIterator
from typing import Final

from superd.service import Context, Service
from superd_client.builtin import Nothing
from tests.bench.payload import ITEM_SKU, price_of
from tests.bench.systems.superd_api import Item, Lookup, Tick, Watch, lookup, note, noted, watch

inventory: Final = Service("inventory", version="1.0.0")
inventory_async: Final = Service("inventory", version="1.0.0")
inventory_alone: Final = Service("inventory", version="1.0.0")

_notes: list[str] = []


@inventory.method(lookup, inline=True)
@inventory_alone.method(lookup, inline=True)
def compute(params: Lookup, context: Context) -> Item:
    """Say what it costs."""
    return Item(
        sku=params.sku, qty=params.qty, tags=params.tags, note=params.note, price=price_of(params.qty)
    )


@inventory_async.method(lookup)
async def handle_lookup(params: Lookup, context: Context) -> Item:
    """Say what it costs."""
    return Item(
        sku=params.sku, qty=params.qty, tags=params.tags, note=params.note, price=price_of(params.qty)
    )


@inventory.method(note, inline=True)
def handle_note(params: Lookup, context: Context) -> None:
    """Keep that it was called."""
    _notes.append(params.sku)


@inventory.method(noted, inline=True)
def handle_noted(params: Nothing, context: Context) -> int:
    """Say how often since the last time."""
    count = len(_notes)
    _notes.clear()
    return count


@inventory.method(watch)
async def handle_watch(params: Watch, context: Context) -> AsyncIterator[Tick]:
    """Stream as many items as were asked for."""
    for number in range(params.items):
        yield Tick(seq=number, sku=ITEM_SKU)
