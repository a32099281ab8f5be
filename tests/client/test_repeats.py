"""What the clients send a second time, and what they say where that did not help. The server is a script."""

import contextlib
from typing import Any

import pytest

from superd_client import (
    ApplicationError,
    CallTimeout,
    ClientClosed,
    Conflict,
    ConnectionLost,
    IdempotencyKey,
    InvalidRequest,
    Method,
    Outcome,
    PermissionDenied,
    Stream,
    SuperdError,
)
from superd_client.calls import LOST_RETRIES
from superd_client.keys import now_usec
from superd_client.wire.envelope import Request
from tests.client.models import Text
from tests.client.server import Peer, Script, serving
from tests.contract.drivers import DRIVERS, Driver

plain = Method("shop.look", Text, Text)
idempotent = Method("shop.find", Text, Text, idempotent=True)
keyed = Method("shop.take", Text, Text, keyed=True)
watch = Stream("shop.watch", Text, int, idempotent=True)

HI = Text(text="hi")


@pytest.fixture(params=sorted(DRIVERS))
def kind(request: pytest.FixtureRequest) -> type[Driver]:
    driver: Any = DRIVERS[request.param]
    return driver  # type: ignore[no-any-return]


@pytest.fixture
def seen() -> list[Request]:
    """Every request that a script has read."""
    return []


@pytest.fixture
def lose(seen: list[Request]) -> Script:
    """Read a request, and hang up."""

    def script(peer: Peer) -> None:
        seen.append(peer.expect())

    return script


@pytest.fixture
def answer(seen: list[Request]) -> Script:
    """Answer all requests."""

    def script(peer: Peer) -> None:
        while (request := peer.next_request()) is not None:
            seen.append(request)
            peer.answer(request, request.params)

    return script


def refuse(seen: list[Request], *errors: tuple[int, dict[str, Any]]) -> Script:
    """Refuse the first requests, and answer the others."""

    def script(peer: Peer) -> None:
        for code, data in errors:
            seen.append(peer.expect())
            peer.fail(seen[-1], code, **data)
        while (request := peer.next_request()) is not None:
            seen.append(request)
            peer.answer(request, request.params)

    return script


def keys(seen: list[Request]) -> list[str | None]:
    return [request.meta.get("idempotency_key") for request in seen]


def since(seen: list[Request]) -> list[int | None]:
    return [request.meta.get("idempotency_since_usec") for request in seen]


# --- what is repeated ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("losses", [1, 2, LOST_RETRIES])
def test_an_idempotent_call(
    kind: type[Driver], lose: Script, answer: Script, seen: list[Request], losses: int
) -> None:
    with serving(*[lose] * losses, answer) as server, kind(server.address) as client:
        assert client.call(idempotent, HI) == HI
        assert keys(seen) == [None] * (losses + 1)


@pytest.mark.parametrize("method", [idempotent, keyed])
def test_it_is_given_up_in_the_end(
    kind: type[Driver], lose: Script, seen: list[Request], method: Any
) -> None:
    with serving(lose) as server, kind(server.address) as client:
        with pytest.raises(ConnectionLost) as caught:
            client.call(method, HI)
        assert caught.value.outcome is Outcome.UNKNOWN
        assert len(seen) == LOST_RETRIES + 1


def test_a_call_with_a_key_says_since_when(
    kind: type[Driver], lose: Script, answer: Script, seen: list[Request]
) -> None:
    before = now_usec()
    with serving(lose, lose, answer) as server, kind(server.address) as client:
        assert client.call(keyed, HI) == HI
        assert len(set(keys(seen))) == 1
        first, second, third = since(seen)
        assert first is None
        assert second is not None
        assert third is not None
        assert before <= second == third <= now_usec()
        assert client.call(keyed, HI) == HI
        assert keys(seen)[3] != keys(seen)[0]
        assert since(seen)[3] is None


def test_nothing_else(kind: type[Driver], lose: Script, seen: list[Request]) -> None:
    with serving(lose) as server, kind(server.address) as client:
        for method in (plain, "shop.find", "shop.take"):
            params: Any = HI if isinstance(method, Method) else {"text": "hi"}
            with pytest.raises(ConnectionLost):
                client.call(method, params)
        assert len(seen) == 3
        assert keys(seen) == [None] * 3


def test_a_call_by_name_that_has_a_key(
    kind: type[Driver], lose: Script, answer: Script, seen: list[Request]
) -> None:
    with serving(lose, answer) as server, kind(server.address) as client:
        assert client.call("shop.take", {"text": "hi"}, idempotency_key=IdempotencyKey("order-1")) == {
            "text": "hi"
        }
        assert keys(seen) == ["order-1", "order-1"]


