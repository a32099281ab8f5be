"""Dialogues about streams, uploads and their credit."""

import time
from typing import Final

from tests.conformance.checks_calls import LONG, echo
from tests.conformance.judging import (
    DATAGRAM,
    NotApplicable,
    Server,
    check,
    has_faults,
    holds,
    is_failure,
    is_result,
    same,
)
from tests.conformance.peer import Peer

CREDIT_MAX: Final = 2**31 - 1
CREDIT_DEFAULT: Final = 64
STREAMS_DEFAULT: Final = 1024


def take(peer: Peer, request_id: int, first: int, count: int) -> None:
    """So many items, numbered on from `first`, whose values are their numbers."""
    for number, params in enumerate(peer.items(request_id, count), start=first):
        same(params, {"id": request_id, "seq": number, "item": number})


def credit_of(peer: Peer, request_id: int, at_least: int = 1) -> int:
    """What the server gives to an upload, until it is enough."""
    credit = 0
    while credit < at_least:
        message = peer.receive()
        same((message.get("method"), message.get("params", {}).get("id")), ("rpc.credit", request_id))
        holds(1 <= message["params"].get("n", 0) <= CREDIT_MAX, "a credit of 1 or more", message)
        credit += message["params"]["n"]
    return credit


@check("14.1", "14.7")
def the_items_of_a_stream_come_in_order_then_its_result_which_is_null(server: Server) -> None:
    """the items of a stream come in order, then its result, which is null"""
    with Peer(server.address, server.patience) as peer:
        for count in (0, 1, 10):
            stream = peer.request("conformance.count", {"n": count})
            take(peer, stream, 0, count)
            is_result(peer.receive(), stream, None)


@check("14.7")
def a_stream_that_fails_after_its_items(server: Server) -> None:
    """a stream that fails, after its items"""
    with Peer(server.address, server.patience) as peer:
        stream = peer.request("conformance.count", {"n": 3, "fails": True})
        take(peer, stream, 0, 3)
        is_failure(peer.receive(), stream, -32603)


@check("14.2", "14.4")
def no_item_comes_without_credit(server: Server) -> None:
    """no item comes without credit"""
    with Peer(server.address, server.patience) as peer:
        stream = peer.request("conformance.count", {"n": 6}, credit=1)
        take(peer, stream, 0, 1)
        same(peer.before_fence(), [])
        peer.credit(stream, 2)
        take(peer, stream, 1, 2)
        same(peer.before_fence(), [])
        peer.credit(stream, 1)
        peer.credit(stream, 100)
        take(peer, stream, 3, 3)
        is_result(peer.receive(), stream, None)


@check("14.3")
def a_request_that_says_nothing_gives_a_credit_of_64(server: Server) -> None:
    """a request that says nothing gives a credit of 64"""
    with Peer(server.address, server.patience) as peer:
        stream = peer.request("conformance.count", {"n": 100})
        take(peer, stream, 0, CREDIT_DEFAULT)
        same(peer.before_fence(), [])
        peer.credit(stream, CREDIT_MAX)
        take(peer, stream, CREDIT_DEFAULT, 100 - CREDIT_DEFAULT)
        is_result(peer.receive(), stream, None)


@check("14.2")
def streams_beside_each_other_have_a_credit_and_an_order_of_their_own(server: Server) -> None:
    """streams beside each other have a credit and an order of their own"""
    with Peer(server.address, server.patience) as peer:
        streams = {peer.request("conformance.count", {"n": 5}, credit=credit): credit for credit in (1, 2, 5)}
        seen: dict[int, list[int]] = {stream: [] for stream in streams}
        for _ in range(sum(streams.values())):
            message = peer.receive()
            if message.get("method") == "rpc.item":
                seen[message["params"]["id"]].append(message["params"]["seq"])
        for stream, credit in streams.items():
            same(seen[stream], list(range(credit)))


@check("14.5")
def credit_up_to_2_31_1_is_legal_and_one_more_ends_the_call(server: Server) -> None:
    """credit up to 2^31 - 1 is legal, and one more ends the call"""
    with Peer(server.address, server.patience) as peer:
        stream = peer.request("conformance.count", {"n": 3, "pause_usec": LONG}, credit=1)
        take(peer, stream, 0, 1)
        peer.credit(stream, CREDIT_MAX)
        same(peer.before_fence(), [])
        peer.credit(stream, 1)
        is_failure(peer.reply(stream), stream, -32602)
        same(peer.before_fence(), [])


