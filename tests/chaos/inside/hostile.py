"""A peer that means harm: python -m tests.chaos.inside.hostile ATTACK. By sockets and JSON alone.

Prints "begun" after its first step, attacks until standard input ends, and prints how many steps it took, as JSON.
"""

import contextlib
import itertools
import json
import os
import random
import select
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from tests.conformance.peer import frame, text_of

PATH: Final = "/run/superd/superd.sock"

#: Numbers of calls that the judgement leaves out.
HOSTILE_OPS: Final = 10**15

#: Connections of one attack; those that hold connections take more.
CONNECTIONS: Final = 16
HELD_CONNECTIONS: Final = 512

#: Bytes that are thrown away at once, and those of a long text.
_READ: Final = 1 << 16
_LONG: Final = 60_000

#: What a frame may take along, and one more; the kernel takes 253.
_FDS: Final = 64
_FDS_KERNEL: Final = 253

#: Seconds that a socket which is full is waited for before the next one is tried.
_TURN: Final = 0.01

#: The default limit of a frame.
_GIANT: Final = 16 * 1024 * 1024

#: One step of an attack after the other, without end.
Attack = Iterator[None]


def dial() -> socket.socket | None:
    """A connection that never blocks; None where the server, or the kernel, refuses one."""
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    peer.settimeout(_TURN)
    try:
        peer.connect(PATH)
    except OSError:
        peer.close()
        return None
    peer.setblocking(False)
    return peer