def test_a_one_way_call_has_no_key(kind: type[Driver], seen: list[Request]) -> None:
    def script(peer: Peer) -> None:
        event = peer.next_event()
        assert not isinstance(event, Request)
        assert getattr(event, "meta", {}).get("idempotency_key") is None
        peer.await_end()

    with serving(script) as server, kind(server.address) as client:
        client.notify(keyed, HI)


def test_a_server_that_breaks_the_protocol_is_not_asked_again(
    kind: type[Driver], seen: list[Request]
) -> None:
    def script(peer: Peer) -> None:
        seen.append(peer.expect())
        peer.send_message({"jsonrpc": "2.0", "id": 99, "result": 1})
        peer.await_rest()

    with serving(script) as server, kind(server.address) as client:
        with pytest.raises(ConnectionLost, match="broke the protocol"):
            client.call(idempotent, HI)
        assert len(seen) == 1


def test_an_idempotent_stream_until_its_first_item(kind: type[Driver], seen: list[Request]) -> None:
    def lose(peer: Peer) -> None:
        seen.append(peer.expect())

    def begin(peer: Peer) -> None:
        seen.append(peer.expect())
        peer.open_stream(seen[-1])
        peer.send_item(seen[-1], 7)

    with serving(lose, begin) as server, kind(server.address) as client:
        items: list[int] = []
        with pytest.raises(ConnectionLost):
            client.collect(items, watch, HI)
        assert items == [7]
        assert len(seen) == 2


def test_a_call_that_still_runs_is_asked_for_until_it_has_ended(
    kind: type[Driver], lose: Script, seen: list[Request]
) -> None:
    running = (-32007, {"reason": "running"})
    with serving(lose, refuse(seen, *[running] * 4)) as server, kind(server.address) as client:
        assert client.call(keyed, HI) == HI
        assert len(set(keys(seen))) == 1
        assert len(seen) == 6


# --- what is said where a repeat did not help --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "data"),
    [(-32007, {"reason": "lost"}), (-32001, {}), (-32002, {"resource": "idempotency_entries"}), (-32600, {})],
)
@pytest.mark.parametrize("method", [idempotent, keyed])
def test_a_refusal_of_the_repeat_leaves_the_outcome_unknown(
    kind: type[Driver], lose: Script, seen: list[Request], code: int, data: dict[str, Any], method: Any
) -> None:
    with serving(lose, refuse(seen, (code, data))) as server, kind(server.address) as client:
        with pytest.raises(ConnectionLost, match="its repeat: no") as caught:
            client.call(method, HI)
        assert caught.value.outcome is Outcome.UNKNOWN
        assert isinstance(caught.value.__cause__, SuperdError)


def test_a_failure_of_the_repeat_is_the_answer(kind: type[Driver], lose: Script, seen: list[Request]) -> None:
    with serving(lose, refuse(seen, (-32000, {"type": "Lost"}))) as server, kind(server.address) as client:
        with pytest.raises(ApplicationError) as caught:
            client.call(keyed, HI)
        assert caught.value.outcome is Outcome.FAILED


def test_a_server_that_is_gone_leaves_the_outcome_unknown(kind: type[Driver], seen: list[Request]) -> None:
    def script(peer: Peer) -> None:
        seen.append(peer.expect())
        server._listener.shutdown(2)

    with serving(script) as server, kind(server.address) as client:
        with pytest.raises(ConnectionLost, match="its repeat: nothing listens") as caught:
            client.call(idempotent, HI)
        assert caught.value.outcome is Outcome.UNKNOWN


def test_no_time_for_a_repeat_leaves_the_outcome_unknown(kind: type[Driver], seen: list[Request]) -> None:
    def hold(peer: Peer) -> None:
        seen.append(peer.expect())
        peer.await_rest()

    with serving(lambda peer: seen.append(peer.expect()), hold) as server, kind(server.address) as client:
        with pytest.raises(CallTimeout) as caught:
            client.call(idempotent, HI, timeout=0.1)
        assert caught.value.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [("different", Outcome.REFUSED), ("lost", Outcome.UNKNOWN), ("new", Outcome.UNKNOWN)],
)
def test_a_conflict_of_a_first_call(
    kind: type[Driver], seen: list[Request], reason: str, outcome: Outcome
) -> None:
    script = refuse(seen, (-32007, {"reason": reason}))
    with serving(script) as server, kind(server.address) as client:
        with pytest.raises(Conflict) as caught:
            client.call(keyed, HI)
        assert (caught.value.reason, caught.value.outcome, len(seen)) == (reason, outcome, 1)


def test_a_conflict_at_the_end_of_the_time(kind: type[Driver]) -> None:
    def script(peer: Peer) -> None:
        with contextlib.suppress(BrokenPipeError):  # it gives up while it is being answered
            while (request := peer.next_request()) is not None:
                peer.fail(request, -32007, reason="running")

    with serving(script) as server, kind(server.address) as client:
        with pytest.raises((Conflict, CallTimeout)) as caught:
            client.call(keyed, HI, timeout=0.05)
        assert caught.value.outcome is Outcome.UNKNOWN


