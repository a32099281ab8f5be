"""call-from-a-daemon.md: its parts of programs, each run with what it leaves out, against a real superd."""

import ast
import asyncio
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import superd_client
from superd_client import AsyncClient, Client
from tests.examples import shop
from tests.examples.pages import HOWTO, blocks
from tests.examples.processes import clean_environment, start

PAGE: Final = (HOWTO / "call-from-a-daemon.md").read_text("utf-8")
SHARED, PROVED, TIMED, FAST, DECIDED, KEYED, FOLLOWED, SENT = (
    compile(block.text, f"call-from-a-daemon.md:{block.line}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for block in blocks(PAGE, Path())
    if block.kind == "python"
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    address = f"unix:{tmp_path_factory.mktemp('shop')}/superd.sock"
    command = [sys.executable, "-m", "superd", "--listen", address, "--service", "tests.examples.shop:shop"]
    with start(command, clean_environment()) as child:
        child.wait_for_lines("started")
        yield address
        assert child.stop() == 0


@pytest.fixture(autouse=True)
def environment(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERD_SOCKET", address)


def do(part: Any, **given: Any) -> dict[str, Any]:
    """Run a part of a program, with the names that it is `given`; returns all names that it has at its end."""
    names = {name: getattr(superd_client, name) for name in superd_client.__all__}
    names |= {"asyncio": asyncio, **vars(shop), **given}

    async def run() -> None:
        async with AsyncClient() as superd:
            names.setdefault("superd", superd)
            if inspect.isawaitable(waiting := eval(part, names)):
                await waiting

    asyncio.run(run())
    return names


def test_one_client_is_shared() -> None:
    served = []

    async def serve(superd: AsyncClient) -> None:
        served.append(await superd.call(shop.lookup, shop.Lookup(sku="B-2")))

    do(SHARED, serve=serve)
    assert served == ["item B-2"]


@pytest.mark.parametrize("part", [PROVED, FAST], ids=["expect_unit", "latency"])
def test_a_client_is_made(part: Any) -> None:
    with do(part)["superd"] as superd:
        assert isinstance(superd, Client)


def test_a_call_has_its_time() -> None:
    assert do(TIMED)["item"] == "item A-1"


def test_a_failure_is_caught() -> None:
    do(DECIDED)


class Orders:
    """A store of orders whose program is killed before it can close the first."""

    def __init__(self) -> None:
        self.stored: dict[Any, str] = {}
        self.receipts: list[int] = []

    def save(self, order: Any, key: str) -> None:
        self.stored[order] = key

    def open(self) -> list[tuple[Any, str]]:
        return list(self.stored.items())

    def close(self, order: Any, receipt: int) -> None:
        if self.receipts:
            del self.stored[order]
        self.receipts.append(receipt)


class Order:
    id = "order-7"


def test_a_repeat_over_a_restart_gets_the_first_answer() -> None:
    orders = Orders()
    do(KEYED, orders=orders, order=Order(), report=pytest.fail)
    assert orders.receipts == [1, 1]
    assert orders.stored == {}


def test_a_stream_is_followed_for_ever() -> None:
    """Until the program has what it wanted."""

    class Enough(Exception):
        pass

    def apply(change: str) -> None:
        raise Enough(change)

    with pytest.raises(Enough, match="A-1"):
        do(FOLLOWED, apply=apply)


def test_many_things_are_sent() -> None:
    assert do(SENT, rows=range(10))["summary"] == 45
