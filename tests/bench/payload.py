"""What every system carries: `inventory.lookup`, 160 bytes of params, and the same back with a price.

Requests are made before anything is measured, and taken in turn from a small pool, so that a reply that belongs to
another request is noticed.
"""

import json
from typing import Any, Final, NamedTuple, TypedDict

METHOD: Final = "inventory.lookup"

#: Bytes of a request's params as JSON: the small call, and the two echoes.
SMALL: Final = 160
KIB_64: Final = 64 * 1024
MIB: Final = 1024 * 1024

#: Different requests. More than are in flight at once would be more than any system could mix up.
POOL: Final = 64

#: The smallest one-way message and stream item that still says which it is.
ITEM_SKU: Final = "A-1042"


class Params(TypedDict):
    """A request, as JSON has it."""

    sku: str
    qty: int
    tags: list[str]
    note: str


class Item(Params):
    """A reply: the request, and a price."""

    price: float


class WrongAnswerError(Exception):
    """A system answered something else than it was asked for: its figures are worth nothing."""


class Exchange(NamedTuple):
    """A request, and the one right answer."""

    params: Params
    item: Item


def price_of(qty: int) -> float:
    """What the service computes; exact in binary, so that it can be compared."""
    return 100.25 + qty


def answer(params: Params) -> Item:
    """The service's work, for systems whose handlers see plain data."""
    return {**params, "price": price_of(params["qty"])}


def encode(value: object) -> bytes:
    """JSON without spaces."""
    return json.dumps(value, separators=(",", ":")).encode()


def exchanges(size: int) -> list[Exchange]:
    """POOL requests of exactly `size` bytes of params, and their answers."""
    return [_exchange(100 + number, size) for number in range(POOL)]


def _exchange(qty: int, size: int) -> Exchange:
    params: Params = {"sku": ITEM_SKU, "qty": qty, "tags": ["red", "fragile", "bulk"], "note": ""}
    params["note"] = "n" * (size - len(encode(params)))
    return Exchange(params, answer(params))


def expect(number: int, found: object, expected: object) -> None:
    """Raise WrongAnswerError, without what was found: it may be a megabyte."""
    if found != expected:
        message = f"call {number} got another answer than its own ({type(found).__name__})"
        raise WrongAnswerError(message)


def frame(size: int) -> bytes:
    """A call as superd's protocol writes it: what the raw references echo."""
    body = encode(
        {
            "jsonrpc": "2.0",
            "id": 7,
            "method": METHOD,
            "params": exchanges(size)[0].params,
            "meta": {"deadline_usec": 16_000_000_000, "call_id": "6f0c2a91d3be-17"},
        }
    )
    return len(body).to_bytes(4, "big") + body


def plain(value: Any) -> Any:
    """Copy what a system hands out as a proxy or a mapping of its own to plain data, lists and dicts."""
    if isinstance(value, str | int | float):
        return value
    if hasattr(value, "items"):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value]
