"""A client and a server joined by a wire that cuts the bytes as it likes."""

from collections.abc import Callable
from typing import Any

from superd_client.wire.client import ClientConnection, ClientEvent
from superd_client.wire.envelope import Request
from superd_client.wire.errors import ErrorCode, ErrorObject
from superd_client.wire.limits import FRAME_SIZE_DEFAULT
from superd_client.wire.server import ServerConnection, ServerEvent
from tests.wire.golden import compact, frame
from tests.wire.transcripts import Call

ERROR = ErrorObject(ErrorCode.INTERNAL_ERROR, "m", {"call_id": "c"})


class Wire:
    """A client and a server, and the bytes between them, carried in pieces of `size`."""

    def __init__(self, size: int, frame_limit: int = FRAME_SIZE_DEFAULT) -> None:
        self.client: ClientConnection[Call] = ClientConnection(frame_limit=frame_limit)
        self.server = ServerConnection(frame_limit=frame_limit)
        self._size = size

    def to_server(self, data: bytes) -> list[ServerEvent]:
        return self._carry(data, self.server.receive_data, self.server.next_event)

    def to_client(self, data: bytes) -> list[ClientEvent[Call]]:
        return self._carry(data, self.client.receive_data, self.client.next_event)

    def _carry(self, data: bytes, receive: Callable[[bytes], None], ask: Callable[[], Any]) -> list[Any]:
        events = []
        size = self._size or max(len(data), 1)
        for start in range(0, len(data), size):
            receive(data[start : start + size])
            while (event := ask()) is not None:
                events.append(event)
        return events


def begin(wire: Wire, *labels: str) -> dict[str, int]:
    """Send a call for each label, and let the server take them up."""
    ids = {}
    for label in labels:
        ids[label], data = wire.client.send_request("a.b", b'{"x":1}', Call(label))
        assert wire.to_server(data) == [Request(ids[label], "a.b", {"x": 1})]
    return ids


def reply(**members: object) -> bytes:
    return frame(compact({"jsonrpc": "2.0", **members}))
