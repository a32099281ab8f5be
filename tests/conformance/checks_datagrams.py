"""Dialogues about datagrams."""

import errno
import socket
import time
from typing import Final

from tests.conformance.checks_calls import LONG, echo
from tests.conformance.judging import (
    DATAGRAM,
    PACKET,
    NotApplicable,
    Server,
    check,
    holds,
    is_failure,
    is_result,
    same,
)
from tests.conformance.peer import Peer, frame, text_of

#: Datagrams that are sent before their replies are read.
WINDOW: Final = 50

CALLS_DEFAULT: Final = 1024


@check("17.5", sockets=(PACKET,))
def an_empty_packet_is_refused_and_is_not_the_end_of_the_file(server: Server) -> None:
    """an empty packet is refused, and is not the end of the file"""
    with Peer(server.address, server.patience) as peer:
        slow = peer.request("conformance.sleep", {"usec": 150_000})
        peer.send_bytes(b"")
        is_failure(peer.reply(None), None, -32700)
        is_result(peer.reply(slow), slow, None)
        echo(peer)


@check("18.2", "4.2.1", sockets=(DATAGRAM,))
def a_sender_without_an_address_gets_no_reply_and_its_call_is_carried_out(server: Server) -> None:
    """a sender without an address gets no reply, and its call is carried out"""
    text = f"nobody {time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nameless:
        message = {"jsonrpc": "2.0", "id": 1, "method": "conformance.note", "params": {"text": text}}
        nameless.sendto(frame(text_of(message)), server.address.path)
    with Peer(server.address, server.patience) as peer:
        end = time.monotonic() + server.patience
        while text not in (notes := peer.call("conformance.noted").get("result", [])):
            holds(time.monotonic() < end, f"{text!r} among the notes", notes)


@check("18.1", "7.2.1", sockets=(DATAGRAM,))
def one_id_of_two_senders_is_two_ids(server: Server) -> None:
    """one id of two senders is two ids"""
    with Peer(server.address, server.patience) as one, Peer(server.address, server.patience) as other:
        for peer in (one, other):
            peer.send({"id": "same", "method": "conformance.sleep", "params": {"usec": 150_000}})
        for peer in (one, other):
            is_result(peer.receive(), "same", None)


@check("18.5", sockets=(DATAGRAM,))
def a_datagram_that_is_not_one_whole_frame(server: Server) -> None:
    """a datagram that is not one whole frame"""
    whole = frame(text_of({"jsonrpc": "2.0", "id": 1, "method": "conformance.echo", "params": {"value": 1}}))
    with Peer(server.address, server.patience) as peer:
        for data in (
            b"",
            b"\0",
            bytes(4),
            whole[:4],
            whole[:-1],
            whole + b"\0",
            whole + whole[: len(whole) // 2],
        ):
            peer.send_bytes(data)
            is_failure(peer.receive(), None, -32700)
        echo(peer)


@check("18.6", sockets=(DATAGRAM,))
def nothing_is_lost_in_silence_a_sender_that_finds_no_room_is_told_and_all_that_was_taken_is_answered(
    server: Server,
) -> None:
    """nothing is lost in silence: a sender that finds no room is told, and all that was taken is answered"""
    with Peer(server.address, max(server.patience, 20)) as peer:
        seen, sent = [], 2000
        for number in range(sent):
            message = {"id": number, "method": "conformance.echo", "params": {"value": number}}
            peer.send(message)  # waits where the receiver is full
            if number % WINDOW == WINDOW - 1:
                seen += [peer.receive()["id"] for _ in range(WINDOW)]
        same(sorted(seen), list(range(sent)))


@check("18.9", sockets=(DATAGRAM,))
def a_reply_is_never_answered(server: Server) -> None:
    """a reply is never answered"""
    with Peer(server.address, server.patience) as peer:
        peer.send({"id": 1, "result": 1})
        peer.send({"id": None, "error": {"code": -32700, "message": "m"}})
        same(peer.before_fence(), [])


@check("18.11", "8.9", sockets=(DATAGRAM,))
def the_calls_in_flight_of_one_user_are_bounded(server: Server) -> None:
    """the calls in flight of one user are bounded"""
    limit = server.limit("calls_in_flight_default", CALLS_DEFAULT)
    with Peer(server.address, server.patience) as peer:
        slow = [peer.request("conformance.sleep", {"usec": LONG}) for _ in range(limit)]
        over = peer.request("conformance.sleep", {"usec": LONG})
        data = is_failure(peer.receive(), over, -32002)
        same((data.get("resource"), data.get("limit")), ("calls", limit))
        for request_id in slow:
            peer.cancel(request_id)
            is_failure(peer.receive(), request_id, -32004)
        echo(peer)


@check("18.8", "18.12", sockets=(DATAGRAM,), stops=True)
def superd_stop_ends_a_server_in_order(server: Server) -> None:
    """superd.stop ends a server, which answers what had been sent before"""
    if server.pid is None:
        raise NotApplicable("the server is stopped only if --pid names it")
    with Peer(server.address, server.patience) as peer:
        slow = peer.request("conformance.sleep", {"usec": 300_000})
        echo(peer)
        peer.notify("superd.stop", {})
        is_result(peer.receive(), slow, None)
        end = time.monotonic() + server.patience
        while peer.socket.connect_ex(server.address.path) not in (errno.ECONNREFUSED, errno.ENOENT):
            holds(time.monotonic() < end, "a socket that is gone", "one that is there")
