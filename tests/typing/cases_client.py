"""What type checkers infer of calls: every line here must pass."""

from typing import Any, assert_type

from superd_client import AsyncClient, Client, Message, Method
from superd_client.builtin import Echo, Nothing, Status, echo, status


class Lookup(Message):
    sku: str


class Item(Message):
    sku: str
    quantity: int


lookup = Method("inventory.lookup", Lookup, Item)
count = Method("inventory.count", Lookup, int)
tags = Method("inventory.tags", Lookup, list[str])

assert_type(lookup, Method[Lookup, Item])
assert_type(tags, Method[Lookup, list[str]])


def blocking(client: Client) -> None:
    assert_type(client.call(lookup, Lookup(sku="A-1")), Item)
    assert_type(client.call(lookup, Lookup(sku="A-1"), timeout=0.5, call_id="romd-1").quantity, int)
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
