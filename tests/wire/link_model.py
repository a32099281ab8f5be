"""A client and a server joined by two pipes as the kernel makes them, and what each side has seen of every call.

A pipe merges writes and cuts them anywhere. A read goes no further than the write whose descriptors it brings, and brings
all of them with the first byte of that write (protocol §15).
"""

import json
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, Final

from superd_client.wire.client import (
    ClientConnection,
    ClientEvent,
    CreditReceived,
    ItemReceived,
    ReplyReceived,
)
from superd_client.wire.control import Cancel, Credit, End, Goaway, ItemHead, read_item
from superd_client.wire.envelope import (
    Failure,
    MessageRefused,
    Notification,
    Reply,
    Request,
    check_fds,
    parse_reply,
)
from superd_client.wire.errors import ErrorCode, ErrorObject, RemoteProtocolError
from superd_client.wire.server import Item, Refused, ServerConnection, ServerEvent
from superd_client.wire.states import RECEIVING
from tests.wire.golden import compact

CANCELLED: Final = ErrorObject(ErrorCode.CANCELLED, "cancelled", {"call_id": "c"})


class Pipe:
    """One direction of a socket."""

    def __init__(self) -> None:
        self._writes: deque[tuple[bytes, list[int]]] = deque()

    def __len__(self) -> int:
        return sum(len(data) for data, _ in self._writes)

    def write(self, data: bytes, fds: Sequence[int] = ()) -> None:
        if data:
            self._writes.append((data, list(fds)))

    def read(self, size: int) -> tuple[bytes, list[int]]:
        """At most `size` bytes, as a stream socket gives them."""
        taken = b""
        while self._writes and len(taken) < size:
            data, fds = self._writes.popleft()
            room = size - len(taken)
            taken += data[:room]
            if len(data) > room:
                self._writes.appendleft((data[room:], []))
            if fds:
                return taken, fds
        return taken, []

    def read_packet(self) -> tuple[bytes, list[int]]:
        return self._writes.popleft()


class Call:
    """What both sides have seen of one call. It is the client's own record of it too."""

    read_result = None
    read_item = None

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.id = 0
        self.ends: Counter[str] = Counter()
        #: Numbers of the items that were sent and that came, whichever way they go.
        self.sent = 0
        self.came: list[int] = []
        #: How many items the sender was ever allowed.
        self.granted = 0
        self.is_ended = False
        self.is_abandoned = False
        self.got_fds: list[int] = []

    def decode(self, body: bytes, fds: Sequence[int], /) -> Reply:
        reply = parse_reply(body)
        assert not isinstance(reply, Notification)
        check_fds(json.loads(body).get("meta", {}).get("fds", 0), fds, None)
        self.got_fds.extend(fds)
        return reply

    def decode_item(self, body: bytes, fds: Sequence[int], head: ItemHead, /) -> Any:
        value = value_of_item(body, fds, head)
        self.got_fds.extend(fds)
        return value


def value_of_item(body: bytes, fds: Sequence[int], head: ItemHead) -> Any:
    fields = read_item(body)
    check_fds(fields.get("meta", {}).get("fds", 0), fds, None)
    if (fields["params"]["id"], fields["params"]["seq"]) != head:
        raise MessageRefused(ErrorObject(ErrorCode.INVALID_REQUEST, "not what its head says", {}))
    return fields["params"]["item"]


