"""What the serving end of a datagram socket knows of calls, and what it asks of whoever carries them out."""

import asyncio
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from superd_client.datagrams import Credentials, Datagram, Sender
from superd_client.wire.envelope import Notification, Request, RequestId
from superd_client.wire.errors import ErrorObject
from superd_client.wire.server import ServerConnection

Message: TypeAlias = Request | Notification
CallerT = TypeVar("CallerT")


class Host(Protocol[CallerT]):
    """Who carries calls out, and tells of what became of them."""

    def identify(self, credentials: Credentials) -> CallerT:
        """Who sent a datagram."""

    def call_id(self, message: Message | None) -> str:
        """The id that the caller gave, or a new one."""

    def is_stream(self, method: str) -> bool:
        """Whether this is the name of a stream or an upload."""

    def screen(self, message: Message, caller: CallerT) -> Message:
        """The message as it may go on: where its caller may not, its params are the error to answer with."""

    async def carry_out(self, message: Message, caller: CallerT, call_id: str) -> bytes | ErrorObject:
        """Run the handler; its result as JSON, or the error to answer with. Never raises but CancelledError."""

    def answered(self, task: asyncio.Task[Any]) -> None:
        """Note that the call which runs in `task` was answered by the serving end, which cancels it now."""

    def failed(
        self, error: ErrorObject, message: Message | None, caller: CallerT, call_id: str
    ) -> ErrorObject:
        """Note a call that has no result; the error as the caller is to see it."""

    def not_served(self, error: ErrorObject, message: Message, caller: CallerT, call_id: str) -> ErrorObject:
        """The same for one whose result cannot be sent."""

    def reply_received(self, body: bytes, caller: CallerT) -> None:
        """Take a message that answers something. It is never answered itself: two servers would go on for ever."""

    def datagram_dropped(self, datagram: Datagram, reason: str) -> None:
        """Note a datagram that nobody can be held to."""

    def reply_dropped(self, call: "DatagramCall[CallerT]", reason: str) -> None:
        """Note a reply that cannot be delivered."""

    def read_failed(self, error: OSError) -> None:
        """Note that the socket could not be read; it is tried again."""


class Correspondent:
    """One sender's address, while calls from there run. Each call without an address has one of its own."""

    __slots__ = ("calls", "connection", "sender")

    def __init__(self, sender: Sender, connection: ServerConnection) -> None:
        self.sender: Final = sender
        self.connection: Final = connection
        self.calls: Final[dict[RequestId, Work[Any]]] = {}


class DatagramCall(NamedTuple, Generic[CallerT]):
    """What was read: from whom, and until when its reply may wait (the loop's time). `message` is None for no call."""

    peer: Correspondent
    message: Message | None
    caller: CallerT
    credentials: Credentials
    call_id: str
    deadline: float

    @property
    def sender(self) -> Sender:
        """Where it came from, and its reply goes."""
        return self.peer.sender


class Work(Generic[CallerT]):
    """A call that runs. It is answered once: by its handler, or before that, when it is cancelled."""

    __slots__ = ("answered", "call", "message", "task", "timer")

    def __init__(self, call: DatagramCall[CallerT], message: Message) -> None:
        self.call: Final = call
        self.message: Final = message
        self.answered = False
        self.timer: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None
