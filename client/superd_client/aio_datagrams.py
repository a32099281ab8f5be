"""How the tasks of a loop exchange datagrams with a server: each call has a socket of its own, and nothing is shared."""

import asyncio
from typing import NoReturn

from typing_extensions import override

from superd_client.address import SocketKind
from superd_client.aio_exchange import TaskExchange
from superd_client.aio_link import TaskCall
from superd_client.datagram_call import DatagramCall, no_streams
from superd_client.dialing import Destination, Dial
from superd_client.errors import ConnectFailed, SuperdError
from superd_client.wire.envelope import Reply


class TaskDatagrams(TaskExchange):
    """What a client uses in the place of a connection, where its address is that of a datagram socket."""

    #: The calls that are under way in this process.
    _calls: dict[TaskCall, DatagramCall] = {}  # noqa: RUF012 - each has its own

    @override
    def _settle(self) -> None:
        super()._settle()
        calls, self._calls = self._calls, {}
        for datagrams in calls.values():
            datagrams.close()  # in a forked child they are the parent's tasks'

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
            with self._open_call(call, params) as datagrams:
                self._calls[call] = datagrams
                try:
                    await self._send(loop, call, datagrams)
                    await _await_reply(loop, call, datagrams)
                finally:
                    self._calls.pop(call, None)
            if not await self.begins_again(call):
                break
        end = call.end
        if end is None or isinstance(end, SuperdError):
            raise end or call.lost("nothing came of it")
        return end

    @override
    async def send(self, call: TaskCall, params: bytes) -> NoReturn:
        raise no_streams(call, self._destination.address)

    def _open_call(self, call: TaskCall, params: bytes) -> DatagramCall:
        return DatagramCall(self._destination.address, call, params, self._destination.frame_limit)

    async def _send(self, loop: asyncio.AbstractEventLoop, call: TaskCall, datagrams: DatagramCall) -> None:
        dial = Dial(call, self._destination)
        while call.end is None:
            try:
                if datagrams.send():
                    return
                gauge = datagrams.gauge().fileno()
            except ConnectFailed as failed:
                await asyncio.sleep(dial.pause_after(failed))
                continue
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


def open_exchange(destination: Destination) -> TaskExchange:
    """How to exchange messages with a server."""
    if destination.address.kind is SocketKind.DATAGRAM:
        return TaskDatagrams(destination)
    return TaskExchange(destination)
