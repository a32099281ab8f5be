"""The contract of the measured service, as an author of superd writes one: strict models."""

from typing import Final

from superd_client.builtin import Nothing
from superd_client.contract import Message, Method
from superd_client.streams import Stream


class Lookup(Message):
    """A request."""

    sku: str
    qty: int
    tags: list[str]
    note: str


class Item(Message):
    """A reply."""

    sku: str
    qty: int
    tags: list[str]
    note: str
    price: float


class Watch(Message):
    """How many items to stream."""

    items: int


class Tick(Message):
    """A small item."""

    seq: int
    sku: str


lookup: Final = Method("inventory.lookup", Lookup, Item, idempotent=True)
#: The same call without a reply; the service counts them.
note: Final = Method("inventory.note", Lookup, type(None))
noted: Final = Method("inventory.noted", Nothing, int)
watch: Final = Stream("inventory.watch", Watch, Tick)
