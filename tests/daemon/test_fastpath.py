"""The fast path and the general path give the same: replies to the byte, counts, log lines, units of the turn."""

import asyncio
import itertools
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Final, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typing_extensions import override

from superd.calls import Calls
from superd.dispatch import Dispatcher
from superd.fastpath import FastPath
from superd.guard import Guard
from superd.peer import Caller
from superd.policy import Policy, Rules
from superd.quota import Quotas, Totals
from superd.registry import Registry
from superd.server import Server
from superd.service import Context, Service
from superd.services.echo import echo_service
from superd.session import Traffic
from superd.stats import Stats
from superd_client.address import SocketKind
from superd_client.contract import Message, Method
from superd_client.errors import ApplicationError
from superd_client.parser import CallParser
from superd_client.streams import Stream
from tests.daemon.logs import Changes, captured_logs
from tests.daemon.raw import frame, request
from tests.daemon.running import LIMITS, TIMEOUTS

#: Small, so that a result may be too large for it.
FRAME_SIZE: Final = 4096

FAR: Final = 2**52
STRANGER: Final = 54_321


class Number(Message):
    n: int


class Doubled(Message):
    twice: int
    text: str = ""


class Broken(Message):
    why: str


double: Final = Method("probe.double", Number, Doubled, errors=[Broken])
later: Final = Method("probe.later", Number, Doubled, errors=[Broken])


def act(params: Number) -> Any:
    """What a handler may do, by number."""
    match params.n:
        case 90:
            raise ApplicationError(Broken(why="asked"), "as asked")
        case 91:
            raise ValueError("secret")
        case 92:
            return Doubled.model_construct(twice="wrong")
        case 93:
            return Doubled(twice=1, text="x" * FRAME_SIZE)
        case 94:
            raise asyncio.CancelledError
        case 95:
            raise StopIteration
    return Doubled(twice=2 * params.n)


def make_service(ran: list[int]) -> Service:
    service = Service("probe")

    @service.method(double, inline=True)
    def handle_double(params: Number, context: Context) -> Doubled:
        ran.append(params.n)
        result: Doubled = act(params)
        return result

    @service.method(later)
    async def handle_later(params: Number, context: Context) -> Doubled:
        ran.append(params.n)
        await asyncio.sleep(0)
        result: Doubled = act(params)
        return result

    @service.method(Method("probe.closed", Number, Doubled), access="admin", inline=True)
    def handle_closed(params: Number, context: Context) -> Doubled:
        raise AssertionError("the caller may not")

    @service.method(Method("probe.ours", Number, Doubled), access="group", inline=True)
    def handle_ours(params: Number, context: Context) -> Doubled:
        return Doubled(twice=params.n)

    @service.method(Stream("probe.count", Number, int))
    async def handle_count(params: Number, context: Context) -> AsyncIterator[int]:
        for number in range(3):
            yield number

    return service


class Never(FastPath):
    """Leaves all to the general path."""

    @override
    def take(self, body: bytes, calls: Calls) -> bytes | None:
        return None


class Outcome(NamedTuple):
    """All that anybody can notice."""

    replies: list[bytes]
    ran: list[int]
    stats: list[int]
    traffic: Traffic
    lines: list[dict[str, Any]]
    units: int


def outcome(reads: Iterable[bytes], *, path: type[FastPath], rate: int = 0, debug: bool = False) -> Outcome:
    """What becomes of a connection on which these reads bring all that is sent."""
    with captured_logs(Changes()) as logs, ThreadPoolExecutor(1) as workers:
        found = asyncio.run(_serve(list(reads), workers, path=path, rate=rate, debug=debug))
    lines = [
        {key: value for key, value in line.items() if key not in ("duration_usec", "exc_info")}
        for line in logs.lines
    ]
    return found._replace(lines=sorted(lines, key=repr))


