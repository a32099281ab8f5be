"""What the inventory and its callers agree on. It needs superd-client alone, so that any daemon can import it."""

from typing import Annotated, Final, TypeAlias

from pydantic import Field

from superd_client.contract import Message, Method

#: The most that one call may add or take. A delivery is counted by people: a larger one is a typing error.
QUANTITY_MAX: Final = 1_000_000

SKU_LENGTH_MAX: Final = 64
NAME_LENGTH_MAX: Final = 200

Sku: TypeAlias = Annotated[
    str,
    Field(
        max_length=SKU_LENGTH_MAX,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Stock keeping unit: what an item is ordered by, such as A-1.",
    ),
]
#: Printable, since it ends up in the logs of whoever asks: a line break would forge a line there.
Name: TypeAlias = Annotated[str, Field(max_length=NAME_LENGTH_MAX, pattern=r"^[^\p{C}\p{Zl}\p{Zp}]+$")]
Quantity: TypeAlias = Annotated[int, Field(ge=1, le=QUANTITY_MAX)]
Stock: TypeAlias = Annotated[int, Field(ge=0)]


class Lookup(Message):
    """Asks for one item."""

    sku: Sku


class AddStock(Message):
    """A delivery that goes on the shelf."""

    sku: Sku
    quantity: Quantity = Field(description="How many were delivered.")
    name: Name | None = Field(
        default=None,
        description="What the item is called. Without one it keeps its name; a new one takes its sku.",
    )


class TakeStock(Message):
    """A withdrawal: all of it or nothing."""

    sku: Sku
    quantity: Quantity = Field(default=1, description="How many to take.")


class Item(Message):
    """What is on the shelf."""

    sku: Sku
    name: Name
    quantity: Stock = Field(description="How many are there.")


class UnknownSku(Message):
    """No delivery ever had this sku."""

    sku: Sku


class OutOfStock(Message):
    """More was wanted than there is. Nothing was taken."""

    sku: Sku
    wanted: Quantity
    available: Stock


lookup: Final = Method(
    "inventory.lookup",
    Lookup,
    Item,
    idempotent=True,
    errors=[UnknownSku],
    summary="Say how many of an item there are.",
)

add: Final = Method(
    "inventory.add",
    AddStock,
    Item,
    summary="Put a delivery on the shelf, and say what is there now.",
)

take: Final = Method(
    "inventory.take",
    TakeStock,
    Item,
    errors=[UnknownSku, OutOfStock],
    summary="Take some of an item, and say what is left.",
)
