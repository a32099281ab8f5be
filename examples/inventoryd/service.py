"""The inventory as superd hosts it: `superd --service inventoryd.service:inventory`.

The handlers are plain functions: SQLite blocks, so superd runs them on worker threads.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from inventoryd.api import AddStock, Item, Lookup, OutOfStock, TakeStock, UnknownSku, add, lookup, take
from inventoryd.store import NoSuchItem, NotEnough, Store
from superd.service import Context, Provisions, Service
from superd_client.errors import ApplicationError

#: The file in the state directory, which all services of a superd share.
DATABASE: Final = "inventory.db"


@asynccontextmanager
async def open_store(provisions: Provisions) -> AsyncIterator[Store]:
    """Keep the store open while superd serves. An exception here is one that superd does not start with."""
    store = await asyncio.to_thread(Store, provisions.state_directory / DATABASE)
    try:
        yield store
    finally:
        await asyncio.to_thread(store.close)


inventory = Service("inventory", version="1.0.0", lifespan=open_store, summary="What is on the shelf.")


@inventory.method(lookup)
def handle_lookup(params: Lookup, context: Context) -> Item:
    """Say how many there are."""
    try:
        return _store(context).get(params.sku)
    except NoSuchItem:
        raise _unknown(params.sku) from None


@inventory.method(add)
def handle_add(params: AddStock, context: Context) -> Item:
    """Put a delivery on the shelf."""
    item = _store(context).add(params.sku, params.quantity, params.name)
    context.log.info("stock added", sku=item.sku, added=params.quantity, quantity=item.quantity)
    return item


@inventory.method(take)
def handle_take(params: TakeStock, context: Context) -> Item:
    """Take some, all or nothing."""
    try:
        item = _store(context).take(params.sku, params.quantity)
    except NoSuchItem:
        raise _unknown(params.sku) from None
    except NotEnough as error:
        shortage = OutOfStock(sku=params.sku, wanted=params.quantity, available=error.available)
        raise ApplicationError(shortage, f"{params.quantity} wanted, {error.available} there") from None
    context.log.info("stock taken", sku=item.sku, taken=params.quantity, quantity=item.quantity)
    return item


def _store(context: Context) -> Store:
    store: Store = context.state
    return store


def _unknown(sku: str) -> ApplicationError:
    return ApplicationError(UnknownSku(sku=sku), "no such item")
