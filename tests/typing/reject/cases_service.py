"""What type checkers must refuse of handlers: each marked line, and no other."""

from superd.service import Context, Service
from superd_client import Message, Method


class Lookup(Message):
    sku: str


class Add(Message):
    sku: str


class Item(Message):
    sku: str


lookup = Method("inventory.lookup", Lookup, Item)
inventory = Service("inventory", version="1.0.0")


@inventory.method(lookup)  # expect: error
async def wrong_params(params: Add, context: Context) -> Item:
    return Item(sku=params.sku)


@inventory.method(lookup)  # expect: error
async def wrong_result(params: Lookup, context: Context) -> Lookup:
    return params


@inventory.method(lookup)  # expect: error
def wrong_result_on_a_thread(params: Lookup, context: Context) -> int:
    return 1


@inventory.method(lookup)  # expect: error
async def no_context(params: Lookup) -> Item:
    return Item(sku=params.sku)


@inventory.method(lookup)  # expect: error
def one_too_many(params: Lookup, context: Context, more: int) -> Item:
    return Item(sku=params.sku)


@inventory.method("inventory.lookup")  # expect: error
def no_contract(params: Lookup, context: Context) -> Item:
    return Item(sku=params.sku)
