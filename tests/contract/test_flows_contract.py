"""Streams, uploads, one-way calls, deadlines and cancellation between each client and superd itself."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from superd_client import ApplicationError, CallTimeout, InvalidParams, MethodNotFound, SuperdError
from tests.client.server import PATIENCE
from tests.contract.conftest import CONNECTED
from tests.contract.drivers import Driver
from tests.contract.flows import (
    Nothing,
    Range,
    Unlucky,
    hold,
    note,
    numbers,
    on_a_thread,
    seen,
    silence,
    total,
)
from tests.contract.servers import superd


@pytest.fixture(scope="session", params=CONNECTED, ids=lambda kind: kind.name.lower())
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory: Path = tmp_path_factory.mktemp("flows")
    with superd(directory, request.param, "tests.contract.flows:flows") as address:
        yield address


def wait_until(condition: Callable[[], bool]) -> None:
    """Ask superd until it says so."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline


@pytest.mark.parametrize("stream", [numbers, on_a_thread], ids=lambda stream: stream.name)
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000])
def test_a_stream_gives_all_its_items_in_order(client: Driver, stream: Any, count: int) -> None:
    items: list[int] = []
    client.collect(items, stream, Range(count=count))
    assert items == list(range(count))


@pytest.mark.parametrize("credit", [1, 2, 7])
def test_a_stream_under_little_credit(client: Driver, credit: int) -> None:
    items: list[int] = []
    client.collect(items, numbers, Range(count=100), credit=credit)
    assert items == list(range(100))


@pytest.mark.parametrize("stream", [numbers, on_a_thread], ids=lambda stream: stream.name)
def test_a_stream_that_is_left_early(client: Driver, stream: Any) -> None:
    items: list[int] = []
    client.collect(items, stream, Range(count=10**9), most=100)
    assert items == list(range(100))
    items.clear()
    client.collect(items, stream, Range(count=5))
    assert items == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("stream", [numbers, on_a_thread], ids=lambda stream: stream.name)
def test_a_declared_error_of_a_stream(client: Driver, stream: Any) -> None:
    items: list[int] = []
    with pytest.raises(ApplicationError, match="unlucky") as caught:
        client.collect(items, stream, Range(count=100, unlucky=70))
    assert caught.value.detail == Unlucky(value=70)
    assert items == list(range(70))


def test_streams_that_are_refused(client: Driver) -> None:
    with pytest.raises(MethodNotFound):
        client.collect([], "flows.none", {})
    with pytest.raises(InvalidParams):
        client.collect([], "flows.numbers", {"count": "many"})
    items: list[int] = []
    client.collect(items, "flows.numbers", {"count": 3})
    assert items == [0, 1, 2]


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000])
def test_an_upload_sends_all_items(client: Driver, count: int) -> None:
    assert client.upload(total, Range(count=-1), range(count)) == sum(range(count))


def test_an_upload_that_superd_ends_early(client: Driver) -> None:
    assert client.upload(total, Range(count=3), range(10**9)) == 0 + 1 + 2


def test_a_declared_error_of_an_upload(client: Driver) -> None:
    with pytest.raises(ApplicationError, match="unlucky") as caught:
        client.upload(total, Range(count=-1, unlucky=70), range(10**9))
    assert caught.value.detail == Unlucky(value=70)


def test_an_item_that_superd_refuses(client: Driver) -> None:
    with pytest.raises(InvalidParams):
        client.upload("flows.total", {"count": 5}, [1, "two", 3])


def test_a_one_way_call_is_carried_out(client: Driver) -> None:
    before = client.call(seen, Nothing()).noted
    client.notify(note, Nothing())
    wait_until(lambda: client.call(seen, Nothing()).noted == before + 1)


def cancels(client: Driver, attempt: Callable[[], Any]) -> None:
    """Whether superd's handler hears of the end of what is given up."""
    before = client.call(seen, Nothing())
    # On a busy machine the time may be over before it begins: such an attempt shows nothing.
    while client.call(seen, Nothing()).begun == before.begun:
        with pytest.raises(CallTimeout):
            attempt()
    wait_until(lambda: client.call(seen, Nothing()).cancelled == before.cancelled + 1)
    assert client.call(seen, Nothing()).begun == before.begun + 1


def test_a_call_is_cancelled_at_its_deadline(client: Driver) -> None:
    cancels(client, lambda: client.call(hold, Nothing(), timeout=0.05))


@pytest.mark.parametrize("bound", ["gap", "whole"])
def test_a_stream_is_cancelled_when_its_time_is_over(client: Driver, bound: str) -> None:
    items: list[int] = []
    cancels(client, lambda: client.collect(items, silence, Nothing(), timeout=0.1, bound=bound))
    assert items == [0]


def test_closing_the_client_cancels_its_stream(client: Driver, kind: type[Driver], address: str) -> None:
    before = client.call(seen, Nothing())
    while client.call(seen, Nothing()).begun == before.begun:
        with kind(address) as other, pytest.raises(SuperdError):
            other.collect([], silence, Nothing(), timeout=0.05)
    wait_until(lambda: client.call(seen, Nothing()).cancelled == before.cancelled + 1)


def test_hello(client: Driver) -> None:
    hello = client.hello()
    assert hello.protocol.min <= 1 <= hello.protocol.max
    assert hello.limits["frame_size_default"] >= 1024
