"""How the tasks of a loop exchange datagrams with a server: each call has a socket of its own, and nothing is shared."""

import asyncio
from typing import NoReturn

from typing_extensions import override

from superd_client.address import Address, SocketKind
from superd_client.aio_exchange import TaskExchange
from superd_client.aio_link import TaskCall
from superd_client.datagram_call import DatagramCall, no_streams
from superd_client.errors import SuperdError
from superd_client.wire.envelope import Reply


class TaskDatagrams(TaskExchange):
    """What a client uses in the place of a connection, where its address is that of a datagram socket."""

    def __init__(self, address: Address, frame_limit: int) -> None:
        """Belong to no loop yet."""
        super().__init__(address, frame_limit)
        self._calls: set[TaskCall] = set()

    @override
    def close(self) -> None:
        super().close()
        for call in self._calls:
            call.fail(call.lost("the client was closed") if call.sent else call.closed())

    @override
    async def _carry_out(self, call: TaskCall, params: bytes) -> Reply:
        loop = self.loop()
        while True:
            if self.closed:
                raise call.closed()
            with DatagramCall(self._address, call, params, self._frame_limit) as datagrams:
                self._calls.add(call)
                try:
                    await _send(loop, call, datagrams)
                    await _await_reply(loop, call, datagrams)
                finally:
                    self._calls.discard(call)
            if not await self.begins_again(call):
                break
        end = call.end
        if end is None or isinstance(end, SuperdError):
            raise end or call.lost("nothing came of it")
        return end

    @override
    async def send(self, call: TaskCall, params: bytes) -> NoReturn:
        raise no_streams(call, self._address)


async def _send(loop: asyncio.AbstractEventLoop, call: TaskCall, datagrams: DatagramCall) -> None:
    while call.end is None and not datagrams.send():
        gauge = datagrams.gauge().fileno()
        loop.add_writer(gauge, call.stir)
        try:
            await call.wait("the server was full")
        finally:
            loop.remove_writer(gauge)


async def _await_reply(loop: asyncio.AbstractEventLoop, call: TaskCall, datagrams: DatagramCall) -> None:
    if call.end is not None:
        return
    loop.add_reader(datagrams.sock.fileno(), _take_reply, call, datagrams)
    try:
        while call.end is None:
            await call.wait()
    finally:
        loop.remove_reader(datagrams.sock.fileno())


def _take_reply(call: TaskCall, datagrams: DatagramCall) -> None:
    reply = datagrams.receive()
    if reply is not None:
        call.resolve(reply)


def open_exchange(address: Address, frame_limit: int) -> TaskExchange:
    """How to exchange messages with the server at `address`."""
    if address.kind is SocketKind.DATAGRAM:
        return TaskDatagrams(address, frame_limit)
    return TaskExchange(address, frame_limit)
