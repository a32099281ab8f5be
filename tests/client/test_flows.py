"""Streams, uploads, one-way calls, deadlines and goaway, the same for each client, against servers of any conduct."""

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from superd_client import (
    ApplicationError,
    CallTimeout,
    Cancelled,
    ClientClosed,
    ConnectFailed,
    ConnectionLost,
    InternalError,
    Interrupted,
    InvalidResult,
    MessageTooLarge,
    Outcome,
    Unavailable,
)
from superd_client.calls import UNAVAILABLE_RETRIES
from superd_client.deadline import current_deadline
from superd_client.wire.control import Cancel, Credit
from superd_client.wire.envelope import Notification, Request
from superd_client.wire.errors import RemoteProtocolError
from superd_client.wire.framing import encode_frame
from superd_client.wire.limits import CREDIT_MAX, STREAM_CREDIT_DEFAULT, TIME_USEC_MAX
from superd_client.wire.server import Item
from tests.client.models import OutOfStock, Text, echo, load, stock, touchy_watch, watch
from tests.client.scripts import open_stream, open_upload, receive_items, serve_numbers
from tests.client.server import PATIENCE, Peer, full_backlog, serving
from tests.contract.drivers import DRIVERS, Driver

A = Text(text="a")


@pytest.fixture(params=sorted(DRIVERS))
def kind(request: pytest.FixtureRequest) -> type[Driver]:
    driver: Any = DRIVERS[request.param]
    return driver  # type: ignore[no-any-return]


def now_usec() -> int:
    return time.monotonic_ns() // 1000


@contextmanager
def deadline(usec: int) -> Iterator[None]:
    """Make calls as a handler does whose own call is over then."""
    token = current_deadline.set(usec)
    try:
        yield
    finally:
        current_deadline.reset(token)


# --- deadlines --------------------------------------------------------------------------------------------------


