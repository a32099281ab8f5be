"""How threads exchange datagrams with a server: each call has a socket of its own, and nothing is shared."""

import select
from typing import NoReturn

from typing_extensions import override

from superd_client.address import Address, SocketKind
from superd_client.datagram_call import DatagramCall, no_streams
from superd_client.errors import SuperdError
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
            with DatagramCall(self._address, call, params, self._frame_limit) as datagrams:
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
        raise no_streams(call, self._address)

    def _register(self, call: ThreadCall, datagrams: DatagramCall) -> None:
        with self.mutex:
            if self.closed:
                raise call.closed()
            self._open |= {datagrams}

    def _send(self, call: ThreadCall, datagrams: DatagramCall) -> None:
        while not datagrams.send():
            room = select.poll()
            room.register(datagrams.gauge(), select.POLLOUT)
            room.poll(min(call.time_left("the server was full"), WAIT_MAX) * 1000)
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


def open_exchange(address: Address, frame_limit: int) -> ThreadExchange:
    """How to exchange messages with the server at `address`."""
    if address.kind is SocketKind.DATAGRAM:
        return ThreadDatagrams(address, frame_limit)
    return ThreadExchange(address, frame_limit)
