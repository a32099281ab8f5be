"""pyzmq with JSON: a ROUTER and DEALERs over ipc, blocking. Nothing is validated."""

import json
from collections.abc import Callable
from typing import Any, Final

import zmq
from typing_extensions import override

from tests.bench.client import Blocking
from tests.bench.payload import ITEM_SKU, POOL, answer, encode, exchanges, expect

LOOKUP, NOTE, NOTED, WATCH = b"l", b"n", b"c", b"w"


def serve(address: str, ready: Callable[[], None]) -> None:
    """Answer for ever; a message is the sender, the kind, and JSON."""
    context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, 20_000)
    router = context.socket(zmq.ROUTER)
    router.set_hwm(0)
    router.bind(f"ipc://{address}")
    ready()
    notes = 0
    while True:
        sender, kind, body = router.recv_multipart()
        params = json.loads(body)
        if kind == LOOKUP:
            router.send_multipart([sender, encode(answer(params))])
        elif kind == NOTE:
            notes += 1
        elif kind == NOTED:
            router.send_multipart([sender, encode(notes)])
            notes = 0
        else:
            for number in range(params):
                router.send_multipart([sender, encode([number, ITEM_SKU])])


class Pyzmq(Blocking["zmq.Socket[Any]"]):
    """DEALER sockets."""

    split = True

    def __init__(self, address: str, size: int) -> None:
        super().__init__(address, size)
        self._exchanges: Final = exchanges(size)
        self._context: Final = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, 20_000)

    @override
    def connect(self) -> "zmq.Socket[Any]":
        dealer = self._context.socket(zmq.DEALER)
        dealer.set_hwm(0)
        dealer.connect(f"ipc://{self.address}")
        return dealer

    @override
    def disconnect(self, connection: "zmq.Socket[Any]") -> None:
        connection.close(linger=0)

    @override
    def call(self, connection: "zmq.Socket[Any]", number: int) -> None:
        self.send(connection, number)
        self.receive(connection, number)

    @override
    def send(self, connection: "zmq.Socket[Any]", number: int) -> None:
        connection.send_multipart([LOOKUP, encode(self._exchanges[number % POOL].params)])

    @override
    def receive(self, connection: "zmq.Socket[Any]", number: int) -> None:
        expect(number, json.loads(connection.recv()), self._exchanges[number % POOL].item)

    @override
    def stream(self, items: int) -> None:
        connection = self.all[0]
        connection.send_multipart([WATCH, encode(items)])
        for number in range(items):
            expect(number, json.loads(connection.recv()), [number, ITEM_SKU])

    @override
    def one_way(self, calls: int) -> None:
        connection, params = self.all[0], self._exchanges[0].params
        for _ in range(calls):
            connection.send_multipart([NOTE, encode(params)])
        connection.send_multipart([NOTED, b"0"])
        expect(calls, json.loads(connection.recv()), calls)
