"""The protocol's own notifications (protocol §13, §14, §19): read from and written to JSON.

`rpc.item` carries a value whose type only its stream's contract knows. So its head is looked for first, and where that
announces the next item of a stream the whole is read once, by the contract's own reader. All else is read in full.
"""

import functools
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple, NotRequired, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from superd_client.wire.envelope import (
    STRICT,
    FdCount,
    IdField,
    MessageRefused,
    RequestId,
    cut_members,
    dump_id,
    list_faults,
    parse_json,
)
from superd_client.wire.errors import ErrorCode, ErrorObject
from superd_client.wire.framing import FrameTooLarge
from superd_client.wire.limits import CREDIT_MAX, HEADER_SIZE, ID_INTEGER_MAX

CANCEL: Final = "rpc.cancel"
CREDIT: Final = "rpc.credit"
ITEM: Final = "rpc.item"
END: Final = "rpc.end"
GOAWAY: Final = "rpc.goaway"


class Cancel(NamedTuple):
    """The peer wants no result of this call any more."""

    id: RequestId


class Credit(NamedTuple):
    """The peer takes `n` more items of this stream."""

    id: RequestId
    n: int


class End(NamedTuple):
    """The peer has sent its last item of this stream."""

    id: RequestId


class ItemHead(NamedTuple):
    """The item numbered `seq` of the stream `id`; the item itself is still to be read."""

    id: RequestId
    seq: int


class Goaway(NamedTuple):
    """The peer is going to stop: begin nothing new with it."""


Control: TypeAlias = Cancel | Credit | End | ItemHead | Goaway


@with_config(STRICT)
class ItemMeta(TypedDict):
    """What may stand beside an item."""

    fds: NotRequired[FdCount]


Seq: TypeAlias = Annotated[int, Field(ge=0, le=ID_INTEGER_MAX)]


def _message(method: str, params: Mapping[str, object], meta: object = None) -> Any:
    """The type of a whole notification of the protocol; one without params may leave them out."""
    inner = with_config(STRICT)(TypedDict("Params", params))  # type: ignore[operator]  # as below
    fields: dict[str, object] = {
        "jsonrpc": Literal["2.0"],
        "method": Literal[method],
        "params": inner if params else NotRequired[inner],
    }
    if meta is not None:
        fields["meta"] = NotRequired[meta]
    return with_config(STRICT)(TypedDict("Fields", fields))  # type: ignore[operator]  # mypy: a TypedDict made at run time


def item_fields(item: object) -> Any:
    """The type of a whole `rpc.item` message whose item is of the type `item`."""
    return _message(ITEM, {"id": IdField, "seq": Seq, "item": item}, ItemMeta)


_NAMES: Final = frozenset({CANCEL, CREDIT, ITEM, END, GOAWAY})


@functools.cache
def _shape(method: str) -> TypeAdapter[dict[str, Any]]:
    """Reads a whole notification of the protocol. Made when the first one comes."""
    if method == ITEM:
        return TypeAdapter(item_fields(Any))
    params: dict[str, object] = {} if method == GOAWAY else {"id": IdField}
    if method == CREDIT:
        params["n"] = Annotated[int, Field(ge=1, le=CREDIT_MAX)]
    return TypeAdapter(_message(method, params))


@functools.cache
def _id_adapter() -> TypeAdapter[RequestId]:
    return TypeAdapter(IdField)


class ControlRefused(MessageRefused):
    """A notification of the protocol that is none. `named` is the call whose id it has, if that is a legal one.

    `error` answers the message (-32600), `error_of_call` the call that it names (-32602).
    """

    def __init__(self, method: str, faults: ValidationError, named: RequestId | None) -> None:
        """Put the faults into words, from the message and from its params on."""
        message = f"not a legal {method}"
        super().__init__(ErrorObject(ErrorCode.INVALID_REQUEST, message, list_faults(faults)))
        self.error_of_call = ErrorObject(ErrorCode.INVALID_PARAMS, message, list_faults(faults, skip=1))
        self.named = named


#: How every request of a superd begins.
REQUEST_HEAD: Final = b'{"jsonrpc":"2.0","id":'


def may_be_control(body: bytes) -> bool:
    """Whether it is worth asking `parse_control`. What has an id is no notification; a name may be written in escapes."""
    return not body.startswith(REQUEST_HEAD) and (b'"rpc.' in body or rb"\u" in body)