class Peer:
    """A connection that is made again when the server has ended it."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._rest = b""

    def send(self, data: bytes, fds: Sequence[int] = (), *, whole: bool = True) -> None:
        """Write what the kernel takes; `whole` keeps the rest for the next time, so that frames stay whole."""
        if self._socket is None:
            self._socket = dial()
            self._rest = b""
        if self._socket is None:
            return
        data, fds = (self._rest, ()) if self._rest else (data, fds)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, b"".join(fd.to_bytes(4, "little") for fd in fds))]
        try:
            sent = self._socket.sendmsg([data], rights if fds else [])
        except BlockingIOError:
            select.select([], [self._socket], [], _TURN)
        except OSError:
            self.close()
        else:
            self._rest = data[sent:] if whole else b""

    def read(self, size: int = _READ) -> bytes:
        """What has come, up to so many bytes."""
        if self._socket is None:
            return b""
        try:
            data = self._socket.recv(size)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            self.close()
        return data

    def half_close(self, how: int) -> None:
        """Shut one direction down."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(how)

    def close(self) -> None:
        """Vanish."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None


def request(number: object, method: str, params: Mapping[str, Any], **meta: Any) -> bytes:
    """A request in its frame."""
    message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    return frame(text_of(message | ({"meta": meta} if meta else {})))


def echo(number: object, size: int = 10, **meta: Any) -> bytes:
    """A request that everybody may make."""
    return request(number, "echo.echo", {"text": "x" * size}, **meta)


def held(number: int) -> bytes:
    """A request that runs for long."""
    job = {"op": HOSTILE_OPS + number, "before_usec": 10_000_000, "after_usec": 0}
    return request(f"{number:064}", "chaos.note", job)


def peers(number: int = CONNECTIONS) -> list[Peer]:
    """So many, not connected yet."""
    return [Peer() for _ in range(number)]


def slow_readers(_chance: random.Random) -> Attack:
    """Ask for much, and read a byte now and then."""
    mine = peers()
    for number in itertools.count():
        for each in mine:
            each.send(echo(number, _LONG))
        mine[number % len(mine)].read(1)
        yield


def byte_droppers(chance: random.Random) -> Attack:
    """Frames in which a byte is missing, frames cut short, and away."""
    mine = peers()
    for number in itertools.count():
        data = echo(number, 200)
        hole = chance.randrange(len(data))
        each = mine[number % len(mine)]
        each.send(data[:hole] + data[hole + 1 :])
        each.read()
        if chance.random() < 0.1:
            each.send(data[:hole])
            each.close()
        yield


def half_closers(chance: random.Random) -> Attack:
    """Calls from peers that do not write any more, or do not read, or are gone before the answer."""
    for number in itertools.count():
        for each in peers():
            each.send(held(number) if chance.random() < 0.2 else echo(number, _LONG))
            each.half_close(chance.choice((socket.SHUT_WR, socket.SHUT_RD, socket.SHUT_RDWR)))
            if chance.random() < 0.8:
                each.read()
            each.close()
        yield


def connect_flood(chance: random.Random) -> Attack:
    """Connect as fast as the kernel lets us; hold many, and say nothing."""
    mine: list[socket.socket] = []
    while True:
        if peer := dial():
            mine.append(peer)
        if len(mine) > HELD_CONNECTIONS:
            mine.pop(chance.randrange(len(mine))).close()
        yield


def connect_hold(_chance: random.Random) -> Attack:
    """Connect often, and hold all that there is."""
    mine: list[socket.socket] = []
    while True:
        peer = dial() if len(mine) < HELD_CONNECTIONS else None
        if peer is not None:
            mine.append(peer)
        else:
            select.select([], [], [], _TURN)
        yield


def frame_flood(_chance: random.Random) -> Attack:
    """Small frames, good and bad, as many as can be written."""
    mine = peers()
    good = b"".join(echo(number) for number in range(50))
    bad = b"".join(frame(body) for body in (b"{", b"[]", b'"\\ud800"', b"{}", b"1e999") * 10)
    for number in itertools.count():
        for each in mine:
            each.send(bad if number % 4 == 0 else good)
            each.read()
        yield


def id_flood(chance: random.Random) -> Attack:
    """Calls that run for long under long ids, ids in use, and cancellations of ids that nobody has."""
    mine = peers()
    for number in itertools.count():
        each = chance.choice(mine)
        cancel = {
            "jsonrpc": "2.0",
            "method": "rpc.cancel",
            "params": {"id": f"{chance.randrange(2 * number + 1):064}"},
        }
        each.send(held(number) + held(max(number - CONNECTIONS, 0)) + frame(text_of(cancel)))
        each.read()
        yield


def descriptor_flood(_chance: random.Random) -> Attack:
    """As many descriptors as a frame may have, each time another set, to a method that takes none."""
    mine = peers()
    fds = [os.memfd_create("hostile") for _ in range(_FDS)]
    for number in itertools.count():
        for each in mine:
            each.send(echo(number, fds=_FDS), fds)
            each.read()
        yield


def lying_fds(chance: random.Random) -> Attack:
    """Frames that declare other descriptors than they bring, in the middle of frames too."""
    mine = peers()
    fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(_FDS_KERNEL)]
    for number in itertools.count():
        for each in mine:
            data = echo(number, fds=chance.choice((0, 1, 3, _FDS)))
            brought = fds[: chance.choice((0, 1, 2, _FDS, _FDS_KERNEL))]
            cut = chance.randrange(len(data))
            each.send(data[:cut], brought)
            each.send(data[cut:], brought)
            each.read()
        yield


def giant_frames(_chance: random.Random) -> Attack:
    """The largest frame that may be, and one that may not, a byte at a time."""
    mine = peers()
    heads = [size.to_bytes(4, "big") for size in (_GIANT, _GIANT, _GIANT, _GIANT + 1)]
    for each, head in zip(mine, itertools.cycle(heads), strict=False):
        each.send(head)
    while True:
        for each in mine:
            each.send(b"[")
            each.read()
        yield


def stream_flood(chance: random.Random) -> Attack:
    """Streams with all credit that there is, of which nobody reads an item."""
    mine = peers()
    for number in itertools.count():
        job = {
            "op": HOSTILE_OPS + number * CONNECTIONS,
            "before_usec": 0,
            "after_usec": 0,
            "upto": 100_000,
        }
        each = chance.choice(mine)
        each.send(request(number, "chaos.count", job, credit=2**31 - 1))
        each.read(1)
        yield


def busy_loop(_chance: random.Random) -> Attack:
    """Not a peer at all: what it takes to have a process beside us that never rests. For comparison."""
    while True:
        yield


ATTACKS: Final[Mapping[str, Callable[[random.Random], Attack]]] = {
    each.__name__: each
    for each in (
        busy_loop,
        slow_readers,
        byte_droppers,
        half_closers,
        connect_flood,
        connect_hold,
        frame_flood,
        id_flood,
        descriptor_flood,
        lying_fds,
        giant_frames,
        stream_flood,
    )
}


def main(name: str, seed: str) -> None:
    """Attack until standard input ends."""
    stopped = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        stopped.set()

    threading.Thread(target=wait, daemon=True).start()
    steps = 0
    for _ in ATTACKS[name](random.Random(f"{seed}/{name}")):
        steps += 1
        if steps == 1:
            print("begun", flush=True)
        if stopped.is_set():
            break
    print(json.dumps({"steps": steps}), flush=True)
    os._exit(0)  # with everything that is open: as a peer that was killed


if __name__ == "__main__":
    main(*sys.argv[1:])
