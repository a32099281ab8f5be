"""What type checkers infer of calls: every line here must pass."""

from collections.abc import AsyncIterator
from typing import Any, assert_type

from superd_client import (
    AsyncClient,
    AsyncItemSink,
    AsyncItemStream,
    Client,
    IdempotencyKey,
    ItemSink,
    ItemStream,
    Message,
    Method,
    Stream,
    Upload,
)
from superd_client.builtin import Echo, Hello, Nothing, Status, echo, status


class Lookup(Message):
    sku: str


class Item(Message):
    sku: str
    quantity: int


lookup = Method("inventory.lookup", Lookup, Item)
count = Method("inventory.count", Lookup, int)
tags = Method("inventory.tags", Lookup, list[str])
watch = Stream("inventory.watch", Lookup, Item)
load = Upload("inventory.load", Lookup, Item, int)

assert_type(lookup, Method[Lookup, Item])
assert_type(tags, Method[Lookup, list[str]])


def blocking(client: Client) -> None:
    assert_type(client.call(lookup, Lookup(sku="A-1")), Item)
    assert_type(client.call(lookup, Lookup(sku="A-1"), timeout=0.5, call_id="romd-1").quantity, int)
    assert_type(client.call(lookup, Lookup(sku="A-1"), idempotency_key=IdempotencyKey()).quantity, int)
    assert_type(client.call(count, Lookup(sku="A-1")), int)
    assert_type(client.call(tags, Lookup(sku="A-1")), list[str])
    assert_type(client.call(echo, Echo(text="x")), Echo)
    assert_type(client.call(status, Nothing()), Status)
    assert_type(client.call("inventory.lookup", {"sku": "A-1"}), Any)
    assert_type(client.call("superd.status"), Any)
    with Client("unix:/run/x", timeout=1, frame_limit=1 << 20) as other:
        assert_type(other, Client)


async def multiplexed(client: AsyncClient) -> None:
    assert_type(await client.call(lookup, Lookup(sku="A-1")), Item)
    assert_type((await client.call(lookup, Lookup(sku="A-1"), timeout=0.5, call_id="romd-1")).quantity, int)
    assert_type(await client.call(count, Lookup(sku="A-1")), int)
    assert_type(await client.call(tags, Lookup(sku="A-1")), list[str])
    assert_type(await client.call("inventory.lookup", {"sku": "A-1"}), Any)
    assert_type(await client.call("superd.status"), Any)
    async with AsyncClient() as other:
        assert_type(other, AsyncClient)


def flowing(client: Client, given: list[Item]) -> None:
    assert_type(client.stream(watch, Lookup(sku="A-1")), ItemStream[Item])
    for item in client.stream(watch, Lookup(sku="A-1"), timeout=1, bound="whole", credit=8, call_id="a"):
        assert_type(item, Item)
    with client.stream(watch, Lookup(sku="A-1")) as items:
        assert_type(next(items), Item)
    assert_type(client.stream("inventory.watch", {"sku": "A-1"}), ItemStream[Any])
    assert_type(client.upload(load, Lookup(sku="A-1"), given, timeout=1, bound="gap"), int)
    assert_type(client.upload("inventory.load", None, [1, "two"]), Any)
    assert_type(client.open_upload(load, Lookup(sku="A-1")), ItemSink[Item, int])
    with client.open_upload(load, Lookup(sku="A-1")) as sink:
        assert_type(sink.send(Item(sku="A-1", quantity=1)), bool)
        assert_type(sink.result(), int)
    client.notify(lookup, Lookup(sku="A-1"), timeout=1, call_id="a")
    client.notify("inventory.note", {"sku": "A-1"})
    assert_type(client.hello(), Hello)


async def flowing_too(client: AsyncClient, given: list[Item], more: AsyncIterator[Item]) -> None:
    assert_type(client.stream(watch, Lookup(sku="A-1")), AsyncItemStream[Item])
    async for item in client.stream(
        watch, Lookup(sku="A-1"), timeout=1, bound="whole", credit=8, call_id="a"
    ):
        assert_type(item, Item)
    async with client.stream(watch, Lookup(sku="A-1")) as items:
        assert_type(await anext(items), Item)
    assert_type(client.stream("inventory.watch", {"sku": "A-1"}), AsyncItemStream[Any])
    assert_type(await client.upload(load, Lookup(sku="A-1"), given, timeout=1, bound="gap"), int)
    assert_type(await client.upload(load, Lookup(sku="A-1"), more), int)
    assert_type(await client.upload("inventory.load", None, [1, "two"]), Any)
    async with client.open_upload(load, Lookup(sku="A-1")) as sink:
        assert_type(sink, AsyncItemSink[Item, int])
        assert_type(await sink.send(Item(sku="A-1", quantity=1)), bool)
        assert_type(await sink.result(), int)
    await client.notify(lookup, Lookup(sku="A-1"), timeout=1, call_id="a")
    await client.notify("inventory.note", {"sku": "A-1"})
    assert_type(await client.hello(), Hello)
