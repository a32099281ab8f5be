"""What the programs of docs/howto/call-from-a-daemon.md call: one method of each kind."""

from collections.abc import AsyncIterator

from superd.service import Context, Service
from superd_client import Message, Method
from superd_client.streams import Stream, Upload


class Lookup(Message):
    sku: str


class Take(Message):
    sku: str


class Pay(Message):
    order: str


class Watch(Message):
    prefix: str


class Load(Message):
    pass


lookup = Method("shop.lookup", Lookup, str, idempotent=True)
take = Method("shop.take", Take, int)
pay = Method("shop.pay", Pay, int, keyed=True)
watch = Stream("shop.watch", Watch, str)
load = Upload("shop.load", Load, int, int)

shop = Service("shop", version="1.0.0")


@shop.method(lookup)
async def handle_lookup(params: Lookup, context: Context) -> str:
    return f"item {params.sku}"


@shop.method(take)
async def handle_take(params: Take, context: Context) -> int:
    raise RuntimeError(params.sku)


@shop.method(pay)
async def handle_pay(params: Pay, context: Context) -> int:
    _paid.append(params.order)
    return len(_paid)


_paid: list[str] = []


@shop.method(watch)
async def handle_watch(params: Watch, context: Context) -> AsyncIterator[str]:
    yield f"{params.prefix}-1"


@shop.method(load)
async def handle_load(params: Load, items: AsyncIterator[int], context: Context) -> int:
    return sum([item async for item in items])
