"""What type checkers must refuse of handlers of streams and uploads: each marked line, and no other."""

from collections.abc import AsyncIterator, Iterator

from superd.service import Context, Service
from superd_client import Message
from superd_client.streams import Stream, Upload


class Watch(Message):
    prefix: str


class Change(Message):
    sku: str


class Summary(Message):
    count: int


watch = Stream("inventory.watch", Watch, Change)
load = Upload("inventory.load", Watch, Change, Summary)
inventory = Service("inventory", version="1.0.0")


@inventory.method(watch)  # expect: error
async def no_generator(params: Watch, context: Context) -> Change:
    return Change(sku=params.prefix)


@inventory.method(watch)  # expect: error
async def wrong_item(params: Watch, context: Context) -> AsyncIterator[Summary]:
    yield Summary(count=1)


@inventory.method(watch)  # expect: error
def wrong_item_on_a_thread(params: Watch, context: Context) -> Iterator[int]:
    yield 1


@inventory.method(watch)  # expect: error
async def wrong_params(params: Change, context: Context) -> AsyncIterator[Change]:
    yield params


@inventory.method(load)  # expect: error
async def without_items(params: Watch, context: Context) -> Summary:
    return Summary(count=0)


@inventory.method(load)  # expect: error
async def items_of_a_thread(params: Watch, items: Iterator[Change], context: Context) -> Summary:
    return Summary(count=0)


@inventory.method(load)  # expect: error
def items_of_the_loop(params: Watch, items: AsyncIterator[Change], context: Context) -> Summary:
    return Summary(count=0)


@inventory.method(load)  # expect: error
async def wrong_items(params: Watch, items: AsyncIterator[Summary], context: Context) -> Summary:
    return Summary(count=0)


@inventory.method(load)  # expect: error
async def wrong_result(params: Watch, items: AsyncIterator[Change], context: Context) -> Change:
    return Change(sku="")
