"""The frames of a link that go out: begun, queued, and written as far as the kernel takes them. Nothing here waits."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Final, Generic, TypeAlias, TypeVar

from superd_client.ancillary import Attachment
from superd_client.calls import Call
from superd_client.letters import Letter, call_of
from superd_client.sockets import Channel
from superd_client.wire.client import ClientConnection
from superd_client.wire.framing import FrameTooLarge
from superd_client.wire.limits import HEADER_SIZE

CallT = TypeVar("CallT", bound=Call)

#: A frame that waits, or what is left of it, with what it is of; its descriptors until they are sent with its first byte.
Waiting: TypeAlias = tuple[CallT | Letter, bytes | memoryview, Attachment | None]


class LinkWrites(ABC, Generic[CallT]):
    """A channel, the protocol on it, and the frames that wait to be written."""

    def __init__(self, channel: Channel, frame_limit: int) -> None:
        """Take over `channel`, which is connected."""
        self.channel: Final = channel
        #: The largest body in bytes that is taken.
        self.frame_limit: Final = frame_limit
        #: Set while the parts below change: set afterwards, it says that an interrupt has left them half changed.
        self._midway = False
        # Not ClientConnection[CallT](...), which takes as long again.
        self._wire: Final[ClientConnection[CallT]] = ClientConnection(
            frame_limit=frame_limit, packets=channel.packets
        )
        self._wire.send_limit = min(frame_limit, channel.frame_max)
        self._outgoing: deque[Waiting[CallT]] = deque()
        self._calls: Final[set[CallT]] = set()

    @property
    def has_unwritten(self) -> bool:
        """Whether frames wait for the kernel to take them."""
        return bool(self._outgoing)

    def begin(self, call: CallT, params: bytes, carried: Attachment | None = None) -> None:
        """Queue the frame of `call`, with descriptors that are closed in any case; raises MessageTooLarge."""
        self._midway = True
        self._outgoing.append((call, self._begin(call, params, carried), carried))
        self._midway = False

    def begin_at_once(self, call: CallT, params: bytes) -> bool:
        """Begin a usual call where all is well and nothing waits to be written: write its frame straight away.

        Returns whether all of it has gone. What has not is queued, as by `begin`; the link may be lost or retired.
        """
        self._midway = True
        frame = self._frame_usual(call, params)
        self._calls.add(call)
        written, failure = 0, None
        try:
            written = self.channel.send_frame(frame)
        except OSError as error:
            failure = error
        if written == len(frame):
            call.sent = True
        else:
            call.size = len(frame) - HEADER_SIZE
            self._outgoing.append((call, memoryview(frame)[written:] if written else frame, None))
        self._midway = False
        if failure is not None:
            self._stop_writing(failure)
        return call.sent

    def _begin(self, call: CallT, params: bytes, carried: Attachment | None) -> bytes:
        """The frame of `call`, which waits for what is sent for it from now on. Ends being midway where it raises."""
        if call.usual and carried is None:
            frame = self._frame_usual(call, params)
        else:
            frame = self._frame(call, params, carried)
        call.size = len(frame) - HEADER_SIZE
        self._calls.add(call)
        return frame

    def _frame_usual(self, call: CallT, params: bytes) -> bytes:
        try:
            call.request_id, frame = self._wire.send_usual(
                call.method.head, params, call, call.call_id, round(call.deadline * 1_000_000)
            )
        except FrameTooLarge as error:
            self._midway = False
            raise call.too_large(self.channel.explain_too_large(error)) from error
        return frame

    def _frame(self, call: CallT, params: bytes, carried: Attachment | None) -> bytes:
        fds = 0 if carried is None else len(carried.fds)
        try:
            if call.oneway:
                return self._wire.send_notification(
                    call.method.name, params, call.call_id, fds=fds, **call.meta()
                )
            call.request_id, frame = self._wire.send_request(
                call.method.name, params, call, call.call_id, fds=fds, **call.meta()
            )
        except FrameTooLarge as error:
            self._midway = False
            if carried is not None:
                carried.close()
            raise call.too_large(self.channel.explain_too_large(error)) from error
        if call.flow is not None:
            call.flow.open(self._wire, call.request_id)
        return frame

    def _write_all(self) -> OSError | None:
        """Write until nothing is left or the kernel takes no more; returns what it raised."""
        self._midway = True
        failure = None
        try:
            while self._outgoing and self._write_once():
                pass
        except OSError as error:
            failure = error
        self._midway = False
        return failure

    def _write_once(self) -> bool:
        """Write once; returns whether the kernel may take more."""
        outgoing = self._outgoing
        _, frame, carried = outgoing[0]
        if carried is not None:
            written = self._write_carrying(frame, carried)
        else:
            written = self.channel.send([frame] if len(outgoing) == 1 else self._gather())
        if not written:
            return False
        while written:
            call, frame, _ = outgoing[0]
            if written < len(frame):
                outgoing[0] = call, memoryview(frame)[written:], None
                return False
            written -= len(frame)
            call.sent = True
            if call.tells_sent:
                call.mark_sent()
            outgoing.popleft()
        return True

    def _gather(self) -> list[bytes | memoryview]:
        """What one write may hold: the first frames, up to one that has descriptors and so a write of its own."""
        frames = []
        for _, frame, carried in islice(self._outgoing, self.channel.gather_max):
            if carried is not None:
                break
            frames.append(frame)
        return frames

    def _write_carrying(self, frame: bytes | memoryview, carried: Attachment) -> int:
        """Write what the kernel takes of the first frame, its descriptors with the first byte; the number of bytes."""
        written = self.channel.send_carrying(frame, carried.fds)
        if written:
            carried.close()
        return written

    def _drop_frames(self, call: CallT) -> bool:
        """Write no more for `call`; returns False where a frame of it is written in part, which stays."""
        if not self._outgoing or (call.sent and call.flow is None):
            return True
        first = self._outgoing[0]
        is_whole = not (isinstance(first[1], memoryview) and call_of(first[0]) is call)
        kept = [entry for entry in self._outgoing if call_of(entry[0]) is not call]
        close_carried(entry for entry in self._outgoing if call_of(entry[0]) is call)
        self._outgoing = deque(kept if is_whole else [first, *kept])
        return is_whole

    @abstractmethod
    def _stop_writing(self, error: OSError) -> None:
        """Deal with a server that reads no more."""


def close_carried(entries: Iterable[Waiting[CallT]]) -> None:
    """Give up the descriptors of frames that will not be written."""
    for _, _, carried in entries:
        if carried is not None:
            carried.close()
