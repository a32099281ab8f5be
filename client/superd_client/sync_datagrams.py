"""How threads exchange datagrams with a server: each call has a socket of its own, and nothing is shared."""

import select
from time import sleep
from typing import NoReturn

from typing_extensions import override

from superd_client.address import SocketKind
from superd_client.datagram_call import DatagramCall, no_streams
from superd_client.dialing import Destination, Dial
from superd_client.errors import ConnectFailed, SuperdError
from superd_client.sockets import WAIT_MAX
from superd_client.sync_exchange import ThreadExchange
from superd_client.sync_link import ThreadCall
from superd_client.wire.envelope import Reply


class ThreadDatagrams(ThreadExchange):
    """What a client uses in the place of a connection, where its address is that of a datagram socket."""

    #: The calls that are under way in this process.
    _open: frozenset[DatagramCall] = frozenset()

    @override
    def _settle(self) -> None:
        super()._settle()
        calls, self._open = self._open, frozenset()
        for call in calls:
            call.close()  # in a forked child they are the parent's threads'

    @override
    def close(self) -> None:
        super().close()
        with self.mutex:
            for call in self._open:
                call.wake()

    @override
    def carry_out(self, call: ThreadCall, params: bytes) -> Reply:
        try:
            return self._carry_out(call, params)
        except BaseException:
            call.discard()
            raise

    def _carry_out(self, call: ThreadCall, params: bytes) -> Reply:
        while True:
            with self._open_call(call, params) as datagrams:
                try:
                    self._register(call, datagrams)
                    self._send(call, datagrams)
                    self._await_reply(call, datagrams)
                finally:
                    with self.mutex:
                        self._open -= {datagrams}
            if not self.begins_again(call):
                break
        end = call.end
        if end is None or isinstance(end, SuperdError):
            raise end or call.lost("nothing came of it")
        return end

    @override
    def send(self, call: ThreadCall, params: bytes) -> NoReturn:
        raise no_streams(call, self._destination.address)

    def _open_call(self, call: ThreadCall, params: bytes) -> DatagramCall:
        return DatagramCall(self._destination.address, call, params, self._destination.frame_limit)

    def _register(self, call: ThreadCall, datagrams: DatagramCall) -> None:
        with self.mutex:
            if self.closed:
                raise call.closed()
            self._open |= {datagrams}

    def _send(self, call: ThreadCall, datagrams: DatagramCall) -> None:
        dial = Dial(call, self._destination)
        while True:
            try:
                if datagrams.send():
                    return
                room = select.poll()
                room.register(datagrams.gauge(), select.POLLOUT)
                room.poll(min(call.time_left("the server was full"), WAIT_MAX) * 1000)
            except ConnectFailed as failed:
                sleep(dial.pause_after(failed))
            if self.closed:
                raise call.closed()

    def _await_reply(self, call: ThreadCall, datagrams: DatagramCall) -> None:
        readable = select.poll()
        readable.register(datagrams.sock, select.POLLIN)
        while call.end is None:
            readable.poll(min(call.time_left(), WAIT_MAX) * 1000)
            reply = datagrams.receive()
            if reply is not None:
                call.resolve(reply)
            elif self.closed:
                raise call.lost("the client was closed")


def open_exchange(destination: Destination) -> ThreadExchange:
    """How to exchange messages with a server."""
    if destination.address.kind is SocketKind.DATAGRAM:
        return ThreadDatagrams(destination)
    return ThreadExchange(destination)
