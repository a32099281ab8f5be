"""The models and contracts of the inventory: what fits, what does not."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from inventoryd import api
from inventoryd.api import AddStock, Item, Lookup, OutOfStock, TakeStock, UnknownSku


@pytest.mark.parametrize(
    "sku", ["A", "7", "A-1", "a.b_c-d", "A" * (api.SKU_LENGTH_MAX - 1), "A" * api.SKU_LENGTH_MAX]
)
def test_a_sku_is_letters_digits_and_three_signs(sku: str) -> None:
    assert api.lookup.read_params(f'{{"sku":"{sku}"}}'.encode()) == Lookup(sku=sku)


@pytest.mark.parametrize(
    "sku", ["", "-A", ".A", "A 1", "A\n", "A/1", "Ä", "A" * (api.SKU_LENGTH_MAX + 1), 7, None, ["A-1"], True]
)
def test_anything_else_is_no_sku(sku: Any) -> None:
    with pytest.raises(ValidationError):
        Lookup(sku=sku)


@pytest.mark.parametrize("quantity", [1, 2, api.QUANTITY_MAX - 1, api.QUANTITY_MAX])
def test_quantities_have_limits(quantity: int) -> None:
    assert AddStock(sku="A-1", quantity=quantity).quantity == quantity
    assert TakeStock(sku="A-1", quantity=quantity).quantity == quantity


@pytest.mark.parametrize("quantity", [0, -1, api.QUANTITY_MAX + 1, "3", 3.0, True, None])
def test_nothing_else_is_a_quantity(quantity: Any) -> None:
    for model in (AddStock, TakeStock):
        with pytest.raises(ValidationError):
            model(sku="A-1", quantity=quantity)


@pytest.mark.parametrize("name", ["x", "claw hammer", "Schlägel 2 kg", "n" * api.NAME_LENGTH_MAX])
def test_a_name_is_printable_text(name: str) -> None:
    assert AddStock(sku="A-1", quantity=1, name=name).name == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "hammer\n<0>forged line",
        "\x1b[31mred",
        "line\u2028break",
        "paragraph\u2029break",
        "turned \u202eround",
        "n" * (api.NAME_LENGTH_MAX + 1),
    ],
)
def test_a_name_cannot_forge_a_log_line(name: str) -> None:
    with pytest.raises(ValidationError):
        AddStock(sku="A-1", quantity=1, name=name)


def test_what_may_be_left_out() -> None:
    assert TakeStock(sku="A-1").quantity == 1
    assert AddStock(sku="A-1", quantity=1).name is None


@pytest.mark.parametrize(
    ("model", "members"),
    [
        (Lookup, {"sku": "A-1"}),
        (AddStock, {"sku": "A-1", "quantity": 1}),
        (TakeStock, {"sku": "A-1"}),
        (Item, {"sku": "A-1", "name": "hammer", "quantity": 0}),
        (UnknownSku, {"sku": "A-1"}),
        (OutOfStock, {"sku": "A-1", "wanted": 1, "available": 0}),
    ],
)
def test_unknown_members_are_refused(model: type[BaseModel], members: dict[str, Any]) -> None:
    model(**members)
    with pytest.raises(ValidationError, match="extra_forbidden"):
        model(**members, colour="red")


def test_the_shelf_is_never_below_empty() -> None:
    assert Item(sku="A-1", name="hammer", quantity=0).quantity == 0
    with pytest.raises(ValidationError):
        Item(sku="A-1", name="hammer", quantity=-1)


def test_only_the_lookup_may_be_repeated() -> None:
    assert {method.name: method.idempotent for method in (api.lookup, api.add, api.take)} == {
        "inventory.lookup": True,
        "inventory.add": False,
        "inventory.take": False,
    }


@pytest.mark.parametrize("detail", [UnknownSku(sku="A-1"), OutOfStock(sku="A-1", wanted=2, available=1)])
def test_declared_errors_travel(detail: BaseModel) -> None:
    assert api.take.decode_error(api.take.encode_error(detail, "sorry")) == detail