def test_a_server_that_knows_no_keys_refuses_them(kind: type[Driver], seen: list[Request]) -> None:
    fault = {"loc": ["meta", "idempotency_key"], "type": "extra_forbidden", "msg": "no"}
    script = refuse(seen, (-32600, {"errors": [fault]}))
    with serving(script) as server, kind(server.address) as client:
        with pytest.raises(InvalidRequest) as caught:
            client.call(keyed, HI)
        assert (caught.value.outcome, len(seen)) == (Outcome.REFUSED, 1)


def test_a_client_that_is_closed_repeats_nothing(seen: list[Request]) -> None:
    for kind in DRIVERS.values():
        _close_while_it_waits(kind, seen)


def _close_while_it_waits(kind: Any, seen: list[Request]) -> None:
    def script(peer: Peer) -> None:
        seen.append(peer.expect())
        if hasattr(client, "_runner"):
            client._runner.get_loop().call_soon_threadsafe(client._client._exchange.close)
        else:
            client._client.close()
        peer.await_rest()

    with serving(script) as server, kind(server.address) as client:
        with pytest.raises(ConnectionLost) as caught:
            client.call(keyed, HI)
        assert not isinstance(caught.value, ClientClosed)
        assert server.connections == 1


# --- the keys of callers -----------------------------------------------------------------------------------------------------


@pytest.fixture
def key() -> IdempotencyKey:
    return IdempotencyKey("order-1")


def test_a_repeat_by_the_caller_says_since_when(
    kind: type[Driver], answer: Script, seen: list[Request], key: IdempotencyKey
) -> None:
    with serving(answer) as server, kind(server.address) as client:
        before = now_usec()
        client.call(keyed, HI, idempotency_key=key)
        client.call(plain, HI, idempotency_key=key)
        first, second = since(seen)
        assert keys(seen) == ["order-1", "order-1"]
        assert first is None
        assert second is not None
        assert second <= before


@pytest.mark.parametrize(
    ("error", "again_is_first"), [((-32001, {}), True), ((-32603, {}), False), ((-32003, {}), False)]
)
def test_a_refused_call_is_no_use_of_its_key(
    kind: type[Driver],
    seen: list[Request],
    key: IdempotencyKey,
    error: tuple[int, dict[str, Any]],
    again_is_first: bool,
) -> None:
    with serving(refuse(seen, error)) as server, kind(server.address) as client:
        with pytest.raises(SuperdError) as caught:
            client.call(keyed, HI, idempotency_key=key)
        assert isinstance(caught.value, PermissionDenied) == again_is_first
        client.call(keyed, HI, idempotency_key=key)
        assert (since(seen)[1] is None) == again_is_first


def test_two_calls_at_once_with_one_key() -> None:
    key = IdempotencyKey()
    assert key.begin_use() is None
    since_usec = key.begin_use()
    assert since_usec is not None
    key.take_back()
    assert key.begin_use() == since_usec
    for _ in range(2):
        key.take_back()
    assert key.begin_use() is None


def test_a_stored_key() -> None:
    key = IdempotencyKey("order-1")
    loaded = IdempotencyKey.load(key.dump())
    assert loaded.text == "order-1"
    assert loaded.begin_use() == int(key.dump().split("/")[1])
    assert repr(loaded) == "<IdempotencyKey order-1>"
    # Of another boot: no server can have known it since then.
    assert IdempotencyKey.load(f"{'0' * 32}/5/order-1").begin_use() == 0


@pytest.mark.parametrize("stored", ["", "order-1", "x/5/order-1", f"{'0' * 32}/-5/a", f"{'0' * 32}/5/"])
def test_what_is_no_stored_key(stored: str) -> None:
    with pytest.raises(ValueError, match="not what"):
        IdempotencyKey.load(stored)


@pytest.mark.parametrize(
    ("text", "legal"),
    [("", False), ("k", True), ("k" * 63, True), ("k" * 64, True), ("k" * 65, False), ("a b", False)],
)
def test_the_text_of_a_key(text: str, legal: bool) -> None:
    if legal:
        assert IdempotencyKey(text).text == text
    else:
        with pytest.raises(ValueError, match="not an idempotency key"):
            IdempotencyKey(text)


def test_keys_that_nobody_chose_differ() -> None:
    assert len({IdempotencyKey().text for _ in range(100)}) == 100


def test_params_that_do_not_fit_are_no_use_of_a_key(kind: type[Driver], key: IdempotencyKey) -> None:
    wrong: Any = IdempotencyKey
    with kind("unix:/nowhere") as client, pytest.raises(TypeError):
        client.call(keyed, wrong, idempotency_key=key)
    assert key.begin_use() is None