def parse_control(body: bytes) -> Control | None:
    """Read a notification of the protocol; None for any other message.

    Raises ControlRefused for one that does not fit, MessageRefused for what is not JSON.
    """
    value = parse_json(body)
    if not isinstance(value, dict) or "id" in value:
        return None
    method = value.get("method")
    return _read(method, value) if isinstance(method, str) and method in _NAMES else None


def _read(method: str, value: dict[str, Any]) -> Control:
    params = _fields(method, value).get("params", {})
    if method == CANCEL:
        return Cancel(params["id"])
    if method == CREDIT:
        return Credit(params["id"], params["n"])
    if method == END:
        return End(params["id"])
    if method == ITEM:
        return ItemHead(params["id"], params["seq"])
    return Goaway()


def _fields(method: str, value: Any) -> dict[str, Any]:
    try:
        return _shape(method).validate_python(cut_members(value, "params", "meta"))
    except ValidationError as error:
        raise ControlRefused(method, error, _named(value)) from None


def read_item(body: bytes) -> Mapping[str, Any]:
    """Read an `rpc.item` of whose value nothing is known; raises MessageRefused for any other message."""
    return _fields(ITEM, parse_json(body))


def _named(value: Any) -> RequestId | None:
    params = value.get("params") if isinstance(value, dict) else None
    try:
        return (
            _id_adapter().validate_python(params.get("id"), strict=True) if isinstance(params, dict) else None
        )
    except ValidationError:
        return None


_ITEM_HEAD: Final = re.compile(
    rb'\{"jsonrpc":"2\.0","method":"rpc\.item","params":\{"id":([1-9][0-9]{0,15}),"seq":(0|[1-9][0-9]{0,15}),"item":'
)

#: Bytes in which a comma ends the largest integer id.
_ID_SPAN: Final = len(str(ID_INTEGER_MAX)) + 1


def peek_item(body: bytes) -> ItemHead | None:
    """What an item that is written as ours are, with an integer id, says in its head; else None.

    It is a guess until the whole is read: a name that comes again later would count instead.
    """
    found = _ITEM_HEAD.match(body)
    return ItemHead(int(found[1]), int(found[2])) if found else None


def peek_number(body: bytes, head: bytes) -> int:
    """The whole number that follows `head` and is followed by a comma; 0 where there is none."""
    return number_at(body, len(head)) if body.startswith(head) else 0


def number_at(data: bytes, place: int) -> int:
    """The whole number that stands at `place` and is followed by a comma; 0 where there is none."""
    comma = data.find(b",", place, place + _ID_SPAN)
    digits = data[place : max(comma, 0)]
    return int(digits) if digits.isdigit() else 0


# --- writing ---------------------------------------------------------------------------------------------------


def dump_cancel(request_id: RequestId) -> bytes:
    """Write `rpc.cancel`."""
    return b'{"jsonrpc":"2.0","method":"rpc.cancel","params":{"id":%b}}' % dump_id(request_id)


def dump_credit(request_id: RequestId, items: int) -> bytes:
    """Write `rpc.credit`."""
    return b'{"jsonrpc":"2.0","method":"rpc.credit","params":{"id":%b,"n":%d}}' % (dump_id(request_id), items)


def dump_item_head(request_id: RequestId) -> bytes:
    """Write the part that all `rpc.item` of a stream begin with."""
    return b'{"jsonrpc":"2.0","method":"rpc.item","params":{"id":%b,"seq":' % dump_id(request_id)


def frame_item(head: bytes, seq: int, item: bytes, fds: int, limit: int) -> bytes:
    """The frame of an `rpc.item` with this head around `item`, which is JSON already; raises FrameTooLarge."""
    start = b'%b%d,"item":' % (head, seq)
    end = b'},"meta":{"fds":%d}}' % fds if fds else b"}}"
    length = len(start) + len(item) + len(end)
    if length > limit:
        raise FrameTooLarge(length, limit)
    return b"%b%b%b%b" % (length.to_bytes(HEADER_SIZE, "big"), start, item, end)


def dump_end(request_id: RequestId) -> bytes:
    """Write `rpc.end`."""
    return b'{"jsonrpc":"2.0","method":"rpc.end","params":{"id":%b}}' % dump_id(request_id)


def dump_goaway() -> bytes:
    """Write `rpc.goaway`."""
    return b'{"jsonrpc":"2.0","method":"rpc.goaway","params":{}}'