async def _serve(
    reads: list[bytes], workers: ThreadPoolExecutor, *, path: type[FastPath], rate: int, debug: bool
) -> Outcome:
    ran: list[int] = []
    registry = Registry([make_service(ran), echo_service("1")])
    stats = Stats()
    dispatcher = Dispatcher(
        registry.endpoints,
        states={"probe": "the state"},
        workers=workers,
        stats=stats,
        on_change=lambda: None,
        log_successes=debug,
        guard=Guard(Policy(Rules(), registry.accesses, uid=os.geteuid(), gid=os.getegid())),
        quotas=Quotas(Totals(call_rate=rate), frame_size=FRAME_SIZE),
    )
    dispatcher.call_ids = map("made-{}".format, itertools.count())  # type: ignore[misc]  # else no two runs are the same
    server = Server(
        [],
        dispatcher=dispatcher,
        parse=CallParser(registry.methods),
        limits=LIMITS._replace(frame_size=FRAME_SIZE),
        timeouts=TIMEOUTS,
        stats=stats,
        on_change=lambda: None,
    )
    server._fast_path = path(dispatcher, server._parse)
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    server.start()
    mine, its = socket.socketpair()
    mine.setblocking(False)
    with mine:
        server._admission.charge(STRANGER)
        session = server._open(its, SocketKind.STREAM, Caller(STRANGER, os.getegid(), os.getpid(), groups=()))
        for data in reads:
            mine.send(data)
            await _settle()
        units = session._lane.left
        mine.shutdown(socket.SHUT_WR)
        received = await _all_of(mine)
        traffic = session.traffic()
        assert await server.drain(10)
    assert not faults
    counts = [getattr(stats, name) for name in Stats.__slots__ if name != "started_usec"]
    return Outcome(sorted(_cut(received)), ran, counts, traffic, [], units)


async def _settle() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


async def _all_of(sock: socket.socket) -> bytes:
    loop, received = asyncio.get_running_loop(), b""
    while data := await loop.sock_recv(sock, 1 << 20):
        received += data
    return received


def _cut(data: bytes) -> Iterable[bytes]:
    while data:
        end = 4 + int.from_bytes(data[:4], "big")
        yield data[4:end]
        data = data[end:]


# --- what peers send ---------------------------------------------------------------------------------------------

METHODS: Final = [
    "probe.double",
    "probe.later",
    "probe.closed",
    "probe.ours",
    "probe.count",
    "probe.doubel",
    "echo.echo",
]

ids = st.one_of(st.integers(1, 4), st.sampled_from(["a", "é", "1", None, True, 1.5, "", -1, 2**60]))
params: Final[st.SearchStrategy[object]] = st.one_of(
    st.integers(0, 3).map(lambda n: {"n": n}),
    st.integers(90, 95).map(lambda n: {"n": n}),
    st.sampled_from([None, {}, {"n": "1"}, {"n": 1, "more": 2}, {"text": "t"}, [], {"n": 1.0}]),
)
meta = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {},
        optional={
            "call_id": st.sampled_from(["c-1", "c:2", "not legal"]),
            "deadline_usec": st.sampled_from([0, 1, FAR, -1]),
            "idempotency_key": st.sampled_from(["k-1", "k-2"]),
            "fds": st.sampled_from([0, 1]),
            "credit": st.just(2),
        },
    ),
)


@st.composite
def calls(draw: st.DrawFn) -> bytes:
    more = {} if (extra := draw(meta)) is None else {"meta": extra}
    body = request(draw(st.sampled_from(METHODS)), draw(params), draw(ids), **more)
    return json.dumps(json.loads(body), separators=(",", ":")).encode() if draw(st.booleans()) else body


others = st.sampled_from(
    [
        b"{}",
        b"[]",
        b"not JSON",
        b"\xff",
        b'{"jsonrpc":"2.0","id":1,"method":"probe.double","params":{"n":NaN}}',
        b'{"jsonrpc":"2.0","id":1,"method":"probe.closed","method":"probe.double","params":{"n":1}}',
        b'{"jsonrpc":"2.0","id":1,"id":2,"method":"probe.double","params":{"n":1}}',
        b'{"id":3,"method":"probe.double","params":{"n":1},"jsonrpc":"2.0"}',
        b'{"jsonrpc":"1.0","id":1,"method":"probe.double","params":{"n":1}}',
        b'{"jsonrpc":"2.0","method":"rpc.cancel","params":{"id":1}}',
        b'{"jsonrpc":"2.0","method":"rpc.credit","params":{"id":2,"n":1}}',
        b'{"jsonrpc":"2.0","method":"rpc.end","params":{"id":1}}',
        b'{"jsonrpc":"2.0","method":"rpc.item","params":{"id":1,"seq":0,"item":1}}',
        b'{"jsonrpc":"2.0","method":"rpc.credit","params":{}}',
    ]
)
bodies = st.lists(st.one_of(calls(), calls(), others), min_size=1, max_size=12)
#: Where framing is lost: behind all the rest.
tails = st.sampled_from([b"", b"", b"\0\0\0\0", b"\0\0\x10\x01", b"\0\0\0\x05{", b"\0"])


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """What several reads bring of `data`, which is cut there."""
    ends = [*sorted({place % len(data) for place in places} - {0}), len(data)]
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@settings(max_examples=60, deadline=None)
@given(bodies, tails, st.lists(st.integers(0, 1 << 20), max_size=4))
@example([request("probe.double", {"n": n}, n) for n in range(1, 4)], b"", [])
@example([request("probe.later", {"n": 1}, 1), request("probe.double", {"n": 1}, 1)], b"", [])
@example([request("probe.double", {"n": 1}, None), request("probe.double", {"n": 91}, None)], b"", [7])
def test_both_paths_agree(sent: list[bytes], tail: bytes, places: list[int]) -> None:
    reads = cut(b"".join(map(frame, sent)) + tail, places)
    one, other = outcome(reads, path=FastPath), outcome(reads, path=Never)
    if sys.version_info >= (3, 12):
        # The short way begins a task at once there, and the other when all is read: what is cancelled by then does not run.
        assert set(other.ran) <= set(one.ran)
        other = other._replace(ran=one.ran)
    assert one == other


