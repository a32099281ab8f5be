"""What type checkers accept of handlers of streams and uploads: every line here must pass."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import assert_type

from superd.service import Context, Service
from superd_client import Message
from superd_client.streams import Stream, Upload


class Watch(Message):
    prefix: str


class Change(Message):
    sku: str


class SpecialChange(Change):
    pass


class Summary(Message):
    count: int


watch = Stream("inventory.watch", Watch, Change)
load = Upload("inventory.load", Watch, Change, Summary)
inventory = Service("inventory", version="1.0.0")


@inventory.method(watch)
async def on_the_loop(params: Watch, context: Context) -> AsyncIterator[Change]:
    assert_type(context.deadline, float | None)
    assert_type(context.time_left(), float | None)
    yield Change(sku=params.prefix)


@inventory.method(watch, access="group")
def on_a_thread(params: Watch, context: Context) -> Iterator[Change]:
    assert_type(context.cancelled.is_set(), bool)
    yield Change(sku=params.prefix)


@inventory.method(watch)
async def with_a_subclass(params: Message, context: Context) -> AsyncIterator[SpecialChange]:
    yield SpecialChange(sku="A-1")


@inventory.method(load)
async def take(params: Watch, items: AsyncIterator[Change], context: Context) -> Summary:
    count = 0
    async for item in items:
        assert_type(item, Change)
        count += 1
    return Summary(count=count)


@inventory.method(load)
def take_on_a_thread(params: Watch, items: Iterator[Change], context: Context) -> Summary:
    for item in items:
        assert_type(item, Change)
    return Summary(count=0)


assert_type(on_the_loop, Callable[[Watch, Context], AsyncIterator[Change]])
assert_type(on_a_thread, Callable[[Watch, Context], Iterator[Change]])
