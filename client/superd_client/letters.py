"""The frames that do not begin a call."""

from typing import Final

from superd_client.calls import Call


class Letter:
    """A frame that does not begin a call: an item or a credit of `call`, or, where that is None, a cancellation."""

    __slots__ = ("call", "sent")

    #: That it is sent is told to its call.
    tells_sent: Final = True

    def __init__(self, call: Call | None) -> None:
        """Begin unsent."""
        self.call: Final = call
        self.sent = False

    def mark_sent(self) -> None:
        """Note that the whole of it has gone to the kernel."""
        self.sent = True
        if self.call is not None:
            self.call.stir()


def call_of(owner: Call | Letter) -> Call | None:
    """The call that a frame is of."""
    return owner.call if isinstance(owner, Letter) else owner
