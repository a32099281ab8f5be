"""What usually comes from a server: replies and items as a superd writes them, whole, one behind the other in one read.

They are cut straight out of the read, and of the messages what their contract says is read, once: around it each byte
is as it always is. Wherever anything is unusual this stops, before the message, and the general way reads on from
there; it is what decides. A property test shows that both come to the same.
"""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from superd_client.wire.control import ItemHead, number_at
from superd_client.wire.envelope import Reply, RequestId, Result, new_result
from superd_client.wire.errors import RemoteProtocolError
from superd_client.wire.limits import HEADER_SIZE
from superd_client.wire.streams import Inflow


class PendingCall(Protocol):
    """What a client keeps for a call that waits; it reads what is sent for it, and owns the descriptors then."""

    @property
    def read_result(self) -> Callable[[bytes], Any] | None:
        """Reads the JSON of a result, and raises anything but for one that `decode` reads as the same; may be None."""

    @property
    def read_item(self) -> Callable[[bytes], Any] | None:
        """Reads the JSON of an item in the same way."""

    def decode(self, body: bytes, fds: Sequence[int], /) -> Reply:
        """Read a reply; raises MessageRefused, and owns nothing then."""

    def decode_item(self, body: bytes, fds: Sequence[int], head: ItemHead, /) -> Any:
        """Read the item that `head` announces, or return a Mismatch.

        Raises MessageRefused, and owns nothing then; after ItemRefused the descriptors are closed.
        """


CallT = TypeVar("CallT", bound=PendingCall)

#: A call, its reply, and, where that is None, items of it.
Usual: TypeAlias = tuple[CallT, Reply | None, list[Any]]

#: How every reply and every item of a superd begins.
REPLY_HEAD: Final = b'{"jsonrpc":"2.0","id":'
ITEM_HEAD: Final = b'{"jsonrpc":"2.0","method":"rpc.item","params":{"id":'

_NO_ITEMS: Final[list[Any]] = []


def read_result(data: bytes, start: int, stop: int, call: PendingCall, number: int) -> Result | None:
    """The result of `call`, which has this id, if that is what `data` holds from `start` to `stop`, written as usual."""
    head = b'{"jsonrpc":"2.0","id":%d,"result":' % number
    if call.read_result is None or not data.startswith(head, start) or not data.startswith(b"}", stop - 1):
        return None
    try:
        return new_result((number, call.read_result(data[start + len(head) : stop - 1])))
    except Exception:  # noqa: BLE001 - the general way comes to it once more, and says what it is
        return None


def cut_usual(
    data: bytes,
    limit: int,
    pending: MutableMapping[RequestId, CallT],
    inflows: Mapping[RequestId, Inflow],
) -> tuple[list[Usual[CallT]], int]:
    """What the head of `data`, where a frame begins, brings to the calls that are `pending`, and where the rest begins.

    A call that has its reply is pending no more.
    """
    found: list[Usual[CallT]] = []
    position, end = 0, len(data)
    while end - position > HEADER_SIZE:
        start = position + HEADER_SIZE
        if not data.startswith(REPLY_HEAD, start):
            items, stop = _cut_items(data, position, limit, pending, inflows)
            if items is None:
                break
            found.append(items)
        else:
            stop = start + int.from_bytes(data[position:start], "big")
            number = number_at(data, start + len(REPLY_HEAD))
            call = pending.get(number)
            if call is None or stop > end or stop - start > limit:
                break
            reply = read_result(data, start, stop, call, number) or _read_reply(
                data[start:stop], call, number
            )
            if reply is None:
                break
            del pending[number]
            found.append((call, reply, _NO_ITEMS))
        position = stop
    return found, position


def _read_reply(body: bytes, call: PendingCall, number: int) -> Reply | None:
    """The reply to `call`, if this is one that has the id that it looks like."""
    try:
        reply = call.decode(body, ())
    except RemoteProtocolError:
        return None
    return reply if reply.id == number else None


def _cut_items(
    data: bytes,
    position: int,
    limit: int,
    pending: Mapping[RequestId, CallT],
    inflows: Mapping[RequestId, Inflow],
) -> tuple[Usual[CallT] | None, int]:
    """The next items of one stream, as many as follow one another from `position` on, if any, and where they end."""
    start = position + HEADER_SIZE
    number = number_at(data, start + len(ITEM_HEAD)) if data.startswith(ITEM_HEAD, start) else 0
    call, inflow = pending.get(number), inflows.get(number)
    if call is None or inflow is None or (read := call.read_item) is None:
        return None, position
    items: list[Any] = []
    before, end = b'%b%d,"seq":' % (ITEM_HEAD, number), len(data)
    while inflow.credit > 0 and end - position > HEADER_SIZE:
        head = b'%b%d,"item":' % (before, inflow.next_seq)
        stop = start + int.from_bytes(data[position:start], "big")
        if (
            stop > end
            or stop - start > limit
            or not data.startswith(head, start)
            or not data.startswith(b"}}", stop - 2)
        ):
            break
        try:
            items.append(read(data[start + len(head) : stop - 2]))
        except Exception:  # noqa: BLE001 - as above
            break
        inflow.credit -= 1
        inflow.next_seq += 1
        position, start = stop, stop + HEADER_SIZE
    return ((call, None, items) if items else None), position
