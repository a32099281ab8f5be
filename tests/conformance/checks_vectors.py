"""The golden vectors, said to a server over its socket. The method a.b is one that it does not know."""

import contextlib
import errno
import itertools
import os
import socket
from collections.abc import Callable
from typing import Any, Final

from tests.conformance.judging import (
    ALL,
    CHECKS,
    DATAGRAM,
    PACKET,
    STREAM,
    Check,
    Failed,
    NotApplicable,
    Server,
    has_faults,
    holds,
    is_failure,
    same,
)
from tests.conformance.peer import Closed, Peer
from tests.wire.golden import Vector, load

#: The default of §2, where the server does not say another limit.
FRAME_SIZE_DEFAULT: Final = 16 * 1024 * 1024

#: Vectors of replies that are sent to the server.
REPLIES: Final = ("a result sent to the server", "a failure sent to the server")

Judge = Callable[[Server, Vector], None]


def register(file: str, sockets: tuple[str, ...], judge: Judge) -> None:
    for vector in load(file):
        name = f"{file}: {vector.name}"
        CHECKS.append(Check((vector.clause,), name, sockets, _bound(judge, vector), stops=False))


def _bound(judge: Judge, vector: Vector) -> Callable[[Server], None]:
    return lambda server: judge(server, vector)


@contextlib.contextmanager
def null_descriptors(count: int) -> Any:
    """The same descriptor, so many times."""
    fd = os.open(os.devnull, os.O_RDONLY)
    try:
        yield [fd] * count
    finally:
        os.close(fd)


# --- messages ------------------------------------------------------------------------------------------------------------


def judge_message(server: Server, vector: Vector) -> None:
    count = vector.case.get("fds", 0)
    if count and server.address.kind not in (STREAM, PACKET):
        raise NotApplicable("descriptors do not travel with datagrams")
    if vector.name in REPLIES and server.address.kind == DATAGRAM:
        raise NotApplicable("a datagram that is a reply is not answered (18.9)")
    body = vector.data(vector.case["body"])
    with Peer(server.address, server.patience) as peer, null_descriptors(count) as fds:
        try:
            peer.send_body(body, fds)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            raise NotApplicable("no packet is so large") from None
        _answered(peer, vector.case["expect"])


def _answered(peer: Peer, expect: dict[str, Any]) -> None:
    if "request" in expect:
        message = peer.receive()
        if "or_refused" in expect and message.get("id") is None:
            _refused(message, expect["or_refused"])
        else:
            _judged(message, expect["request"]["id"])
    elif "refused" in expect:
        _refused(peer.receive(), expect["refused"])
    elif "no_control" in expect:
        data = is_failure(peer.receive(), None, -32600)
        _faults_at(data, expect["no_control"]["loc"])
    else:
        same(peer.before_fence(), [])


def _judged(message: dict[str, Any], request_id: object) -> None:
    """The envelope was legal: whatever the answer, it is this request's."""
    same(message.get("id"), request_id)
    code = message.get("error", {}).get("code")
    holds(code not in (-32700, -32600), "a reply to a legal request", message)


def _refused(message: dict[str, Any], expect: dict[str, Any]) -> None:
    codes = expect["code"] if isinstance(expect["code"], list) else [expect["code"]]
    data = is_failure(message, expect["id"], *codes)
    if "offset" in expect:
        same(data.get("offset", expect["offset"]), expect["offset"])
    if "loc" in expect:
        _faults_at(data, expect["loc"])
    if "listed" in expect:
        same(len(data["errors"]), expect["listed"])
        same(data.get("omitted"), expect["omitted"])


def _faults_at(data: dict[str, Any], places: list[list[Any]]) -> None:
    seen = sorted(repr(fault["loc"]) for fault in has_faults(data))
    same(sorted(set(seen)), sorted(repr(place) for place in places))


register("messages_to_server.json", ALL, judge_message)


# --- frames ----------------------------------------------------------------------------------------------------------------


def judge_frames(server: Server, vector: Vector) -> None:
    lost = vector.case["expect"].get("lost")
    limit = server.limit("frame_size_default", FRAME_SIZE_DEFAULT)
    if lost and lost["code"] == -32006 and vector.frame_limit != limit:
        raise NotApplicable(f"the limit of this server is {limit:,} bytes")
    with Peer(server.address, server.patience) as peer:
        _send_pieces(peer, vector)
        frames = len(vector.case["expect"]["frames"])
        if lost is None:
            for _ in range(frames):
                _any_reply(peer.receive())
            holds(not vector.case.get("eof") or peer.is_closed(), "the end of the connection", "more of it")
            return
        _judge_lost(peer, frames, lost)