@check("14.6")
def credit_for_what_is_no_stream_has_no_effect(server: Server) -> None:
    """credit for what is no stream has no effect"""
    with Peer(server.address, server.patience) as peer:
        slow = peer.request("conformance.sleep", {"usec": 150_000})
        for request_id in (slow, 10**6, "unheard of"):
            peer.credit(request_id, 1)
        same(peer.before_fence(), [])
        is_result(peer.reply(slow), slow, None)
        peer.credit(slow, 1)
        same(peer.before_fence(), [])


@check("13.5", "8.11")
def a_stream_that_is_cancelled_ends_and_no_item_comes_behind_its_reply(server: Server) -> None:
    """a stream that is cancelled ends, and no item comes behind its reply"""
    with Peer(server.address, server.patience) as peer:
        stream = peer.request("conformance.count", {"n": 10**6}, credit=10)
        take(peer, stream, 0, 1)
        peer.cancel(stream)
        items = 1
        while "method" in (message := peer.receive()):
            same(message["params"]["seq"], items)
            items += 1
        is_failure(message, stream, -32004)
        peer.credit(stream, 5)
        same(peer.before_fence(), [])


@check("14.8")
def an_upload_to_its_end(server: Server) -> None:
    """an upload, to its end"""
    with Peer(server.address, server.patience) as peer:
        upload = peer.request("conformance.sum")
        credit, total = 0, 200
        for seq in range(total):
            credit += credit_of(peer, upload) if not credit else 0
            peer.item(upload, seq, seq)
            credit -= 1
        peer.end(upload)
        is_result(peer.reply(upload), upload, {"count": total, "sum": sum(range(total))})


@check("14.8")
def an_upload_of_nothing(server: Server) -> None:
    """an upload of nothing"""
    with Peer(server.address, server.patience) as peer:
        upload = peer.request("conformance.sum")
        peer.end(upload)
        is_result(peer.reply(upload), upload, {"count": 0, "sum": 0})


@check("14.8", "14.10")
def an_upload_that_is_answered_before_its_end_what_still_comes_has_no_effect(server: Server) -> None:
    """an upload that is answered before its end: what still comes has no effect"""
    with Peer(server.address, server.patience) as peer:
        upload = peer.request("conformance.sum", {"until": 1})
        credit = credit_of(peer, upload)
        for seq in range(credit):
            peer.item(upload, seq, 5)
        is_result(peer.reply(upload), upload, {"count": 1, "sum": 5})
        peer.item(upload, credit, 5)
        peer.end(upload)
        peer.end(upload)
        holds(
            all(message.get("method") == "rpc.credit" for message in peer.before_fence()), "no failure", "one"
        )


@check("14.10")
def items_and_ends_of_what_is_no_upload_have_no_effect(server: Server) -> None:
    """items and ends of what is no upload have no effect"""
    with Peer(server.address, server.patience) as peer:
        slow = peer.request("conformance.sleep", {"usec": 150_000})
        stream = peer.request("conformance.count", {"n": 1, "pause_usec": LONG}, credit=1)
        for request_id in (slow, stream, 10**6, "unheard of"):
            peer.item(request_id, 0, 1)
            peer.end(request_id)
        take(peer, stream, 0, 1)
        same(peer.before_fence(), [])
        is_result(peer.reply(slow), slow, None)


@check("14.9")
def an_upload_that_breaks_a_rule_gets_32600_and_the_others_go_on(server: Server) -> None:
    """an upload that breaks a rule gets -32600, and the others go on"""
    with Peer(server.address, server.patience) as peer:
        other = peer.request("conformance.sum")
        credit_of(peer, other)
        for breaks in (_skip, _repeat, _after_end, _end_twice, _over_credit):
            upload = peer.request("conformance.sum", {"pause_usec": LONG})
            breaks(peer, upload, credit_of(peer, upload))
            is_failure(peer.reply(upload), upload, -32600)
            same(peer.before_fence(), [])
        peer.item(other, 0, 4)
        peer.end(other)
        is_result(peer.reply(other), other, {"count": 1, "sum": 4})


def _skip(peer: Peer, upload: int, credit: int) -> None:
    peer.item(upload, 1, 1)


def _repeat(peer: Peer, upload: int, credit: int) -> None:
    if credit < 2:
        raise NotApplicable("this server gives a credit of 1 alone")
    peer.item(upload, 0, 1)
    peer.item(upload, 0, 1)


def _after_end(peer: Peer, upload: int, credit: int) -> None:
    peer.item(upload, 0, 1)
    peer.end(upload)
    peer.item(upload, 1, 1)


