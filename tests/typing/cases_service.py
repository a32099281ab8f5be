"""What type checkers accept of handlers: every line here must pass."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import assert_type

from superd.service import Context, Provisions, Service
from superd_client import Message, Method


class Lookup(Message):
    sku: str


class Item(Message):
    sku: str
    quantity: int


class SpecialItem(Item):
    pass


lookup = Method("inventory.lookup", Lookup, Item)
inventory = Service("inventory", version="1.0.0")


@asynccontextmanager
async def plain() -> AsyncGenerator[int, None]:
    yield 1


@asynccontextmanager
async def provided(provisions: Provisions) -> AsyncGenerator[Path, None]:
    assert_type(provisions.credentials["password"], bytes)
    yield provisions.state_directory


Service("plain", lifespan=plain)
Service("provided", lifespan=provided)


@inventory.method(lookup)
async def on_the_loop(params: Lookup, context: Context) -> Item:
    assert_type(context.call_id, str)
    assert_type(context.caller.uid, int)
    assert_type(context.credentials.get("password"), bytes | None)
    assert_type(context.runtime_directory, Path)
    return Item(sku=params.sku, quantity=1)


@inventory.method(lookup)
def on_a_thread(params: Lookup, context: Context) -> Item:
    return Item(sku=params.sku, quantity=1)


@inventory.method(lookup)
def with_a_subclass(params: Message, context: Context) -> SpecialItem:
    return SpecialItem(sku="A-1", quantity=1)


assert_type(on_a_thread, Callable[[Lookup, Context], Item])
asynchronous: Callable[[Lookup, Context], Awaitable[Item]] = on_the_loop