def _send_pieces(peer: Peer, vector: Vector) -> None:
    stream = vector.data(vector.case["stream"])
    edges = [0, *vector.case.get("split", []), len(stream)]
    for start, end in itertools.pairwise(edges):
        peer.send_bytes(stream[start:end])
    if vector.case.get("eof"):
        peer.socket.shutdown(socket.SHUT_WR)


def _judge_lost(peer: Peer, frames: int, lost: dict[str, Any]) -> None:
    """Replies to what came before may be sent, or not any more (2.10)."""
    messages = _until_closed(peer)
    holds(1 <= len(messages) <= frames + 1, "one last error, and nothing behind it", messages)
    for message in messages[:-1]:
        _any_reply(message)
    data = is_failure(messages[-1], None, lost["code"])
    for name, value in lost.get("data", {}).items():
        same(data.get(name), value)


def _until_closed(peer: Peer) -> list[dict[str, Any]]:
    messages = []
    while True:
        try:
            messages.append(peer.receive())
        except Closed:
            return messages


def _any_reply(message: dict[str, Any]) -> None:
    holds("result" in message or "error" in message, "a reply", message)


register("framing.json", (STREAM,), judge_frames)


# --- descriptors and packets ------------------------------------------------------------------------------------------------


def judge_descriptors(server: Server, vector: Vector) -> None:
    expected = vector.case["expect"]["messages"]
    if vector.clause == "7.2.1":
        raise NotApplicable("the method a.b is answered at once: its id is not in flight")
    with Peer(server.address, server.patience) as peer:
        for notation, count in vector.case["reads"]:
            data = vector.data(notation)
            with null_descriptors(count) as fds:
                if data:
                    _send_whole(peer, data, fds)
                else:
                    peer.socket.shutdown(socket.SHUT_WR)
        _judge_any_order(peer, expected)


def _send_whole(peer: Peer, data: bytes, fds: list[int]) -> None:
    """A server that has lost framing may have closed already."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        peer.send_bytes(data, fds)


def _judge_any_order(peer: Peer, expected: list[dict[str, Any]]) -> None:
    """Replies come in any order: each must find its place."""
    open_places = [place for place in expected if "closed" not in place]
    lost = any("lost" in place for place in expected)
    closes = lost or any("closed" in place for place in expected)
    messages = _until_closed(peer) if closes else [peer.receive() for _ in open_places]
    if lost:
        # The replies to what came before may be missing (2.10).
        same(is_failure(messages[-1], None, -32700) is not None, True)
        return
    same(len(messages), len(open_places))
    for message in messages:
        place = next((place for place in open_places if _fits(message, place)), None)
        if place is None:
            raise Failed(open_places, message)
        open_places.remove(place)


def _fits(message: dict[str, Any], place: dict[str, Any]) -> bool:
    try:
        if "request" in place:
            _judged(message, place["request"])
        else:
            refused = place["refused"]
            codes = refused["code"] if isinstance(refused["code"], list) else [refused["code"]]
            data = is_failure(message, refused["id"], *codes)
            for name, value in refused.get("data", {}).items():
                same(data.get(name), value)
    except Failed:
        return False
    return True


register("descriptors.json", (STREAM,), judge_descriptors)


def judge_packets(server: Server, vector: Vector) -> None:
    limit = server.limit("frame_size_default", FRAME_SIZE_DEFAULT)
    if (
        any("data" in place.get("refused", {}) for place in vector.case["expect"])
        and limit != vector.frame_limit
    ):
        raise NotApplicable(f"the limit of this server is {limit:,} bytes")
    if vector.name == "an id that is in flight":
        raise NotApplicable("the method a.b is answered at once: its id is not in flight")
    with Peer(server.address, server.patience) as peer:
        for notation in vector.case["packets"]:
            peer.send_bytes(vector.data(notation))
        if vector.case.get("eof"):
            peer.socket.shutdown(socket.SHUT_WR)
        _judge_any_order(peer, vector.case["expect"])


register("packets.json", (PACKET,), judge_packets)
