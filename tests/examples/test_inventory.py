"""The inventory: its handlers through their contracts, and hosted by a real superd."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from inventoryd.api import AddStock, Item, Lookup, OutOfStock, TakeStock, UnknownSku, add, lookup, take
from inventoryd.service import inventory, open_store
from inventoryd.store import Store
from superd.service import NotProvided, Provisions
from superd_client.errors import ApplicationError, InvalidParams, Outcome
from superd_client.sync import Client
from tests.examples.processes import start_superd


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with start_superd(tmp_path) as superd:
        with Client(f"unix:{tmp_path}/superd.sock") as opened:
            yield opened
        assert superd.stop() == 0


def test_every_contract_has_a_plain_handler() -> None:
    assert {endpoint.method: endpoint.is_async for endpoint in inventory.endpoints.values()} == {
        lookup: False,
        add: False,
        take: False,
    }


def test_the_store_is_open_while_superd_serves(tmp_path: Path) -> None:
    async def use() -> Store:
        async with open_store(Provisions({"STATE_DIRECTORY": str(tmp_path)})) as store:
            store.add("A-1", 1)
        return store

    store = asyncio.run(use())
    with pytest.raises(Exception, match="closed"):
        store.get("A-1")


def test_without_a_place_it_does_not_open() -> None:
    async def use() -> None:
        async with open_store(Provisions({})):
            pytest.fail("it opened")

    with pytest.raises(NotProvided, match="add StateDirectory=NAME to the unit, or set STATE_DIRECTORY"):
        asyncio.run(use())


def test_add_lookup_take(client: Client) -> None:
    assert client.call(add, AddStock(sku="A-1", quantity=3, name="hammer")) == Item(
        sku="A-1", name="hammer", quantity=3
    )
    assert client.call(take, TakeStock(sku="A-1", quantity=2)).quantity == 1
    assert client.call(lookup, Lookup(sku="A-1")) == Item(sku="A-1", name="hammer", quantity=1)


def test_out_of_stock_is_declared(client: Client) -> None:
    client.call(add, AddStock(sku="A-1", quantity=1))
    with pytest.raises(ApplicationError, match="2 wanted, 1 there") as caught:
        client.call(take, TakeStock(sku="A-1", quantity=2))
    assert caught.value.detail == OutOfStock(sku="A-1", wanted=2, available=1)
    assert caught.value.outcome is Outcome.FAILED
    assert client.call(lookup, Lookup(sku="A-1")).quantity == 1


def test_an_unknown_sku_is_declared(client: Client) -> None:
    with pytest.raises(ApplicationError) as looked:
        client.call(lookup, Lookup(sku="Z-9"))
    with pytest.raises(ApplicationError) as taken:
        client.call(take, TakeStock(sku="Z-9"))
    assert looked.value.detail == taken.value.detail == UnknownSku(sku="Z-9")


def test_wrong_params_do_not_reach_the_store(client: Client) -> None:
    with pytest.raises(InvalidParams) as caught:
        client.call("inventory.add", {"sku": "A-1", "quantity": 1_000_001})
    assert [fault["loc"] for fault in caught.value.data["errors"]] == [["quantity"]]
    with pytest.raises(ApplicationError):
        client.call(lookup, Lookup(sku="A-1"))


def test_stock_survives_a_restart_of_superd(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/superd.sock"
    with start_superd(tmp_path) as superd, Client(address) as client:
        client.call(add, AddStock(sku="A-1", quantity=3, name="hammer"))
        assert superd.stop() == 0
    with start_superd(tmp_path) as superd, Client(address) as client:
        assert client.call(lookup, Lookup(sku="A-1")) == Item(sku="A-1", name="hammer", quantity=3)
        assert superd.stop() == 0


def test_callers_at_once_lose_nothing(client: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(client.call, add, AddStock(sku="A-1", quantity=1)) for _ in range(100)]
        quantities = sorted(call.result().quantity for call in calls)
    assert quantities == list(range(1, 101))


def test_what_was_changed_is_logged(tmp_path: Path) -> None:
    with start_superd(tmp_path) as superd:
        with Client(f"unix:{tmp_path}/superd.sock") as client:
            client.call(add, AddStock(sku="A-1", quantity=3))
            client.call(take, TakeStock(sku="A-1", quantity=1))
        superd.stop()
    (added,) = [line for line in superd.lines if "stock added" in line]
    (taken,) = [line for line in superd.lines if "stock taken" in line]
    assert "sku=A-1 added=3 quantity=3" in added
    assert "sku=A-1 taken=1 quantity=2" in taken
