"""What goes out on a link for a call that has begun: credit for a stream, the items and the end of an upload.

Streams and uploads look the same to both clients up to here; nothing waits.
"""

from typing import Any

from superd_client.ancillary import Attachment
from superd_client.flows import NOTHING, Outbox
from superd_client.letters import Letter
from superd_client.link import Link
from superd_client.link_writes import CallT
from superd_client.wire.framing import FrameTooLarge


class FlowLink(Link[CallT]):
    """A link whose calls may be streams and uploads. What is queued here `flush` writes."""

    def take_item(self, call: CallT) -> Any:
        """The oldest item of a stream, or NOTHING; queues the credit that is due."""
        if call.inbox is None:
            return NOTHING
        item = call.inbox.take()
        credit = call.inbox.due() if item is not NOTHING else 0
        if credit and self._may_send(call):
            self._midway = True
            self._outgoing.append((Letter(call), self._wire.send_credit(call.request_id, credit), None))
            self._midway = False
        return item

    def takes_item(self, call: CallT) -> bool:
        """Whether the next item of an upload can be sent now: the call goes on, and there is credit."""
        return self._may_send(call) and self._wire.credit(call.request_id) > 0

    def send_item(self, call: CallT, item: bytes, carried: Attachment | None = None) -> Letter:
        """Queue an item of an upload that `takes_item`, with descriptors that are closed in any case.

        Raises MessageTooLarge.
        """
        letter = Letter(call)
        fds = len(carried.fds) if carried is not None else 0
        self._midway = True
        try:
            frame = self._wire.send_item(call.request_id, item, fds)
        except FrameTooLarge as error:
            self._midway = False
            if carried is not None:
                carried.close()
            raise call.too_large(self.channel.explain_too_large(error)) from error
        self._outgoing.append((letter, frame, carried))
        if isinstance(call.flow, Outbox):
            call.flow.sent += 1
        self._midway = False
        return letter

    def send_end(self, call: CallT) -> None:
        """Queue the end of an upload, once."""
        if isinstance(call.flow, Outbox) and not call.flow.ended and self._may_send(call):
            self._outgoing.append((Letter(call), self._wire.send_end(call.request_id), None))
            call.flow.ended = True

    def _may_send(self, call: CallT) -> bool:
        return self._is_alive() and call in self._calls and not self.retired