class Link:
    """One connection, from its first byte to its loss."""

    def __init__(self, *, packets: bool) -> None:
        self.packets: Final = packets
        self.client: ClientConnection[Call] = ClientConnection(packets=packets)
        self.server = ServerConnection(packets=packets)
        self.to_server, self.to_client = Pipe(), Pipe()
        self.calls: list[Call] = []
        self.in_flight: dict[int, Call] = {}
        self.seen: Counter[str] = Counter()
        self.next_fd = 0
        #: Where each descriptor ended that came out of a pipe.
        self.came_out: list[int] = []
        self.went_in: list[int] = []
        self.drains = False

    # --- what the shells do ----------------------------------------------------------------------------------------

    def fds(self, count: int) -> list[int]:
        new = list(range(self.next_fd, self.next_fd + count))
        self.next_fd += count
        return new

    def begin(self, kind: str, credit: int, fds: int) -> None:
        call = Call(kind)
        mine = self.fds(fds)
        given = credit if kind == "stream" else None
        call.id, data = self.client.send_request("a." + kind, b"{}", call, fds=fds, credit=given)
        if kind == "stream":
            self.client.open_inflow(call.id, credit)
            call.granted = credit
        elif kind == "upload":
            self.client.open_outflow(call.id)
        self.to_server.write(data, mine)
        self.calls.append(call)

    def server_item(self, call: Call, fds: int) -> None:
        self.to_client.write(
            self.server.send_item(call.id, compact([call.id, call.sent]), fds), self.fds(fds)
        )
        call.sent += 1

    def client_item(self, call: Call, fds: int) -> None:
        self.to_server.write(
            self.client.send_item(call.id, compact([call.id, call.sent]), fds), self.fds(fds)
        )
        call.sent += 1

    def client_grant(self, call: Call, items: int) -> None:
        self.to_server.write(self.client.send_credit(call.id, items))
        call.granted += items

    def server_grant(self, call: Call, items: int) -> None:
        self.to_client.write(self.server.send_credit(call.id, items))
        call.granted += items

    def client_end(self, call: Call) -> None:
        self.to_server.write(self.client.send_end(call.id))
        call.is_ended = True

    def cancel(self, call: Call) -> None:
        self.to_server.write(self.client.send_cancel(call.id))
        self.abandon(call)

    def abandon(self, call: Call) -> None:
        self.client.abandon(call.id)
        call.ends["client"] += 1
        call.is_abandoned = True

    def reply(self, call: Call, fds: int) -> None:
        self.to_client.write(self.server.send_result(call.id, b"null", fds), self.fds(fds))
        self._ended_at_server(call)

    def fail(self, call: Call, error: ErrorObject) -> None:
        self.to_client.write(self.server.send_failure(call.id, error))
        self._ended_at_server(call)

    def _ended_at_server(self, call: Call) -> None:
        del self.in_flight[call.id]
        call.ends["server"] += 1

    def goaway(self) -> None:
        self.to_client.write(self.server.send_goaway())

    # --- what the kernel does --------------------------------------------------------------------------------------

    def carry_to_server(self, size: int) -> None:
        self._carry(self.server, self.to_server, size)
        self.pump_server()

    def carry_to_client(self, size: int) -> None:
        self._carry(self.client, self.to_client, size)
        self.pump_client()

    def _carry(self, end: Any, pipe: Pipe, size: int) -> None:
        if self.packets:
            data, fds = pipe.read_packet()
            self.went_in.extend(fds)
            end.receive_packet(data, fds)
        else:
            data, fds = pipe.read(size)
            self.went_in.extend(fds)
            end.receive_data(data, fds)

    def lose(self, to_server: int, to_client: int) -> None:
        """The link breaks after so many more bytes each way; then both shells close."""
        for carry, pipe, size in (
            (self.carry_to_server, self.to_server, to_server),
            (self.carry_to_client, self.to_client, to_client),
        ):
            rest = len(pipe) - size
            while len(pipe) > max(rest, 0):
                carry(len(pipe) - rest)
        for end, pump in ((self.server, self.pump_server), (self.client, self.pump_client)):
            if end.state in RECEIVING:
                end.receive_data(b"")
                pump(may_be_cut=True)
            end.close()
            pump()
        for call in self.client.pending:
            call.ends["client"] += 1
        for call in list(self.in_flight.values()):
            self._ended_at_server(call)
        for end in (self.server, self.client):
            self.came_out.extend(end.take_surplus())

    # --- what the ends say -------------------------------------------------------------------------------------------

    def pump_server(self, *, may_be_cut: bool = False) -> None:
        try:
            while (event := self.server.next_event()) is not None:
                self._take_at_server(event)
        except RemoteProtocolError:
            assert may_be_cut
        self.came_out.extend(self.server.take_surplus())

    def _take_at_server(self, event: ServerEvent) -> None:
        self.seen[type(event).__name__] += 1
        if isinstance(event, Request):
            self._begun_at_server(event)
        elif isinstance(event, Refused):
            self._refused_at_server(event)
        elif isinstance(event, Item):
            call = self.in_flight[event.id]  # type: ignore[index]  # our ids are integers
            assert event.value == [call.id, len(call.came)]
            call.came.append(event.value[1])
        elif isinstance(event, Cancel):
            self.fail(self.in_flight[event.id], CANCELLED)  # type: ignore[index]  # as above
        elif isinstance(event, Credit | End):
            assert event.id in self.in_flight

    def _begun_at_server(self, request: Request) -> None:
        call = self.calls[int(request.id) - 1]
        self.in_flight[call.id] = call
        self.came_out.extend(request.received or ())
        if call.kind == "stream":
            self.server.open_outflow(call.id, request.meta["credit"])
        elif call.kind == "upload":
            self.to_client.write(self.server.open_inflow(call.id, 2, self._parse_item))
            call.granted = 2

    def _refused_at_server(self, refused: Refused) -> None:
        """Nothing of this client's is refused but what comes when the server has no time left."""
        assert refused.error.code == ErrorCode.UNAVAILABLE
        assert isinstance(refused.call, Request)
        self.came_out.extend(refused.call.received or ())
        self.to_client.write(self.server.send_refusal(refused.id, refused.error))

    def _parse_item(self, body: bytes, fds: Sequence[int], head: ItemHead) -> Any:
        value = value_of_item(body, fds, head)
        self.came_out.extend(fds)
        return value

    def pump_client(self, *, may_be_cut: bool = False) -> None:
        try:
            while (event := self.client.next_event()) is not None:
                self._take_at_client(event)
        except RemoteProtocolError:
            assert may_be_cut
        self.came_out.extend(self.client.take_surplus())

    def _take_at_client(self, event: ClientEvent[Call]) -> None:
        self.seen[type(event).__name__] += 1
        if isinstance(event, ReplyReceived):
            event.call.ends["client"] += 1
            if isinstance(event.reply, Failure) and event.reply.error.code != ErrorCode.UNAVAILABLE:
                assert event.reply.error.data["call_id"] == "c"
        elif isinstance(event, ItemReceived):
            assert event.value == [event.call.id, len(event.call.came)]
            event.call.came.append(event.value[1])
        elif isinstance(event, CreditReceived):
            assert event.call.kind == "upload"
        elif isinstance(event, Goaway):
            self.client.drain()

    # --- what must hold -----------------------------------------------------------------------------------------------

    def check(self) -> None:
        for call in self.calls:
            assert max(call.ends.values(), default=0) <= 1
            assert call.sent <= call.granted or call.kind == "plain"
            assert call.came == list(range(len(call.came)))
            assert len(call.came) <= call.sent
        for flows in (self.server._outflows, self.client._outflows):
            assert all(flow.credit >= 0 for flow in flows.values())
        assert all(flow.credit >= 0 for flow, _ in self.server._inflows.values())
        assert all(flow.credit >= 0 for flow in self.client._inflows.values())
        assert set(self.server._outflows) | set(self.server._inflows) <= self.server.in_flight
        assert self.server.in_flight == set(self.in_flight)

    def check_end(self) -> None:
        """Nothing is in flight any more, both ends are closed or have nothing to say to each other."""
        for table in (self.server.in_flight, self.server._outflows, self.server._inflows):
            assert not table
        for call in self.calls:
            assert call.ends["client"] == 1
            assert call.ends["server"] <= 1
        gone = [fd for call in self.calls for fd in call.got_fds]
        assert sorted([*self.came_out, *gone]) == sorted(self.went_in)
