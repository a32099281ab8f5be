"""What a server of these tests does with streams and uploads."""

import contextlib
from collections.abc import Callable
from typing import Any

from superd_client.wire.control import Cancel, Credit, End
from superd_client.wire.envelope import Request
from superd_client.wire.errors import ErrorObject
from superd_client.wire.server import Item
from tests.client.models import load, watch
from tests.client.server import Peer


def open_stream(peer: Peer) -> Request:
    request = peer.expect()
    peer.open_stream(request)
    return request


def open_upload(peer: Peer, credit: int) -> Request:
    request = peer.expect()
    peer.open_upload(request, credit)
    return request


def serve_numbers(count: int) -> Callable[[Peer], None]:
    """A script that answers one stream with so many numbers, and then echoes."""

    def script(peer: Peer) -> None:
        request = open_stream(peer)
        for number in range(count):
            peer.send_item(request, number)
        peer.answer(request, None)
        peer.echo()

    return script


def receive_items(peer: Peer, request: Request, credit: int) -> list[Any]:
    """All items up to the end; credit is given again when it is used up."""
    items = []
    while not isinstance(event := peer.next_event(), End):
        assert isinstance(event, Item)
        assert event.id == request.id
        items.append(event.value)
        if len(items) % credit == 0:
            peer.give_credit(request, credit)
    return items


def serve_all(peer: Peer) -> None:
    """Streams that never end, uploads that take all, and echoes, all at once, until the client goes."""
    streams: dict[Any, Request] = {}
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while True:
            for request in streams.values():
                while peer.wire.credit(request.id):
                    peer.send(peer.wire.send_item(request.id, b"1"))
            event = peer.next_event()
            if isinstance(event, Request) and event.method == watch.name:
                peer.open_stream(event)
                streams[event.id] = event
            elif isinstance(event, Request) and event.method == load.name:
                peer.open_upload(event, 4)
            elif isinstance(event, Request):
                peer.answer(event, event.params)
            elif isinstance(event, Cancel):
                streams.pop(event.id, None)
                peer.send(peer.wire.send_failure(event.id, ErrorObject(-32004, "cancelled", {})))
            elif isinstance(event, Item):
                peer.send(peer.wire.send_credit(event.id, 1))
            elif not isinstance(event, Credit):
                return
