"""A service with every kind of answer that superctl has to show."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

from pydantic import Field

from superd.service import Context, Service
from superd_client.blob import Blob
from superd_client.builtin import Nothing
from superd_client.contract import Message, Method
from superd_client.errors import ApplicationError
from superd_client.fd import Fd
from superd_client.streams import Stream, Upload

#: A title, a screen that is cleared, a carriage return, a C1 introducer, text that runs backwards.
HOSTILE = "\x1b]0;pwned\x07\x1b[2J\rok\x9b1m\u202e\x7f"


class Lookup(Message):
    """Which item."""

    sku: str = Field(
        min_length=1, max_length=16, pattern="^[A-Z]-[0-9]+$", description="The stock-keeping unit."
    )
    quantity: int = Field(default=1, ge=1, description="How many are wanted.")


class Item(Message):
    """What is known of an item."""

    sku: str
    quantity: int
    tags: tuple[str, ...] = ()
    note: str | None = None


class OutOfStock(Message):
    """There are fewer than wanted."""

    sku: str
    available: int


lookup = Method(
    "store.lookup", Lookup, Item, idempotent=True, errors=[OutOfStock], summary="Look an item up."
)
numbers = Method("store.numbers", Nothing, dict[str, Any])
fail = Method("store.fail", Nothing, int, keyed=True, summary="Fail in a way that nobody declared.")
wait = Method("store.wait", Nothing, int, summary="Never answer.")

store = Service("store", version="2.1.0")


@store.method(lookup)
async def handle_lookup(params: Lookup, context: Context) -> Item:
    if params.sku == "X-0":
        raise ApplicationError(OutOfStock(sku=params.sku, available=0), f"out of {HOSTILE}")
    return Item(sku=params.sku, quantity=params.quantity, tags=("a", "\u00e9"), note=HOSTILE)


@store.method(numbers)
async def handle_numbers(params: Nothing, context: Context) -> dict[str, Any]:
    return {"big": 2**80, "tenth": 0.1, "small": 1e-300, "no": None, "yes": True, "empty": [], "none": {}}


@store.method(fail)
async def handle_fail(params: Nothing, context: Context) -> int:
    raise RuntimeError


@store.method(wait)
async def handle_wait(params: Nothing, context: Context) -> int:
    context.log.warning("waiting", step="begun")
    await asyncio.Event().wait()
    return 0


class Span(Message):
    """How many."""

    count: int = Field(ge=0)


class Document(Message):
    """A file that was opened."""

    name: str
    file: Fd


count = Stream("store.count", Span, int, errors=[OutOfStock], summary="Count.")
add_up = Upload("store.add_up", Span, int, int, summary="Add up.")
read_file = Method("store.read_file", Document, str, summary="Read what was opened.")
remember = Method("store.remember", Span, int, summary="Say so in the log.")


@store.method(count)
async def handle_count(params: Span, context: Context) -> AsyncIterator[int]:
    for number in range(params.count):
        yield number
        if number == 99:
            raise ApplicationError(OutOfStock(sku="A-1", available=99))


@store.method(add_up)
async def handle_add_up(params: Span, items: AsyncIterator[int], context: Context) -> int:
    return params.count + sum([item async for item in items])


@store.method(read_file)
def handle_read_file(params: Document, context: Context) -> str:
    return f"{params.name}: {os.read(params.file.fileno(), 100).decode()}"


@store.method(remember)
async def handle_remember(params: Span, context: Context) -> int:
    context.log.warning("remembered", count=params.count)
    return params.count


ticks = Stream("store.ticks", Nothing, int, summary="Say 0, and then nothing.")


@store.method(ticks)
async def handle_ticks(params: Nothing, context: Context) -> AsyncIterator[int]:
    yield 0
    await asyncio.Event().wait()


class Wanted(Message):
    """How large, and how often."""

    size: int = Field(ge=0)
    count: int = 1


class Album(Message):
    """What came of it."""

    title: str
    pictures: tuple[Blob, ...]
    source: Fd | None = None


album = Method("store.album", Wanted, Album, summary="Give blobs, and a pipe.")
pages = Stream("store.pages", Wanted, Blob, summary="Give blobs, one after the other.")


def make_blob(number: int, size: int) -> Blob:
    return Blob(bytes([ord("a") + number]) * size)


@store.method(album)
def handle_album(params: Wanted, context: Context) -> Album:
    pictures = tuple(make_blob(number, params.size) for number in range(params.count))
    reading, writing = os.pipe()
    os.close(writing)
    return Album(title="b", pictures=pictures, source=Fd(reading))


@store.method(pages)
async def handle_pages(params: Wanted, context: Context) -> AsyncIterator[Blob]:
    for number in range(params.count):
        yield make_blob(number, params.size)
