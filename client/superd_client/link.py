"""One connection of either client: a channel, the protocol on it, and the frames that wait to be written.

Nothing here waits, and nothing here knows threads or a loop. A client reads when there is something to read, writes
when the kernel takes something, and hears of the end of each call by `Call.resolve` and `Call.fail`.
"""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Final

from typing_extensions import override

from superd_client.ancillary import HANGUPS
from superd_client.calls import Call
from superd_client.descriptors import close_all
from superd_client.errors import SuperdError, is_unavailable
from superd_client.flows import Outbox
from superd_client.letters import Letter, call_of
from superd_client.link_writes import CallT, LinkWrites, close_carried
from superd_client.sockets import Channel
from superd_client.wire.client import CreditReceived, ItemReceived, ReplyReceived
from superd_client.wire.connection import PeerClosed
from superd_client.wire.control import Goaway
from superd_client.wire.envelope import Failure, Reply
from superd_client.wire.errors import ErrorCode, RemoteProtocolError
from superd_client.wire.usual import Usual

#: Reads that look for replies after a write found the server gone: more than a socket's buffer holds.
LAST_READS_MAX: Final = 1024


class Link(LinkWrites[CallT]):
    """One connection, from its connect to its loss. It is never repaired: a lost link is replaced by a new one."""

    def __init__(self, channel: Channel, frame_limit: int) -> None:
        """Take over `channel`, which is connected."""
        super().__init__(channel, frame_limit)
        #: Set once nothing more will come or go.
        self.lost = False
        #: Set where the server reads no more, as one does that stops; it may still answer what it has read.
        self.retired = False
        #: Set where the server is going to stop: nothing new begins here, and what has begun goes on.
        self.leaving = False
        #: Set where what was not sent can be sent on another link: the server went without a word.
        self.hung_up = False

    @property
    def calls_in_flight(self) -> int:
        """How many calls wait for a reply."""
        return len(self._calls)

    def check(self) -> bool:
        """Whether calls can begin here. A link that an interrupt (KeyboardInterrupt) left half changed is lost."""
        if self._midway:
            self._is_alive()
        return not (self.lost or self.retired or self.leaving)

    def flush(self) -> bool:
        """Write what the kernel takes; returns whether nothing is left to write. May lose or retire the link."""
        if not self._is_alive():
            return True
        while (error := self._write_all()) is not None:
            if error.errno in HANGUPS or not self._refuse_first(error):
                self._stop_writing(error)
                break
        return self.lost or not self._outgoing

    def receive(self) -> bool:
        """Read once, and hand over the replies that have come; returns whether there was anything. May lose the link."""
        if (self._midway or self.lost) and not self._is_alive():
            return False
        self._midway = True
        found = False
        try:
            found = self.channel.read_to(self)
        except OSError as error:
            self.lose(_broke(error), error, hung_up=True)
        except RemoteProtocolError as error:
            self.lose(f"the server broke the protocol or refused the connection: {error}", error)
        self._midway = False
        return found

    def receive_data(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Take what one read of a stream brought, and own its descriptors; b"" is the end of file.

        The usual is read straight out of it, the rest in the general way.
        """
        if data and not fds:
            if len(self._calls) == 1:
                (call,) = self._calls
                result = self._wire.take_result(data, call.request_id)
                if result is not None:
                    self._calls.discard(call)
                    call.resolve(result)
                    if self.leaving or self.retired:
                        self._close_if_done()
                    return
            usual, end = self._wire.take_usual(data)
            self._take(usual)
            if end == len(data):
                return
            data = data[end:]
        self._wire.receive_data(data, fds)
        self._hand_over()

    def receive_packet(self, data: bytes, fds: Sequence[int] = (), length: int | None = None) -> None:
        """Take one packet, and own its descriptors; `length` is what it had before it was cut to `data`."""
        self._wire.receive_packet(data, fds, length)
        self._hand_over()

    def _take(self, usual: Iterable[Usual[CallT]]) -> None:
        for call, reply, items in usual:
            if reply is not None:
                self._end(call, reply)
            elif call.inbox is not None:
                call.inbox.put(items)
                call.stir()

    def _end(self, call: CallT, reply: Reply) -> None:
        self._calls.discard(call)
        call.resolve(reply)
        if type(reply) is Failure and is_unavailable(reply):
            self.leaving = True
        if self.leaving or self.retired:
            self._close_if_done()

    def withdraw(self, call: CallT, *, cancel: bool = False) -> bool:
        """Give up on `call`; its reply will be discarded. May be repeated.

        With `cancel` the server is told, where it knows of the call. Returns False where the call has not ended and a
        frame of it is written in part: the rest must follow, or the link be lost.
        """
        is_whole = self._drop_frames(call)
        if call not in self._calls:
            return True
        if cancel and (call.sent or not is_whole) and not call.oneway and not self.retired:
            self._outgoing.append((Letter(None), self._wire.send_cancel(call.request_id), None))
        self._wire.abandon(call.request_id)
        self._calls.discard(call)
        self._close_if_done()
        return is_whole

    def lose(self, reason: str, cause: Exception | None = None, *, hung_up: bool = False) -> None:
        """Stop here, and tell every call that waits. May be repeated after an interrupt."""
        if self.lost:
            return
        self.hung_up = self.hung_up or hung_up
        for call in tuple(self._calls):
            error = call.lost(reason) if call.sent else _unsent(call, reason, cause)
            error.__cause__ = cause
            call.fail(error)
            self._calls.discard(call)
        close_carried(self._outgoing)
        self._outgoing.clear()
        self._wire.close()
        close_all(self._wire.take_surplus())
        self.end_channel()
        self.lost = True

    @abstractmethod
    def end_channel(self) -> None:
        """Shut the channel down; close it as soon as nobody waits on it."""

    def _refuse_first(self, error: OSError) -> bool:
        """End the call whose frame the kernel refused for its descriptors; returns False where there were none."""
        owner, _, carried = self._outgoing[0]
        if carried is None:
            return False
        call = next((call for call in self._calls if call is call_of(owner)), None)
        if call is None:  # an item of an upload that has ended
            close_carried([self._outgoing.popleft()])
        else:
            self.withdraw(call, cancel=True)
            call.fail(call.unsendable(f"its descriptors cannot be passed: {error.strerror}", error))
        return True

    def _hand_over(self) -> None:
        while (event := self._wire.next_event()) is not None:
            if isinstance(event, ReplyReceived):
                self._end(event.call, event.reply)
            elif isinstance(event, ItemReceived):
                self._take([(event.call, None, [event.value])])
            elif isinstance(event, CreditReceived):
                event.call.stir()
            elif isinstance(event, Goaway):
                self.leaving = True
                self._close_if_done()
            elif isinstance(event, PeerClosed):
                self.lose("the server closed the connection", hung_up=True)
                break
        close_all(self._wire.take_surplus())

    def _is_alive(self) -> bool:
        if self._midway:
            for owner, _, _ in self._outgoing:
                owner.sent = True  # perhaps: the kernel may have taken more than was noted
            self.lose("a thread was interrupted while it read or wrote")
            self._midway = False
        return not self.lost

    @override
    def _stop_writing(self, error: OSError) -> None:
        """Deal with a server that reads no more.

        What it said before may tell why, and a stopping server still answers the calls that it has read: so the
        link stays for them, and the calls that are not sent go elsewhere.
        """
        for _ in range(LAST_READS_MAX):
            if not self.receive():
                break
        if self.lost:
            return
        self.retired = self.hung_up = True
        close_carried(self._outgoing)
        self._outgoing.clear()
        for call in [call for call in self._calls if not call.sent]:
            self._wire.abandon(call.request_id)
            self._calls.discard(call)
            call.fail(_unsent(call, _broke(error), error))
        for call in [call for call in self._calls if isinstance(call.flow, Outbox) and not call.flow.ended]:
            self._wire.abandon(call.request_id)
            self._calls.discard(call)
            call.fail(call.lost(_broke(error)))
        self._close_if_done()

    def _close_if_done(self) -> None:
        if (self.retired or self.leaving) and not self._calls:
            self.lose("the server is stopping")


def state_name(link: Link[CallT] | None, *, closed: bool) -> str:
    """What the text of a client says of its connection."""
    if closed:
        return "closed"
    return "unconnected" if link is None or link.lost else "connected"


def _broke(error: OSError) -> str:
    return f"the connection broke: {error.strerror}"


def _unsent(call: Call, reason: str, cause: Exception | None) -> SuperdError:
    """The exception for a call that the link was lost under: no server carries out a frame without its end."""
    error = cause.error if isinstance(cause, RemoteProtocolError) else None
    # The frame meant may also be that of another call, or a reply over our own limit: its length tells.
    if error and error.code == ErrorCode.FRAME_TOO_LARGE and error.data.get("length") == call.size:
        return call.too_large(str(cause))
    return call.unconnected(f"{reason}, before the call was sent")
