"""Dialogues about idempotency keys (§20). The notes that the server keeps tell how often a call was carried out."""

import secrets
import time
from typing import Any, Final

from tests.conformance.judging import (
    ALL,
    CONNECTED,
    Failed,
    Server,
    check,
    has_faults,
    holds,
    is_failure,
    is_result,
    same,
)
from tests.conformance.peer import Peer

#: Microseconds of a call that gives a repeat time to come before its end, and of one that would outlast any patience.
SHORT: Final = 300_000
LONG: Final = 60_000_000


def now_usec() -> int:
    return time.monotonic_ns() // 1000


def fresh() -> str:
    return secrets.token_hex(16)


def ask(peer: Peer, method: str, params: dict[str, Any], key: str, **meta: Any) -> tuple[Any, dict[str, Any]]:
    """Ask with a key; the id and the reply."""
    request_id = peer.request(method, params, idempotency_key=key, **meta)
    return request_id, peer.reply(request_id)


def noted(peer: Peer, text: str) -> int:
    """How often a text was noted."""
    request_id = peer.request("conformance.noted", {})
    texts: list[str] = peer.reply(request_id)["result"]
    return texts.count(text)


def conflict(message: dict[str, Any], request_id: object) -> str:
    data = is_failure(message, request_id, -32007)
    reason = data.get("reason")
    holds(isinstance(reason, str), "a reason", data)
    return str(reason)


@check("20.1", "20.3", "20.5", "5.6", sockets=ALL)
def a_repeat_gets_the_first_answer_and_is_not_carried_out(server: Server) -> None:
    """a repeat gets the first answer, on whichever connection, and is not carried out"""
    key = fresh()
    for _ in range(2):
        with Peer(server.address, server.patience) as peer:
            for _ in range(2):
                request_id, reply = ask(peer, "conformance.note", {"text": key}, key)
                is_result(reply, request_id, None)
            same(noted(peer, key), 1)
    with Peer(server.address, server.patience) as peer:
        request_id, reply = ask(peer, "conformance.note", {"text": key}, fresh())
        is_result(reply, request_id, None)
        same(noted(peer, key), 2)


@check("20.3", "20.5", sockets=ALL)
def a_repeat_gets_the_first_failure(server: Server) -> None:
    """a repeat gets the first failure, under its own call id"""
    with Peer(server.address, server.patience) as peer:
        for method, params, code in (
            ("conformance.fail", {"number": 7}, -32000),
            ("conformance.crash", {}, -32603),
        ):
            key = fresh()
            for call_id in ("first", "second"):
                request_id, reply = ask(peer, method, params, key, call_id=call_id)
                same(is_failure(reply, request_id, code)["call_id"], call_id)


@check("20.3", sockets=ALL)
def what_was_not_begun_uses_no_key_up(server: Server) -> None:
    """what was refused, or too late to begin, uses no key up"""
    key = fresh()
    with Peer(server.address, server.patience) as peer:
        request_id, reply = ask(peer, "conformance.note", {"text": 7}, key)
        has_faults(is_failure(reply, request_id, -32602))
        request_id, reply = ask(peer, "conformance.note", {"text": key}, key, deadline_usec=1)
        is_failure(reply, request_id, -32003)
        request_id, reply = ask(peer, "conformance.note", {"text": key}, key)
        is_result(reply, request_id, None)
        same(noted(peer, key), 1)


@check("20.4", "8.14", sockets=ALL)
def a_key_of_another_call(server: Server) -> None:
    """a key with other params, or another method"""
    key = fresh()
    with Peer(server.address, server.patience) as peer:
        request_id, reply = ask(peer, "conformance.note", {"text": key}, key)
        is_result(reply, request_id, None)
        for method, params in (
            ("conformance.note", {"text": "other"}),
            ("conformance.echo", {"value": key}),
        ):
            request_id, reply = ask(peer, method, params, key)
            same(conflict(reply, request_id), "different")
        same(noted(peer, key), 1)