def test_each_call_says_when_it_is_over(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        request = peer.expect()
        seen.append(request.meta["deadline_usec"])
        peer.answer(request, request.params)
        peer.await_end()

    seen: list[int] = []
    with serving(script) as server, kind(server.address) as client:
        before = now_usec()
        client.call(echo, A, timeout=5)
        assert before + 5_000_000 - 1 <= seen[0] <= now_usec() + 5_000_000


@pytest.mark.parametrize("timeout", [TIME_USEC_MAX / 1e6, 1e13, 1e300])
def test_a_deadline_beyond_what_a_message_can_hold(kind: type[Driver], timeout: float) -> None:
    def script(peer: Peer) -> None:
        request = peer.expect()
        assert request.meta["deadline_usec"] == TIME_USEC_MAX
        peer.answer(request, request.params)
        peer.await_end()

    with serving(script) as server, kind(server.address) as client:
        assert client.call(echo, A, timeout=timeout) == A


def test_a_call_of_a_handler_ends_with_the_handlers_own(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        seen.append(peer.expect().meta["deadline_usec"])
        peer.await_end()

    seen: list[int] = []
    with serving(script) as server, kind(server.address) as client:
        over = now_usec() + 100_000
        with deadline(over), pytest.raises(CallTimeout, match=r"no reply within 0\.0") as caught:
            client.call(echo, A, timeout=5)
        assert now_usec() >= over
        assert caught.value.outcome is Outcome.UNKNOWN
    assert seen == [over]


def test_the_handlers_deadline_is_passed_on_to_the_microsecond(kind: type[Driver]) -> None:
    """Also one that is a little less as a number of seconds."""

    def script(peer: Peer) -> None:
        for _ in odd:
            request = peer.expect()
            seen.append(request.meta["deadline_usec"])
            peer.answer(request, request.params)
        peer.await_end()

    seen: list[int] = []
    first = 1_100_000_000_000_000  # about 35 years: here microseconds have a larger power of two than seconds
    odd = [usec for usec in range(first, first + 1000) if int(usec / 1e6 * 1_000_000) != usec][:5]
    assert odd
    with serving(script) as server, kind(server.address) as client:
        for over in odd:
            with deadline(over):
                assert client.call(echo, A, timeout=2e9) == A
    assert seen == odd


def test_a_call_keeps_its_own_time_where_that_is_less(kind: type[Driver]) -> None:
    with (
        serving(Peer.await_end) as server,
        kind(server.address) as client,
        deadline(now_usec() + 60_000_000),
        pytest.raises(CallTimeout, match=r"no reply within 0.05 s"),
    ):
        client.call(echo, A, timeout=0.05)


@pytest.mark.parametrize("usec", [0, 1])
def test_a_handler_without_time_calls_nobody(kind: type[Driver], usec: int) -> None:
    with serving() as server, kind(server.address) as client:
        for make in (
            lambda: client.call(echo, A),
            lambda: client.notify(echo, A),
            lambda: client.collect([], watch, A),
            lambda: client.upload(load, A, [1]),
        ):
            with deadline(usec), pytest.raises(CallTimeout, match="is over") as caught:
                make()
            assert caught.value.outcome is Outcome.NOT_SENT
        assert server.connections == 0


def test_the_server_may_notice_first_that_the_time_is_over(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        peer.fail(peer.expect(), -32003, "deadline exceeded")
        peer.await_end()

    with serving(script) as server, kind(server.address) as client:
        with pytest.raises(CallTimeout, match=r"no reply within 25 s") as caught:
            client.call(echo, A, call_id="c-1")
        assert (caught.value.outcome, caught.value.call_id) == (Outcome.UNKNOWN, "c-1")


def test_a_timeout_needs_no_cancellation(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        peer.expect()
        peer.answer(request := peer.expect(), request.params)
        assert peer.controls == []
        peer.await_end()

    with serving(script) as server, kind(server.address) as client:
        with pytest.raises(CallTimeout):
            client.call(echo, A, timeout=0.05)
        client.call(echo, A)


# --- one-way calls ----------------------------------------------------------------------------------------------


def test_a_notification_is_sent_once_and_never_answered(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        for _ in range(2):
            event = peer.next_event()
            assert isinstance(event, Notification)
            seen.append(event)
        peer.echo()

    seen: list[Notification] = []
    with serving(script) as server, kind(server.address) as client:
        assert client.notify(echo, A, call_id="c-1", timeout=5) is None  # type: ignore[func-returns-value]
        client.notify("shop.note", {"n": 1})
        assert client.call(echo, A) == A
        assert [(event.method, event.params) for event in seen] == [
            ("echo.echo", {"text": "a"}),
            ("shop.note", {"n": 1}),
        ]
        assert seen[0].call_id == "c-1"
        assert seen[0].meta["deadline_usec"] <= now_usec() + 5_000_000
        assert server.connections == 1


def test_a_notification_that_cannot_be_sent(kind: type[Driver], tmp_path: object) -> None:
    with kind(f"unix:{tmp_path}/none") as client, pytest.raises(ConnectFailed):
        client.notify(echo, A)
    with serving() as server, kind(server.address, frame_limit=1024) as client:
        with pytest.raises(MessageTooLarge):
            client.notify(echo, Text(text="x" * 2000))
        with pytest.raises(TypeError, match="params must be a Text"):
            client.notify(echo, OutOfStock(available=1))
        client.close()
        with pytest.raises(ClientClosed):
            client.notify(echo, A)


def test_a_notification_that_finds_no_room_in_time(kind: type[Driver]) -> None:
    with full_backlog() as backlog, kind(backlog.address) as client:
        with pytest.raises(CallTimeout) as caught:
            client.notify(echo, A, timeout=0.05)
        assert caught.value.outcome is Outcome.NOT_SENT


def test_a_notification_to_a_server_that_restarted_reaches_the_new_one(kind: type[Driver]) -> None:
    def first(peer: Peer) -> None:
        peer.answer(request := peer.expect(), request.params)
        peer.hang_up()
        gone.set()

    def second(peer: Peer) -> None:
        assert isinstance(peer.next_event(), Notification)
        arrived.set()
        peer.await_end()

    gone, arrived = threading.Event(), threading.Event()
    with serving(first, second) as server, kind(server.address) as client:
        client.call(echo, A)
        assert gone.wait(PATIENCE)
        client.notify(echo, A)
        assert arrived.wait(PATIENCE)


# --- streams ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000])
def test_a_stream_gives_all_items_in_order(kind: type[Driver], count: int) -> None:
    with serving(serve_numbers(count)) as server, kind(server.address) as client:
        items: list[int] = []
        client.collect(items, watch, A)
        assert items == list(range(count))
        assert client.call(echo, A) == A


def test_a_stream_by_name_gives_data(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        request = open_stream(peer)
        assert (request.method, request.params) == ("any.thing", {"x": 1})
        for value in ({"deep": [1, None]}, None, "text"):
            peer.send_item(request, value)
        peer.answer(request, None)
        peer.await_end()

    with serving(script) as server, kind(server.address) as client:
        items: list[Any] = []
        client.collect(items, "any.thing", {"x": 1})
        assert items == [{"deep": [1, None]}, None, "text"]


def test_what_a_request_for_a_stream_says(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        for _ in range(4):
            request = peer.expect()
            seen.append(request.meta)
            peer.answer(request, None)
        peer.await_end()

    seen: list[Any] = []
    over = now_usec() + 60_000_000
    with serving(script) as server, kind(server.address) as client:
        client.collect([], watch, A, call_id="c-1", timeout=2)
        client.collect([], watch, A, call_id="c-2", timeout=2, bound="whole", credit=5)
        with deadline(over):
            client.collect([], watch, A, call_id="c-3", timeout=2)
        client.collect([], watch, A, call_id="c-4", timeout=1e300)
    assert seen[0] == {"call_id": "c-1", "gap_usec": 2_000_000, "credit": STREAM_CREDIT_DEFAULT}
    whole = seen[1].pop("deadline_usec")
    assert over - 60_000_000 < whole <= now_usec() + 2_000_000
    assert seen[1] == {"call_id": "c-2", "credit": 5}
    assert seen[2] == {
        "call_id": "c-3",
        "gap_usec": 2_000_000,
        "deadline_usec": over,
        "credit": STREAM_CREDIT_DEFAULT,
    }
    assert seen[3]["gap_usec"] == TIME_USEC_MAX


@pytest.mark.parametrize("credit", [1, 2, 3, 64])
def test_credit_is_given_when_half_of_it_is_used(kind: type[Driver], credit: int) -> None:
    def script(peer: Peer) -> None:
        serve_numbers(4 * credit)(peer)
        given.extend(control.n for control in peer.controls if isinstance(control, Credit))

    given: list[int] = []
    with serving(script) as server, kind(server.address) as client:
        items: list[int] = []
        client.collect(items, watch, A, credit=credit)
        assert items == list(range(4 * credit))
    assert set(given) == {(credit + 1) // 2}


def test_the_largest_credit(kind: type[Driver]) -> None:
    for credit in (CREDIT_MAX - 1, CREDIT_MAX):
        with serving(serve_numbers(3)) as server, kind(server.address) as client:
            items: list[int] = []
            client.collect(items, watch, A, credit=credit)
            assert items == [0, 1, 2]


@pytest.mark.parametrize("credit", [-1, 0, CREDIT_MAX + 1])
def test_credit_that_is_none(kind: type[Driver], credit: int) -> None:
    with kind("unix:/none") as client, pytest.raises(ValueError, match="the credit of a stream is between"):
        client.collect([], watch, A, credit=credit)


def test_arguments_that_make_no_stream_and_no_upload(kind: type[Driver]) -> None:
    with kind("unix:/none") as client:
        with pytest.raises(ValueError, match='bounds the "gap" or the "whole"'):
            client.collect([], watch, A, bound="half")
        with pytest.raises(TypeError, match="is no stream"):
            client.collect([], echo, A)
        with pytest.raises(TypeError, match="is no stream"):
            client.collect([], load, A)
        with pytest.raises(TypeError, match="is no upload"):
            client.upload(watch, A, [])
        with pytest.raises(TypeError, match="is not called"):
            client.call(watch, A)
        with pytest.raises(TypeError, match="is not called"):
            client.call(load, A)
        with pytest.raises(TypeError, match="params must be a Text"):
            client.collect([], watch, OutOfStock(available=1))
        with pytest.raises(ValueError, match="a timeout is"):
            client.collect([], watch, A, timeout=0)
        with pytest.raises(ValueError, match="a call id has"):
            client.upload(load, A, [], call_id="no spaces")


def test_leaving_a_stream_cancels_it(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        request = open_stream(peer)
        peer.send_item(request, 1)
        peer.send_item(request, 2)
        peer.expect_control(Cancel(request.id))
        peer.send_item(request, 3)  # it crossed the cancellation
        peer.fail(request, -32004, "cancelled")
        peer.echo()

    with serving(script) as server, kind(server.address) as client:
        items: list[int] = []
        client.collect(items, watch, A, most=1)
        assert items == [1]
        assert client.call(echo, A) == A
        assert server.connections == 1


def test_the_gap_is_bounded_by_default(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        request = open_stream(peer)
        peer.send_item(request, 1)
        peer.expect_control(Cancel(request.id))
        peer.fail(request, -32004, "cancelled")
        peer.echo()

    with serving(script) as server, kind(server.address) as client:
        items: list[int] = []
        with pytest.raises(CallTimeout, match=r"no item within 0.1 s") as caught:
            client.collect(items, watch, A, timeout=0.1)
        assert caught.value.outcome is Outcome.UNKNOWN
        assert items == [1]
        assert client.call(echo, A) == A


def test_each_gap_has_all_of_the_time(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        request = open_stream(peer)
        for number in range(6):
            peer.send_item(request, number)
            threading.Event().wait(0.05)
        peer.answer(request, None)
        peer.await_end()

    with serving(script) as server, kind(server.address) as client:
        items: list[int] = []
        client.collect(items, watch, A, timeout=0.25)
        assert len(items) == 6


def test_the_whole_is_bounded_where_that_was_chosen(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        request = open_stream(peer)
        while not over.wait(0.05):
            peer.send_item(request, 1)
        stopped.set()
        peer.await_end()

    over, stopped = threading.Event(), threading.Event()
    with serving(script) as server, kind(server.address) as client:
        items: list[int] = []
        begun = time.monotonic()
        with pytest.raises(CallTimeout, match=r"no reply within 0.5 s"):
            client.collect(items, watch, A, timeout=0.5, bound="whole")
        assert time.monotonic() - begun >= 0.5
        over.set()
        assert stopped.wait(PATIENCE)
        assert items


@pytest.mark.parametrize(
    ("code", "error"),
    [(-32603, InternalError), (-32004, Cancelled), (-32003, CallTimeout), (-32005, Unavailable)],
)
def test_a_failure_comes_after_the_items(kind: type[Driver], code: int, error: type[Exception]) -> None:
    def script(peer: Peer) -> None:
        request = open_stream(peer)
        for number in range(3):
            peer.send_item(request, number)
        peer.fail(request, code)
        peer.echo()

    with serving(script, Peer.echo) as server, kind(server.address) as client:
        items: list[int] = []
        with pytest.raises(error):
            client.collect(items, watch, A)
        assert items == [0, 1, 2]
        assert client.call(echo, A) == A


def test_declared_errors_of_all_kinds_have_their_models(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        for _ in range(3):
            peer.fail(peer.expect(), -32000, "only 3", type="OutOfStock", detail={"available": 3})
        peer.await_end()

    with serving(script) as server, kind(server.address) as client:
        for make in (
            lambda: client.call(stock, A),
            lambda: client.collect([], watch, A),
            lambda: client.upload(load, A, [1]),
        ):
            with pytest.raises(ApplicationError, match="only 3") as caught:
                make()
            assert caught.value.detail == OutOfStock(available=3)


def test_an_item_that_this_side_refuses_ends_the_stream(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        request = open_stream(peer)
        peer.send_item(request, 1)
        peer.send_item(request, "two")
        peer.send_item(request, 3)
        peer.expect_control(Cancel(request.id))
        peer.fail(request, -32004)
        peer.echo()

    with serving(script) as server, kind(server.address) as client:
        items: list[int] = []
        with pytest.raises(InvalidResult, match="an item does not fit") as caught:
            client.collect(items, watch, A)
        assert [fault["type"] for fault in caught.value.data["errors"]] == ["int_type"]
        assert items == [1]
        assert client.call(echo, A) == A


def test_a_validator_of_ours_that_fails_ends_its_own_stream_alone(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        request = open_stream(peer)
        peer.send_item(request, {"text": "x"})
        peer.expect_control(Cancel(request.id))
        peer.echo()

    with serving(script) as server, kind(server.address) as client:
        with pytest.raises(InvalidResult) as caught:
            client.collect([], touchy_watch, A)
        assert isinstance(caught.value.__cause__, RuntimeError)
        assert client.call(echo, A) == A
        assert server.connections == 1


def test_a_connection_that_is_lost_ends_the_stream_after_its_items(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        request = open_stream(peer)
        peer.send_item(request, 1)
        peer.send_item(request, 2)

    with serving(script, Peer.echo) as server, kind(server.address) as client:
        items: list[int] = []
        with pytest.raises(ConnectionLost, match="the server closed the connection"):
            client.collect(items, watch, A)
        assert items == [1, 2]
        assert client.call(echo, A) == A


# --- servers that break the rules -------------------------------------------------------------------------------


def item(request_id: object, seq: object, value: object = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "rpc.item", "params": {"id": request_id, "seq": seq, "item": value}}


def credit(request_id: object, n: object) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "rpc.credit", "params": {"id": request_id, "n": n}}


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([item(1, 1)], id="a seq that does not begin at 0"),
        pytest.param([item(1, 0), item(1, 2)], id="a gap"),
        pytest.param([item(1, 0), item(1, 0)], id="a seq twice"),
        pytest.param([item(1, seq) for seq in range(4)], id="an item over the credit"),
        pytest.param([item(2, 0)], id="an id that was never used"),
        pytest.param([item("1", 0)], id="an id of another type"),
        pytest.param([item(1, -1)], id="a negative seq"),
        pytest.param([item(1, 0) | {"x": 1}], id="an unknown member"),
        pytest.param([item(1, 0) | {"params": {"id": 1, "seq": 0}}], id="no item"),
        pytest.param([credit(1, 0)], id="a credit of 0"),
    ],
)
def test_a_server_that_breaks_the_rules_of_streams_is_left(
    kind: type[Driver], messages: list[dict[str, Any]]
) -> None:
    def script(peer: Peer) -> None:
        peer.expect()
        peer.send(b"".join(encode_frame(json.dumps(message).encode()) for message in messages))
        peer.await_rest()

    with serving(script, Peer.echo) as server, kind(server.address) as client:
        items: list[int] = []
        with pytest.raises(ConnectionLost, match="the server broke the protocol") as caught:
            client.collect(items, watch, A, credit=3)
        assert isinstance(caught.value.__cause__, RemoteProtocolError)
        assert items == [1] * (len(messages) - 1)
        assert client.call(echo, A) == A


@pytest.mark.parametrize("name", ["shop.watch", watch])
def test_an_item_that_is_not_what_it_seems_at_first(kind: type[Driver], name: Any) -> None:
    def script(peer: Peer) -> None:
        peer.expect()
        body = json.dumps(item(1, 0), separators=(",", ":")).encode()
        body = body.removesuffix(b"}") + b',"params":5}'
        peer.send(len(body).to_bytes(4, "big") + body)
        peer.await_rest()

    with (
        serving(script) as server,
        kind(server.address) as client,
        pytest.raises((ConnectionLost, InvalidResult)),
    ):
        client.collect([], name, A if name is watch else {"text": "a"})


def test_an_item_of_a_plain_call(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        peer.expect()
        peer.send_message(item(1, 0))
        peer.await_rest()

    with serving(script, Peer.echo) as server, kind(server.address) as client:
        with pytest.raises(ConnectionLost, match="an item of a call that is no stream"):
            client.call(echo, A)
        assert client.call(echo, A) == A


def test_an_item_of_an_upload(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        peer.expect()
        peer.send_message(item(1, 0))
        peer.await_rest()

    with (
        serving(script) as server,
        kind(server.address) as client,
        pytest.raises(ConnectionLost, match="an item of a call that is no stream"),
    ):
        client.upload(load, A, [1])


def test_credit_that_overflows(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        peer.expect()
        peer.send(b"".join(encode_frame(json.dumps(credit(1, n)).encode()) for n in (CREDIT_MAX, 1)))
        peer.await_rest()

    with (
        serving(script) as server,
        kind(server.address) as client,
        pytest.raises(ConnectionLost, match="the credit of a stream is at most"),
    ):
        client.upload(load, A, held(threading.Event()))


def held(event: threading.Event) -> Iterator[int]:
    """More items than a test can wait for."""
    while not event.is_set():
        yield 1


def test_credit_for_what_is_no_upload_has_no_effect(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        request = peer.expect()
        peer.send_message(credit(request.id, 5))
        peer.send_message({"jsonrpc": "2.0", "method": "rpc.cancel", "params": {"id": request.id}})
        peer.send_message({"jsonrpc": "2.0", "method": "rpc.end", "params": {"id": request.id}})
        peer.answer(request, request.params)
        peer.await_end()

    with serving(script) as server, kind(server.address) as client:
        assert client.call(echo, A) == A


# --- uploads ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "credit"), [(0, 1), (1, 1), (50, 1), (63, 64), (64, 64), (65, 64), (1000, 7)]
)
def test_an_upload_sends_all_items_in_order(kind: type[Driver], count: int, credit: int) -> None:
    def script(peer: Peer) -> None:
        request = open_upload(peer, credit)
        assert request.meta.keys() == {"call_id"}
        received.extend(receive_items(peer, request, credit))
        peer.answer(request, {"text": str(len(received))})
        peer.echo()

    received: list[Any] = []
    with serving(script) as server, kind(server.address) as client:
        assert client.upload(load, A, range(count)) == Text(text=str(count))
        assert received == list(range(count))
        assert client.call(echo, A) == A


def test_an_upload_by_name(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        request = open_upload(peer, 2)
        peer.answer(request, receive_items(peer, request, 2))
        peer.await_end()

    values = [{"deep": [1, None]}, None, "text"]
    with serving(script) as server, kind(server.address) as client:
        assert client.upload("any.thing", None, values) == values


def test_large_items_are_written_whole(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        request = open_upload(peer, 2)
        peer.answer(request, [len(text) for text in receive_items(peer, request, 2)])
        peer.await_end()

    with serving(script) as server, kind(server.address) as client:
        sizes = [1, 1 << 20, 3 << 20, 1, 1 << 20]
        assert client.upload("any.thing", None, ["x" * size for size in sizes]) == sizes


def test_a_server_that_ends_an_upload_early_with_a_result(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        request = open_upload(peer, 2)
        assert isinstance(peer.next_event(), Item)
        peer.answer(request, {"text": "enough"})
        while isinstance(event := peer.next_event(), Item):
            pass
        assert isinstance(event, Request)
        peer.answer(event, event.params)
        peer.await_end()

    with serving(script) as server, kind(server.address) as client:
        over = threading.Event()
        assert client.upload(load, A, held(over)) == Text(text="enough")
        assert client.call(echo, A) == A
        assert server.connections == 1


def test_a_server_that_fails_an_upload_early(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        request = open_upload(peer, 2)
        assert isinstance(peer.next_event(), Item)
        peer.fail(request, -32603, "no more")
        peer.echo()

    with serving(script) as server, kind(server.address) as client:
        with pytest.raises(InternalError, match="no more"):
            client.upload(load, A, held(threading.Event()))
        assert client.call(echo, A) == A


def test_an_iterable_that_fails_cancels_the_upload(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        request = open_upload(peer, 5)
        assert peer.next_event() == Item(request.id, 1)
        peer.expect_control(Cancel(request.id))
        peer.fail(request, -32004)
        peer.echo()

    def failing() -> Iterator[int]:
        yield 1
        message = "no more"
        raise LookupError(message)

    with serving(script) as server, kind(server.address) as client:
        with pytest.raises(LookupError):
            client.upload(load, A, failing())
        assert client.call(echo, A) == A


@pytest.mark.parametrize("bad", ["text", 1.5, None])
def test_what_is_no_item_is_not_sent(kind: type[Driver], bad: Any) -> None:
    def script(peer: Peer) -> None:
        request = open_upload(peer, 5)
        peer.expect_control(Cancel(request.id))
        peer.echo()

    with serving(script) as server, kind(server.address) as client:
        with pytest.raises(ValueError, match="int"):
            client.upload(load, A, [bad])
        assert client.call(echo, A) == A


def test_an_item_too_large_for_a_frame(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        request = open_upload(peer, 5)
        peer.expect_control(Cancel(request.id))
        peer.echo()

    with serving(script) as server, kind(server.address, frame_limit=1024) as client:
        with pytest.raises(MessageTooLarge):
            client.upload("any.thing", None, ["x" * 1024])
        assert client.call(echo, A) == A


@pytest.mark.parametrize("first_credit", [0, 2])
def test_a_server_that_takes_no_more_items(kind: type[Driver], first_credit: int) -> None:
    def script(peer: Peer) -> None:
        request = open_upload(peer, first_credit) if first_credit else peer.expect()
        for number in range(first_credit):
            assert peer.next_event() == Item(request.id, number)
        peer.expect_control(Cancel(request.id))
        peer.fail(request, -32004)
        peer.echo()

    with serving(script) as server, kind(server.address) as client:
        with pytest.raises(CallTimeout, match=r"no progress within 0.1 s") as caught:
            client.upload(load, A, range(first_credit + 1), timeout=0.1)
        assert caught.value.outcome is Outcome.UNKNOWN
        assert client.call(echo, A) == A


def test_the_whole_upload_is_bounded_where_that_was_chosen(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        request = open_upload(peer, 1)
        assert request.meta["deadline_usec"] <= now_usec() + 200_000
        with contextlib.suppress(BrokenPipeError):  # the client has gone
            while isinstance(peer.next_event(), Item):
                peer.give_credit(request, 1)

    with (
        serving(script) as server,
        kind(server.address) as client,
        pytest.raises(CallTimeout, match=r"no reply within 0.2 s"),
    ):
        client.upload(load, A, held(threading.Event()), timeout=0.2, bound="whole")


def test_no_result_after_the_last_item(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        request = open_upload(peer, 1)
        assert receive_items(peer, request, 1) == []
        peer.expect_control(Cancel(request.id))
        peer.await_end()

    with (
        serving(script) as server,
        kind(server.address) as client,
        pytest.raises(CallTimeout, match=r"no progress within 0.1 s"),
    ):
        client.upload(load, A, [], timeout=0.1)


def test_a_result_that_this_side_refuses(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        request = open_upload(peer, 1)
        receive_items(peer, request, 1)
        peer.answer(request, 5)
        peer.await_end()

    with serving(script) as server, kind(server.address) as client, pytest.raises(InvalidResult):
        client.upload(load, A, [])


def test_an_upload_whose_connection_is_lost(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        open_upload(peer, 1)
        peer.next_event()

    with serving(script, Peer.echo) as server, kind(server.address) as client:
        with pytest.raises(ConnectionLost):
            client.upload(load, A, held(threading.Event()))
        assert client.call(echo, A) == A


# --- servers that stop ------------------------------------------------------------------------------------------


def test_goaway_sends_new_calls_elsewhere(kind: type[Driver]) -> None:
    def first(peer: Peer) -> None:
        peer.go_away()
        peer.answer(request := peer.expect(), request.params)
        assert peer.next_request() is None

    with serving(first, Peer.echo) as server, kind(server.address) as client:
        for text in ("a", "b", "c"):
            assert client.call(echo, Text(text=text)) == Text(text=text)
        assert server.connections == 2


def test_a_stream_goes_on_after_goaway(kind: type[Driver]) -> None:
    def first(peer: Peer) -> None:
        request = open_stream(peer)
        peer.send_item(request, 0)
        peer.go_away()
        for number in range(1, 200):
            peer.send_item(request, number)
        peer.answer(request, None)
        assert peer.next_request() is None

    with serving(first, Peer.echo) as server, kind(server.address) as client:
        items: list[int] = []
        client.collect(items, watch, A, credit=4)
        assert items == list(range(200))
        assert client.call(echo, A) == A
        assert server.connections == 2


def test_what_a_stopping_server_refuses_goes_to_the_next(kind: type[Driver]) -> None:
    def first(peer: Peer) -> None:
        peer.fail(peer.expect(), -32005, "stopping")
        assert peer.next_request() is None

    def upload(peer: Peer) -> None:
        request = open_upload(peer, 1)
        peer.answer(request, {"text": str(receive_items(peer, request, 1))})
        peer.await_end()

    with serving(first, Peer.echo) as server, kind(server.address) as client:
        assert client.call(echo, A) == A
        assert server.connections == 2
    with serving(first, serve_numbers(3)) as server, kind(server.address) as client:
        items: list[int] = []
        client.collect(items, watch, A)
        assert items == [0, 1, 2]
        assert server.connections == 2
    for given in ([1, 2], []):
        with serving(first, upload) as server, kind(server.address) as client:
            assert client.upload(load, A, given) == Text(text=str(given))
            assert server.connections == 2


def refuse_all(peer: Peer) -> None:
    while (request := peer.next_request()) is not None:
        peer.fail(request, -32005, "stopping")


def test_a_server_that_always_stops(kind: type[Driver]) -> None:
    with serving(refuse_all) as server, kind(server.address) as client:
        makes: list[Callable[[], Any]] = [
            lambda: client.call(echo, A),
            lambda: client.collect([], watch, A),
            lambda: client.upload(load, A, [1]),
        ]
        for number, make in enumerate(makes, start=1):
            with pytest.raises(Unavailable, match="stopping") as caught:
                make()
            assert caught.value.outcome is Outcome.REFUSED
            assert server.connections == number * (1 + UNAVAILABLE_RETRIES)


def test_an_upload_that_has_sent_items_does_not_begin_again(kind: type[Driver]) -> None:
    def first(peer: Peer) -> None:
        request = open_upload(peer, 1)
        peer.next_event()
        peer.fail(request, -32005, "stopping")
        peer.await_end()

    with serving(first, Peer.echo) as server, kind(server.address) as client:
        with pytest.raises(Unavailable):
            client.upload(load, A, held(threading.Event()))
        assert server.connections == 1


def test_a_stream_that_a_restart_ended_is_not_begun_again(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        request = peer.expect()
        data = {"begun": True, "call_id": "c-1"}
        peer.send_message(
            {
                "jsonrpc": "2.0",
                "id": request.id,
                "error": {"code": -32005, "message": "restarted", "data": data},
            }
        )
        peer.echo()

    with serving(script) as server, kind(server.address) as client:
        with pytest.raises(Interrupted, match="restarted") as caught:
            client.collect([], watch, A)
        assert caught.value.outcome is Outcome.FAILED
        assert client.call(echo, A) == A
        assert server.connections == 1


# --- hello, and what is left ------------------------------------------------------------------------------------

HELLO = {
    "protocol": {"min": 1, "max": 1},
    "features": ["streams"],
    "limits": {"frame_size": 16777216},
    "version": "9",
    "unit": None,
    "invocation_id": None,
    "news": {"of": ["later"]},
}


def test_hello_ignores_what_it_does_not_know(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        request = peer.expect()
        assert (request.method, request.params) == ("rpc.hello", {})
        peer.answer(request, HELLO)
        peer.await_end()

    with serving(script) as server, kind(server.address) as client:
        hello = client.hello()
        assert (hello.protocol.min, hello.protocol.max) == (1, 1)
        assert list(hello.features) == ["streams"]
        assert (hello.version, hello.unit) == ("9", None)


def test_a_thousand_streams_one_after_the_other_leave_nothing(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        while (request := peer.next_request()) is not None:
            peer.open_stream(request)
            peer.send_item(request, 1)
            peer.answer(request, None)

    with serving(script) as server, kind(server.address) as client:
        for _ in range(300):
            items: list[int] = []
            client.collect(items, watch, A, most=1)
            assert items == [1]
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        client.collect([], watch, A)
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
        assert server.connections == 1