def _end_twice(peer: Peer, upload: int, credit: int) -> None:
    peer.item(upload, 0, 1)
    peer.end(upload)
    peer.end(upload)


def _over_credit(peer: Peer, upload: int, credit: int) -> None:
    if credit > 10_000:
        raise NotApplicable(f"this server gives a credit of {credit:,}")
    for seq in range(credit + 1):
        peer.item(upload, seq, 1)


@check("14.9")
def an_item_that_does_not_fit_gets_32602_with_the_faults(server: Server) -> None:
    """an item that does not fit gets -32602, with the faults"""
    with Peer(server.address, server.patience) as peer:
        upload = peer.request("conformance.sum")
        credit_of(peer, upload)
        peer.item(upload, 0, "the-secret-value")
        message = peer.reply(upload)
        has_faults(is_failure(message, upload, -32602))
        holds("the-secret-value" not in str(message), "a failure without the value that was sent", message)


@check("14.12")
def the_gap_of_a_stream_begins_anew_with_each_item_and_its_deadline_bounds_the_whole(server: Server) -> None:
    """the gap of a stream begins anew with each item, and its deadline bounds the whole"""
    with Peer(server.address, server.patience) as peer:
        stream = peer.request("conformance.count", {"n": 4, "pause_usec": 50_000}, gap_usec=2_000_000)
        take(peer, stream, 0, 4)
        is_result(peer.receive(), stream, None)
        stream = peer.request("conformance.count", {"n": 2, "pause_usec": LONG}, gap_usec=100_000)
        take(peer, stream, 0, 1)
        is_failure(peer.receive(), stream, -32003)
        due = time.monotonic_ns() // 1000 + 200_000
        stream = peer.request("conformance.count", {"n": 10**6, "pause_usec": 30_000}, deadline_usec=due)
        while "method" in (message := peer.receive()):
            pass
        is_failure(message, stream, -32003)


@check("14.12")
def while_a_stream_has_no_credit_its_gap_does_not_run(server: Server) -> None:
    """while a stream has no credit its gap does not run"""
    with Peer(server.address, server.patience) as peer:
        stream = peer.request("conformance.count", {"n": 2}, gap_usec=100_000, credit=1)
        take(peer, stream, 0, 1)
        pause = peer.request("conformance.sleep", {"usec": 250_000})
        is_result(peer.reply(pause), pause, None)
        peer.credit(stream, 2)
        take(peer, stream, 1, 1)
        is_result(peer.reply(stream), stream, None)


@check("14.13", "8.9")
def open_streams_are_bounded_and_do_not_count_as_calls_in_flight(server: Server) -> None:
    """open streams are bounded, and do not count as calls in flight"""
    limit = server.limit("streams_default", STREAMS_DEFAULT)
    with Peer(server.address, max(server.patience, 20)) as peer:
        streams = [peer.request("conformance.count", {"n": 2}, credit=1) for _ in range(limit)]
        for _ in streams:
            same(peer.receive().get("method"), "rpc.item")
        refused = peer.request("conformance.count", {"n": 2}, credit=1)
        data = is_failure(peer.receive(), refused, -32002)
        same((data.get("resource"), data.get("used"), data.get("limit")), ("streams", limit, limit))
        echo(peer)
        peer.cancel(streams[0])
        is_failure(peer.reply(streams[0]), streams[0], -32004)
        stream = peer.request("conformance.count", {"n": 1}, credit=2)
        take(peer, stream, 0, 1)
        is_result(peer.reply(stream), stream, None)


@check("14.14")
def a_stream_whose_client_does_not_read_waits_and_hurts_nobody_else(server: Server) -> None:
    """a stream whose client does not read waits, and hurts nobody else"""
    with Peer(server.address, server.patience) as peer, Peer(server.address, server.patience) as other:
        stream = peer.request("conformance.count", {"n": 300_000}, credit=CREDIT_MAX)
        for _ in range(20):
            echo(other)
        take(peer, stream, 0, 1000)


@check("14.1", "18.4", sockets=(DATAGRAM,))
def there_are_no_streams_of_datagrams(server: Server) -> None:
    """there are no streams of datagrams"""
    with Peer(server.address, server.patience) as peer:
        for method in ("conformance.count", "conformance.sum"):
            message = peer.call(method, {"n": 1} if method.endswith("count") else {})
            is_failure(message, message.get("id"), -32600)
        peer.credit(1, 1)
        peer.item(1, 0, 1)
        peer.end(1)
        same(peer.before_fence(), [])
