"""What type checkers must refuse of calls: each marked line, and no other."""

from superd_client import AsyncClient, Client, Message, Method, Stream, Upload


class Lookup(Message):
    sku: str


class Add(Message):
    sku: str


class Item(Message):
    sku: str


lookup = Method("inventory.lookup", Lookup, Item)
watch = Stream("inventory.watch", Lookup, Item)
load = Upload("inventory.load", Lookup, Item, int)

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


def flowing(client: Client) -> None:
    client.stream(lookup, Lookup(sku="A-1"))  # expect: error
    client.stream(load, Lookup(sku="A-1"))  # expect: error
    client.stream(watch, Add(sku="A-1"))  # expect: error
    client.stream(watch, Lookup(sku="A-1"), bound="half")  # expect: error
    client.stream(watch, Lookup(sku="A-1"), credit="many")  # expect: error
    for number in client.stream(watch, Lookup(sku="A-1")):
        number.bit_length()  # expect: error
    client.upload(watch, Lookup(sku="A-1"), [])  # expect: error
    client.upload(load, Lookup(sku="A-1"), [1])  # expect: error
    client.upload(load, Lookup(sku="A-1"))  # expect: error
    item: Item = client.upload(load, Lookup(sku="A-1"), [Item(sku="A-1")])  # expect: error
    item.model_dump()
    with client.open_upload(load, Lookup(sku="A-1")) as sink:
        sink.send("A-1")  # expect: error
    client.notify(lookup, Add(sku="A-1"))  # expect: error
    client.notify(lookup)  # expect: error


async def flowing_too(client: AsyncClient) -> None:
    client.stream(lookup, Lookup(sku="A-1"))  # expect: error
    for _ in client.stream(watch, Lookup(sku="A-1")):  # expect: error
        pass
    async for number in client.stream(watch, Lookup(sku="A-1")):
        number.bit_length()  # expect: error
    await client.upload(load, Lookup(sku="A-1"), [1])  # expect: error
    item: Item = await client.upload(load, Lookup(sku="A-1"), [Item(sku="A-1")])  # expect: error
    item.model_dump()
    async with client.open_upload(load, Lookup(sku="A-1")) as sink:
        await sink.send("A-1")  # expect: error
    await client.notify(lookup, Add(sku="A-1"))  # expect: error
