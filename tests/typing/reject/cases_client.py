"""What type checkers must refuse of calls: each marked line, and no other."""

from superd_client import AsyncClient, Client, Message, Method


class Lookup(Message):
    sku: str


class Add(Message):
    sku: str


class Item(Message):
    sku: str


lookup = Method("inventory.lookup", Lookup, Item)

Method("inventory.lookup", int, Item)  # expect: error
Method("inventory.lookup", Lookup)  # expect: error


def blocking(client: Client) -> None:
    client.call(lookup, Add(sku="A-1"))  # expect: error
    client.call(lookup, {"sku": "A-1"})  # expect: error
    client.call(lookup)  # expect: error
    client.call(lookup, Lookup(sku="A-1"), timeout="1 s")  # expect: error
    client.call(lookup, Lookup(sku="A-1"), 0.5)  # expect: error
    client.call("inventory.lookup", ["A-1"])  # expect: error
    client.call(b"inventory.lookup")  # expect: error
    number: int = client.call(lookup, Lookup(sku="A-1"))  # expect: error
    number.bit_length()
    assert client.call(lookup, Lookup(sku="A-1")).price  # expect: error


async def multiplexed(client: AsyncClient) -> None:
    await client.call(lookup, Add(sku="A-1"))  # expect: error
    await client.call(lookup, {"sku": "A-1"})  # expect: error
    await client.call("inventory.lookup", ["A-1"])  # expect: error
    number: int = await client.call(lookup, Lookup(sku="A-1"))  # expect: error
    number.bit_length()
    item: Item = client.call(lookup, Lookup(sku="A-1"))  # expect: error
    item.model_dump()
    with AsyncClient():  # expect: error
        pass
