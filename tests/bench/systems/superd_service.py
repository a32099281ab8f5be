"""The services that superd hosts in a measurement, as their author writes them.

A lookup only computes, so its handler is inline: called where the call is read. Its asynchronous twin, the same price
by a coroutine, is measured beside it.
"""

import inspect
from collections.abc import AsyncIterator
from typing import Any, Final

from superd.service import Context, Service
from superd_client.builtin import Nothing
from superd_client.contract import Method
from tests.bench.payload import ITEM_SKU, price_of
from tests.bench.systems.superd_api import Item, Lookup, Tick, Watch, lookup, note, noted, watch

#: Methods of the second service: with those of the first they are more than 200.
MANY: Final = 200

#: Empty as long as superd has no inline handlers.
INLINE: Final[dict[str, Any]] = (
    {"inline": True} if "inline" in inspect.signature(Service.method).parameters else {}
)

inventory: Final = Service("inventory", version="1.0.0")
inventory_async: Final = Service("inventory", version="1.0.0")
inventory_alone: Final = Service("inventory", version="1.0.0")
warehouse: Final = Service("warehouse", version="1.0.0")

_notes: list[str] = []


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


for _service in (inventory, inventory_alone):
    _service.method(lookup, **INLINE)(compute if INLINE else handle_lookup)


@inventory.method(note)
async def handle_note(params: Lookup, context: Context) -> None:
    """Keep that it was called."""
    _notes.append(params.sku)


@inventory.method(noted)
async def handle_noted(params: Nothing, context: Context) -> int:
    """Say how often since the last time."""
    count = len(_notes)
    _notes.clear()
    return count


@inventory.method(watch)
async def handle_watch(params: Watch, context: Context) -> AsyncIterator[Tick]:
    """Stream as many items as were asked for."""
    for number in range(params.items):
        yield Tick(seq=number, sku=ITEM_SKU)


for _number in range(MANY):
    warehouse.method(Method(f"warehouse.lookup_{_number}", Lookup, Item), **INLINE)(
        compute if INLINE else handle_lookup
    )