@pytest.mark.parametrize("rate", [3, 4, 5])
def test_both_paths_agree_where_calls_are_counted(rate: int) -> None:
    reads = [b"".join(frame(request("probe.double", {"n": n}, n)) for n in range(4))]
    one, other = (outcome(reads, path=path, rate=rate) for path in (FastPath, Never))
    assert one.ran == other.ran == [0, 1, 2, 3][:rate]
    assert (one.stats, one.traffic._replace(bytes_sent=0)) == (
        other.stats,
        other.traffic._replace(bytes_sent=0),
    )
    assert [json.loads(reply)["id"] for reply in one.replies] == [0, 1, 2, 3]


def test_both_paths_agree_where_each_call_is_logged() -> None:
    reads = [b"".join(frame(request("probe.double", {"n": n}, n)) for n in range(4))]
    one, other = (outcome(reads, path=path, debug=True) for path in (FastPath, Never))
    assert one == other
    assert len(one.lines) == 4


class Watched(FastPath):
    """Notes what was usual."""

    taken: ClassVar[list[bytes | None]] = []

    @override
    def take(self, body: bytes, calls: Calls) -> bytes | None:
        reply = super().take(body, calls)
        self.taken.append(reply)
        return reply


@pytest.mark.parametrize(
    ("body", "is_usual"),
    [
        (request("probe.double", {"n": 1}, 1), True),
        (request("probe.double", {"n": 1}, "é"), True),
        (request("probe.double", {"n": 1}, None), True),
        (request("probe.double", {"n": 1}, 1, meta={"deadline_usec": FAR}), True),
        (request("probe.ours", {"n": 1}, 1), True),
        (request("probe.later", {"n": 1}, 1), True),
        (request("probe.count", {"n": 1}, 1), True),
        (request("probe.closed", {"n": 1}, 1), False),
        (request("probe.double", {"n": "1"}, 1), False),
        (request("probe.double", {"n": 1}, 1, meta={"idempotency_key": "k"}), False),
        (request("probe.double", {"n": 1}, 1, meta={"fds": 1}), False),
        (request("rpc.cancel", {"id": 1}, None), False),
    ],
)
@pytest.mark.parametrize("split", [[], [9]], ids=["in one read", "in two reads"])
def test_what_is_usual(body: bytes, is_usual: bool, split: list[int]) -> None:
    Watched.taken.clear()
    outcome(cut(frame(body), split), path=Watched)
    assert [reply is not None for reply in Watched.taken] == [is_usual]


def test_each_message_and_each_read_uses_up_units_of_the_turn() -> None:
    body = request("probe.double", {"n": 1}, 1)
    few, more = (outcome([frame(body) * count], path=FastPath).units for count in (1, 11))
    two_reads = outcome([frame(body), frame(body)], path=FastPath).units
    assert (few - more, few - two_reads) == (10, 2)


@pytest.mark.parametrize("number", range(90, 96))
def test_a_handler_runs_once_whatever_it_does(number: int) -> None:
    found = outcome([frame(request("probe.double", {"n": number}, 1))], path=FastPath)
    assert (len(found.replies), found.ran) == (1, [number])
    assert "error" in json.loads(found.replies[0])
