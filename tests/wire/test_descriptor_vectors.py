"""Runs the golden vectors of descriptors beside frames, and of packets."""

from typing import Any

from superd_client.wire.connection import PeerClosed
from superd_client.wire.envelope import Request
from superd_client.wire.errors import ErrorObject, RemoteProtocolError
from superd_client.wire.limits import HEADER_SIZE
from superd_client.wire.server import Refused, ServerConnection, ServerEvent
from tests.wire.golden import Vector, every


class Seen:
    """What a server makes of what comes, in the words of the vectors."""

    def __init__(self, server: ServerConnection) -> None:
        self.server = server
        self.messages: list[tuple[str, Any, list[int]]] = []
        self.closed: list[int] = []

    def ask(self) -> None:
        try:
            while (event := self.server.next_event()) is not None:
                self._note(event)
        except RemoteProtocolError as lost:
            self.messages.append(("lost", lost.error, []))
        self.closed.extend(self.server.take_surplus())

    def _note(self, event: ServerEvent) -> None:
        if isinstance(event, Request):
            self.messages.append(("request", event.id, list(event.received or ())))
        elif isinstance(event, Refused):
            self.messages.append(("refused", (event.id, event.error), []))
        else:
            assert isinstance(event, PeerClosed)
            self.messages.append(("closed", True, []))


def check(seen: tuple[str, Any, list[int]], expect: dict[str, Any]) -> None:
    kind, value, fds = seen
    assert kind in expect
    if kind == "refused":
        request_id, error = value
        assert request_id == expect["refused"]["id"]
        check_error(error, expect["refused"]["code"], expect["refused"].get("data", {}))
    elif kind == "lost":
        check_error(value, expect["lost"], {})
    else:
        assert value == expect[kind]
    wanted = expect.get("fds", [])
    assert len(fds) == wanted if isinstance(wanted, int) else fds == wanted


def check_error(error: ErrorObject, code: int | list[int], data: dict[str, Any]) -> None:
    assert error.code in (code if isinstance(code, list) else [code])
    assert {name: error.data.get(name) for name in data} == data


def play(vector: Vector, *, ask_each_time: bool) -> tuple[Seen, int]:
    seen = Seen(ServerConnection(frame_limit=vector.frame_limit))
    came = 0
    for notation, count in vector.case["reads"]:
        seen.server.receive_data(vector.data(notation), range(came, came + count))
        came += count
        if ask_each_time:
            seen.ask()
    seen.ask()
    return seen, came


@every("descriptors.json")
def test_descriptors_are_paired_with_frames(vector: Vector) -> None:
    for ask_each_time in (True, False):
        seen, came = play(vector, ask_each_time=ask_each_time)
        expect = vector.case["expect"]
        for message, wanted in zip(seen.messages, expect["messages"], strict=True):
            check(message, wanted)
        closed = expect["closed"]
        assert len(seen.closed) == closed if isinstance(closed, int) else sorted(seen.closed) == closed
        handed = [fd for _, _, fds in seen.messages for fd in fds]
        assert sorted(handed + seen.closed) == list(range(came))


@every("packets.json")
def test_packets(vector: Vector) -> None:
    seen = Seen(ServerConnection(frame_limit=vector.frame_limit, packets=True))
    kept = HEADER_SIZE + vector.frame_limit
    for notation in vector.case["packets"]:
        packet = vector.data(notation)
        seen.server.receive_packet(packet[:kept], (), len(packet))
        seen.ask()
    if vector.case.get("eof"):
        seen.server.receive_data(b"")
        seen.ask()
    for message, wanted in zip(seen.messages, vector.case["expect"], strict=True):
        check(message, wanted)
