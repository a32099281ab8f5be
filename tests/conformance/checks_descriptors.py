"""Dialogues about descriptors and blobs."""

import base64
import fcntl
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, Final

from tests.conformance.checks_calls import LONG, echo
from tests.conformance.judging import DATAGRAM, Server, check, has_faults, holds, is_failure, is_result, same
from tests.conformance.peer import Peer

FDS_MAX: Final = 64
HELD_DEFAULT: Final = 256

#: fcntl.h and memfd_create(2).
F_ADD_SEALS, F_GET_SEALS = 1033, 1034
SEALS: Final = {"seal": 1, "shrink": 2, "grow": 4, "write": 8}
ALL_SEALS: Final = sum(SEALS.values())


@contextmanager
def pipes(count: int) -> Iterator[list[int]]:
    """So many descriptors, each of a file of its own."""
    fds: list[int] = []
    try:
        fds.extend(os.memfd_create("conformance", os.MFD_CLOEXEC) for _ in range(count))
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


def file_of(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


@check("15.1", "15.6", "15.7")
def descriptors_there_and_back_in_the_order_of_their_indexes(server: Server) -> None:
    """descriptors there and back, in the order of their indexes"""
    with Peer(server.address, server.patience) as peer, pipes(FDS_MAX) as fds:
        for count in (0, 1, 2, 63, 64):
            message = peer.call("conformance.fds", {"fds": list(range(count))[::-1]}, fds[:count])
            same(len(peer.fds), count)
            same(message.get("meta", {}).get("fds", 0), count)
            places = message["result"]["fds"]
            same(sorted(places), list(range(count)))
            same([file_of(peer.fds[place]) for place in places], [file_of(fd) for fd in fds[:count]][::-1])
            peer.drop_fds()


@check("15.2", "15.3")
def many_calls_with_descriptors_one_behind_the_other_without_waiting(server: Server) -> None:
    """many calls with descriptors, one behind the other without waiting"""
    with Peer(server.address, server.patience) as peer, pipes(20) as fds:
        ids = [peer.request("conformance.fds", {"fds": [0]}, [fd]) for fd in fds]
        files: dict[object, tuple[int, int]] = {}
        for _ in ids:
            message = peer.receive()
            (place,) = message["result"]["fds"]
            files[message["id"]] = file_of(peer.fds[place])
            peer.drop_fds()
        same([files[request_id] for request_id in ids], [file_of(fd) for fd in fds])


@check("15.4")
def another_number_than_declared_is_an_error_of_that_call_alone(server: Server) -> None:
    """another number than declared is an error of that call alone"""
    with Peer(server.address, server.patience) as peer, pipes(2) as fds:
        slow = peer.request("conformance.sleep", {"usec": 150_000})
        for declared, count in ((0, 1), (1, 0), (2, 1), (1, 2)):
            request_id = peer.request(
                "conformance.fds", {"fds": list(range(declared))}, fds[:count], fds=declared
            )
            is_failure(peer.reply(request_id), request_id, -32600)
        is_result(peer.reply(slow), slow, None)
        same(peer.fds, [])


@check("15.4")
def an_item_with_another_number_than_it_declares_ends_its_upload(server: Server) -> None:
    """an item with another number than it declares ends its upload"""
    with Peer(server.address, server.patience) as peer, pipes(1) as fds:
        upload = peer.request("conformance.sum")
        peer.receive()  # its credit
        peer.notify("rpc.item", {"id": upload, "seq": 0, "item": 1}, fds, fds=0)
        is_failure(peer.reply(upload), upload, -32600, -32602)
        echo(peer)


@check("15.6")
def an_index_that_there_is_not_one_that_is_used_twice_and_one_that_is_not_used(server: Server) -> None:
    """an index that there is not, one that is used twice, and one that is not used"""
    with Peer(server.address, server.patience) as peer, pipes(2) as fds:
        for places in ([0, 2], [0, 0], [0], [-1, 0], [0, 1, 2], ["0", 1], [0.0, 1], [True, 0]):
            message = peer.call("conformance.fds", {"fds": places}, fds)
            has_faults(is_failure(message, message.get("id"), -32602))
        same(peer.fds, [])


@check("15.8")
def a_descriptor_that_leads_to_the_server_itself(server: Server) -> None:
    """a descriptor that leads to the server itself"""
    with Peer(server.address, server.patience) as peer, Peer(server.address, server.patience) as other:
        message = peer.call("conformance.fds", {"fds": [0, 1]}, [other.socket.fileno(), peer.socket.fileno()])
        same(len(message["result"]["fds"]), 2)
        peer.drop_fds()
        echo(peer)
        echo(other)


@check("15.9", "8.9")
def the_descriptors_that_the_calls_of_a_connection_hold_are_bounded(server: Server) -> None:
    """the descriptors that the calls of a connection hold are bounded"""
    limit = server.limit("fds_per_connection_max", HELD_DEFAULT)
    with Peer(server.address, server.patience) as peer, pipes(FDS_MAX) as fds:
        places = list(range(FDS_MAX))
        held = [
            peer.request("conformance.fds", {"fds": places, "usec": LONG}, fds)
            for _ in range(limit // FDS_MAX)
        ]
        over = peer.request("conformance.fds", {"fds": places, "usec": LONG}, fds)
        data = is_failure(peer.reply(over), over, -32002)
        same((data.get("resource"), data.get("limit")), ("descriptors", limit))
        peer.cancel(held[0])
        is_failure(peer.reply(held[0]), held[0], -32004)
        # What was cancelled is answered at once, and may hold its descriptors a moment longer.
        end = time.monotonic() + server.patience
        while "result" not in (message := peer.call("conformance.fds", {"fds": places}, fds)):
            is_failure(message, message.get("id"), -32002)
            holds(time.monotonic() < end, "room for the descriptors of another call", message)
        same(len(message["result"]["fds"]), FDS_MAX)


@check("18.4", "15.1", sockets=(DATAGRAM,))
def descriptors_do_not_travel_with_datagrams(server: Server) -> None:
    """descriptors do not travel with datagrams"""
    with Peer(server.address, server.patience) as peer, pipes(1) as fds:
        message = peer.call("conformance.fds", {"fds": [0]}, fds)
        is_failure(message, message.get("id"), -32600)


# --- blobs -----------------------------------------------------------------------------------------------------------------


@contextmanager
def memfd(data: bytes, seals: int = ALL_SEALS) -> Iterator[int]:
    fd = os.memfd_create("conformance", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.write(fd, data)
        fcntl.fcntl(fd, F_ADD_SEALS, seals)
        yield fd
    finally:
        os.close(fd)


def read_blob(peer: Peer, blob: dict[str, Any]) -> bytes:
    """What a blob of the server holds; checks it as 16.3 has it."""
    if "inline" in blob:
        same(set(blob), {"inline"})
        return base64.b64decode(blob["inline"], validate=True)
    same(set(blob), {"memfd", "size"})
    fd = peer.fds[blob["memfd"]]
    same(fcntl.fcntl(fd, F_GET_SEALS) & ALL_SEALS, ALL_SEALS)
    same(os.fstat(fd).st_size, blob["size"])
    return os.pread(fd, blob["size"], 0)


@check("16.1", "16.2")
def blobs_inline_and_in_a_memfd_at_any_size_there_and_back(server: Server) -> None:
    """blobs inline and in a memfd, at any size, there and back"""
    with Peer(server.address, server.patience) as peer:
        for size in (0, 1, 2, 3, 1000, 65_536):
            data = bytes(range(256)) * (size // 256) + bytes(size % 256)
            message = peer.call("conformance.blob", {"blob": {"inline": base64.b64encode(data).decode()}})
            _same_blob(peer, message, data)
        for size in (1, 4096, 65_537, 1_000_000):
            data = os.urandom(size)
            with memfd(data) as fd:
                _same_blob(
                    peer, peer.call("conformance.blob", {"blob": {"memfd": 0, "size": size}}, [fd]), data
                )


def _same_blob(peer: Peer, message: dict[str, Any], data: bytes) -> None:
    holds("result" in message, "a result", message)
    result = message["result"]
    same((result["size"], result["sha256"]), (len(data), sha256(data).hexdigest()))
    same(read_blob(peer, result["blob"]) == data, True)
    peer.drop_fds()


@check("16.1")
def what_is_no_blob(server: Server) -> None:
    """what is no blob"""
    with Peer(server.address, server.patience) as peer:
        for blob in (
            {"inline": "YQ"},
            {"inline": "YQ=="[:-1]},
            {"inline": "Y Q=="},
            {"inline": "YQ==\n"},
            {"inline": "-_=="},
            {"inline": "é"},
            {"inline": 1},
            {},
            {"memfd": 0},
            {"size": 1},
            {"memfd": 0, "size": 1},
            {"inline": "", "size": 0},
            "YQ==",
        ):
            message = peer.call("conformance.blob", {"blob": blob})
            has_faults(is_failure(message, message.get("id"), -32602))


@check("16.3")
def a_memfd_without_one_of_the_seals_and_what_is_no_memfd(server: Server) -> None:
    """a memfd without one of the seals, and what is no memfd"""
    with Peer(server.address, server.patience) as peer:
        for name, seal in SEALS.items():
            with memfd(b"data", ALL_SEALS & ~seal) as fd:
                _refused(peer, fd, 4, name)
        with tempfile.TemporaryFile() as file:
            file.write(b"data")
            file.flush()
            _refused(peer, file.fileno(), 4, "a file")
        ours, theirs = socket.socketpair()
        with ours, theirs:
            _refused(peer, ours.fileno(), 4, "a socket")


def _refused(peer: Peer, fd: int, size: int, what: str) -> None:
    message = peer.call("conformance.blob", {"blob": {"memfd": 0, "size": size}}, [fd])
    holds("error" in message, f"a fault of a blob: {what}", message)
    has_faults(is_failure(message, message.get("id"), -32602))


@check("16.4")
def a_memfd_of_another_size_than_it_says_of_size_0_and_a_sparse_one(server: Server) -> None:
    """a memfd of another size than it says, of size 0, and a sparse one"""
    with Peer(server.address, server.patience) as peer:
        with memfd(b"data") as fd:
            for size in (3, 5, 0, -1, 2**31 + 1):
                _refused(peer, fd, size, f"{size} bytes of 4")
        sparse = os.memfd_create("conformance", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(sparse, 1 << 20)
            fcntl.fcntl(sparse, F_ADD_SEALS, ALL_SEALS)
            _refused(peer, sparse, 1 << 20, "sparse")
        finally:
            os.close(sparse)