@check("20.6", sockets=ALL)
def a_repeat_of_what_still_runs(server: Server) -> None:
    """a repeat of what still runs"""
    key = fresh()
    with Peer(server.address, server.patience) as peer:
        first = peer.request("conformance.sleep", {"usec": SHORT}, idempotency_key=key)
        again, reply = ask(peer, "conformance.sleep", {"usec": SHORT}, key)
        same(conflict(reply, again), "running")
        is_result(peer.reply(first), first, None)
        again, reply = ask(peer, "conformance.sleep", {"usec": SHORT}, key)
        is_result(reply, again, None)


@check("20.8", sockets=CONNECTED)
def a_client_that_went_away_comes_back_for_its_answer(server: Server) -> None:
    """a client that went away comes back for its answer"""
    key = fresh()
    with Peer(server.address, server.patience) as peer:
        peer.request("conformance.sleep", {"usec": SHORT}, idempotency_key=key)
        is_result(*_echo(peer))
    with Peer(server.address, server.patience) as peer:
        end = time.monotonic() + server.patience
        while time.monotonic() < end:
            request_id, reply = ask(peer, "conformance.sleep", {"usec": SHORT}, key)
            if "result" in reply:
                is_result(reply, request_id, None)
                return
            same(conflict(reply, request_id), "running")
        raise Failed("the answer of the first call", "none in time")


@check("20.8", sockets=CONNECTED)
def what_was_cancelled_is_not_begun_again(server: Server) -> None:
    """what was cancelled while it ran is not begun again"""
    key = fresh()
    with Peer(server.address, server.patience) as peer:
        first = peer.request("conformance.sleep", {"usec": LONG}, idempotency_key=key)
        # An echo may overtake it (7.1.2); while another sleeps, it is begun.
        other = peer.request("conformance.sleep", {"usec": 1_000})
        is_result(peer.reply(other), other, None)
        peer.cancel(first)
        is_failure(peer.reply(first), first, -32004)
        request_id, reply = ask(peer, "conformance.sleep", {"usec": LONG}, key)
        is_failure(reply, request_id, -32004, -32007)


@check("20.9", "5.7", sockets=ALL)
def a_repeat_of_what_is_not_remembered(server: Server) -> None:
    """a repeat of what is not remembered runs only if it cannot have run"""
    text = fresh()
    with Peer(server.address, server.patience) as peer:
        for since in (0, 1, now_usec() + LONG, 2**63 - 1):
            request_id, reply = ask(
                peer, "conformance.note", {"text": text}, fresh(), idempotency_since_usec=since
            )
            same(conflict(reply, request_id), "lost")
        same(noted(peer, text), 0)
        request_id, reply = ask(
            peer, "conformance.note", {"text": text}, fresh(), idempotency_since_usec=now_usec()
        )
        is_result(reply, request_id, None)
        same(noted(peer, text), 1)


@check("20.11", sockets=ALL)
def what_cannot_be_told_again_takes_no_key(server: Server) -> None:
    """what cannot be told again takes no key"""
    with Peer(server.address, server.patience) as peer:
        for method, params in (
            ("conformance.count", {"n": 1}),
            ("conformance.sum", {}),
            ("conformance.blob", {"blob": {"inline": ""}}),
        ):
            request_id, reply = ask(peer, method, params, fresh())
            is_failure(reply, request_id, -32600)


@check("20.13", sockets=ALL)
def hello_says_that_keys_are_known(server: Server) -> None:
    """hello says that keys are known"""
    with Peer(server.address, server.patience) as peer:
        request_id = peer.request("rpc.hello", {})
        features = peer.reply(request_id)["result"]["features"]
        holds("idempotency_keys" in features, "idempotency_keys", features)


def _echo(peer: Peer) -> tuple[dict[str, Any], int, str]:
    request_id = peer.request("conformance.echo", {"value": "fence"})
    return peer.reply(request_id), request_id, "fence"
