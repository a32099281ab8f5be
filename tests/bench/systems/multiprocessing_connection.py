"""multiprocessing.connection: pickles over a Unix socket, a thread for each connection. Nothing is validated."""

import threading
from collections.abc import Callable
from multiprocessing.connection import Client, Connection, Listener
from typing import Any, Final

from typing_extensions import override

from tests.bench.client import Blocking
from tests.bench.payload import ITEM_SKU, POOL, Params, answer, exchanges, expect

LOOKUP, NOTE, NOTED, WATCH = range(4)


def serve(address: str, ready: Callable[[], None]) -> None:
    """Accept for ever."""
    with Listener(address, "AF_UNIX", backlog=1024) as listener:
        ready()
        while True:
            threading.Thread(target=_answer, args=(listener.accept(),), daemon=True).start()


def _answer(connection: "Connection[Any, Any]") -> None:
    notes: list[Params] = []
    try:
        while True:
            kind, params = connection.recv()
            if kind == LOOKUP:
                connection.send(answer(params))
            elif kind == NOTE:
                notes.append(params)
            elif kind == NOTED:
                connection.send(len(notes))
                notes.clear()
            else:
                for number in range(params):
                    connection.send((number, ITEM_SKU))
    except (EOFError, ConnectionError):
        connection.close()


class Multiprocessing(Blocking["Connection[Any, Any]"]):
    """`Client` of that module."""

    split = True

    def __init__(self, address: str, size: int) -> None:
        super().__init__(address, size)
        self._exchanges: Final = exchanges(size)

    @override
    def connect(self) -> "Connection[Any, Any]":
        return Client(self.address, "AF_UNIX")

    @override
    def disconnect(self, connection: "Connection[Any, Any]") -> None:
        connection.close()

    @override
    def call(self, connection: "Connection[Any, Any]", number: int) -> None:
        params, item = self._exchanges[number % POOL]
        connection.send((LOOKUP, params))
        expect(number, connection.recv(), item)

    @override
    def send(self, connection: "Connection[Any, Any]", number: int) -> None:
        connection.send((LOOKUP, self._exchanges[number % POOL].params))

    @override
    def receive(self, connection: "Connection[Any, Any]", number: int) -> None:
        expect(number, connection.recv(), self._exchanges[number % POOL].item)

    @override
    def stream(self, items: int) -> None:
        connection = self.all[0]
        connection.send((WATCH, items))
        for number in range(items):
            expect(number, connection.recv(), (number, ITEM_SKU))

    @override
    def one_way(self, calls: int) -> None:
        connection, params = self.all[0], self._exchanges[0].params
        for _ in range(calls):
            connection.send((NOTE, params))
        connection.send((NOTED, None))
        expect(calls, connection.recv(), calls)
