"""The protocol's own notifications (protocol §7, §14): read from and written to JSON.

`rpc.item` carries a value whose type only its stream's contract knows. So the id is looked for first, cheaply where
the message is written as ours are, and the whole is then read once, by the contract's own reader.
"""

import re
from typing import Annotated, Any, Final, Literal, NamedTuple, NotRequired, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from superd_client.wire.envelope import (
    STRICT,
    FdCount,
    IdField,
    MessageRefused,
    RequestId,
    dump_id,
    list_faults,
    parse_json,
)
from superd_client.wire.errors import ErrorCode, ErrorObject
from superd_client.wire.limits import CREDIT_MAX, ID_INTEGER_MAX

#: The notifications that belong to the protocol.
CANCEL: Final = "rpc.cancel"
CREDIT: Final = "rpc.credit"
ITEM: Final = "rpc.item"
END: Final = "rpc.end"
GOAWAY: Final = "rpc.goaway"

CONTROLS: Final = frozenset({CANCEL, CREDIT, ITEM, END, GOAWAY})

#: How every notification of the protocol begins where superd wrote it. Only a shortcut.
CONTROL_HEAD: Final = b'{"jsonrpc":"2.0","method":"rpc.'


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


@with_config(STRICT)
class _OnlyId(TypedDict):
    id: IdField


@with_config(STRICT)
class _CreditParams(TypedDict):
    id: IdField
    n: Annotated[int, Field(ge=1, le=CREDIT_MAX)]


@with_config(STRICT)
class _ItemParams(TypedDict):
    id: IdField
    seq: Seq
    item: Any


@with_config(STRICT)
class _GoawayParams(TypedDict):
    pass


def item_fields(item: object) -> Any:
    """The type of a whole `rpc.item` message whose item is of the type `item`."""
    inner = {"id": IdField, "seq": Seq, "item": item}
    fields = {
        "jsonrpc": Literal["2.0"],
        "method": Literal["rpc.item"],
        "params": with_config(STRICT)(TypedDict("ItemParams", inner)),  # type: ignore[operator]  # as below
        "meta": NotRequired[ItemMeta],
    }
    return with_config(STRICT)(TypedDict("ItemFields", fields))  # type: ignore[operator]  # mypy: a TypedDict made at run time


@with_config(STRICT)
class _Fields(TypedDict):
    jsonrpc: Literal["2.0"]
    method: str
    params: NotRequired[dict[str, Any]]
    meta: NotRequired[dict[str, Any]]


_fields: Final = TypeAdapter(_Fields)
_only_id: Final = TypeAdapter(_OnlyId)
_credit: Final = TypeAdapter(_CreditParams)
_item: Final = TypeAdapter(_ItemParams)
_goaway: Final = TypeAdapter(_GoawayParams)
_legal_id: Final = TypeAdapter[RequestId](IdField)


class ControlRefused(MessageRefused):
    """A notification of the protocol that is none. `id` is the stream or call that it names, if it is a legal one."""


def parse_control(body: bytes) -> Control | None:
    """Read a notification of the protocol; None for any other message.

    Raises ControlRefused for one whose params do not fit, MessageRefused for what is not JSON.
    """
    head = peek_item(body)
    if head is not None:
        return head
    value = parse_json(body)
    if not isinstance(value, dict) or "id" in value or value.get("method") not in CONTROLS:
        return None
    params = value.get("params", {})
    try:
        fields = _fields.validate_python(value, strict=True)
        return _read(fields["method"], params)
    except ValidationError as error:
        refusal = ErrorObject(ErrorCode.INVALID_PARAMS, f"not a legal {value['method']}", list_faults(error))
        raise ControlRefused(refusal, _named(params)) from None


def _read(method: str, params: object) -> Control:
    if method == CANCEL:
        return Cancel(_only_id.validate_python(params, strict=True)["id"])
    if method == CREDIT:
        fields = _credit.validate_python(params, strict=True)
        return Credit(fields["id"], fields["n"])
    if method == END:
        return End(_only_id.validate_python(params, strict=True)["id"])
    if method == ITEM:
        item = _item.validate_python(params, strict=True)
        return ItemHead(item["id"], item["seq"])
    _goaway.validate_python(params, strict=True)
    return Goaway()


def _named(params: object) -> RequestId | None:
    try:
        return _legal_id.validate_python(params.get("id"), strict=True) if isinstance(params, dict) else None
    except ValidationError:
        return None


_ITEM_HEAD: Final = re.compile(
    rb'\{"jsonrpc":"2\.0","method":"rpc\.item","params":\{"id":([1-9][0-9]{0,15}),"seq":(0|[1-9][0-9]{0,15}),"item":'
)

#: Digits of the largest integer id.
_ID_DIGITS_MAX: Final = len(str(ID_INTEGER_MAX))


def peek_item(body: bytes) -> ItemHead | None:
    """The head of an item that is written as ours are and has an integer id, else None."""
    found = _ITEM_HEAD.match(body)
    return ItemHead(int(found[1]), int(found[2])) if found else None


def peek_number(body: bytes, head: bytes) -> int:
    """The whole number that follows `head` and is followed by a comma; 0 where there is none."""
    if not body.startswith(head):
        return 0
    end = body.find(b",", len(head), len(head) + _ID_DIGITS_MAX + 1)
    digits = body[len(head) : max(end, 0)]
    return int(digits) if digits.isdigit() else 0


# --- writing ---------------------------------------------------------------------------------------------------


def dump_cancel(request_id: RequestId) -> bytes:
    """Write `rpc.cancel`."""
    return b'{"jsonrpc":"2.0","method":"rpc.cancel","params":{"id":%b}}' % dump_id(request_id)


def dump_credit(request_id: RequestId, items: int) -> bytes:
    """Write `rpc.credit`."""
    return b'{"jsonrpc":"2.0","method":"rpc.credit","params":{"id":%b,"n":%d}}' % (dump_id(request_id), items)


def dump_item(request_id: RequestId, seq: int, item: bytes, fds: int) -> bytes:
    """Write `rpc.item` around `item`, which is JSON already."""
    meta = b',"meta":{"fds":%d}' % fds if fds else b""
    return b'{"jsonrpc":"2.0","method":"rpc.item","params":{"id":%b,"seq":%d,"item":%b}%b}' % (
        dump_id(request_id),
        seq,
        item,
        meta,
    )


def dump_end(request_id: RequestId) -> bytes:
    """Write `rpc.end`."""
    return b'{"jsonrpc":"2.0","method":"rpc.end","params":{"id":%b}}' % dump_id(request_id)


def dump_goaway() -> bytes:
    """Write `rpc.goaway`."""
    return b'{"jsonrpc":"2.0","method":"rpc.goaway","params":{}}'
