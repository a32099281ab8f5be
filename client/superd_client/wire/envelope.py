"""Messages (protocol §4): the values that cross the layers, and how they are read from and written to JSON.

The values are named tuples: immutable, typed, and four times as cheap to make as a frozen dataclass, which counts
for something that is made once for each call.
"""

import functools
import hashlib
import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Annotated, Any, Final, Literal, NamedTuple, NotRequired, TypeAlias, TypeVar, get_args

from pydantic import (
    ConfigDict,
    Field,
    GetPydanticSchema,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    with_config,
)
from pydantic_core import ErrorDetails, core_schema, from_json, to_json
from typing_extensions import TypedDict

from superd_client.wire.errors import ErrorCode, ErrorObject, RemoteProtocolError
from superd_client.wire.limits import (
    CALL_ID_MAX,
    CREDIT_MAX,
    FAULTS_EXAMINED_MAX,
    FAULTS_LISTED_MAX,
    FDS_PER_FRAME_MAX,
    ID_INTEGER_MAX,
    ID_TEXT_MAX,
    IDEMPOTENCY_KEY_MAX,
    TIME_USEC_MAX,
)

RequestId: TypeAlias = int | str

T = TypeVar("T")


# --- the parts of a message that have rules of their own ------------------------------------------------------

STRICT: Final = ConfigDict(strict=True, extra="forbid")


def _one_error(kind: str, message: str) -> GetPydanticSchema:
    """Report a union that does not match as one fault, not as one for each of its branches."""
    return GetPydanticSchema(
        lambda source, handler: core_schema.custom_error_schema(
            handler(source), custom_error_type=kind, custom_error_message=message
        )
    )


IdField: TypeAlias = Annotated[
    Annotated[int, Field(ge=-ID_INTEGER_MAX, le=ID_INTEGER_MAX)]
    | Annotated[str, StringConstraints(min_length=1, max_length=ID_TEXT_MAX)],
    _one_error("request_id", "Input should be an integer within 2^53 - 1 or a string of 1 to 64 characters"),
]
_NAME_PATTERN: Final = r"^[A-Za-z0-9._:\-]+\z"
CallId: TypeAlias = Annotated[
    str, StringConstraints(pattern=_NAME_PATTERN, min_length=1, max_length=CALL_ID_MAX)
]
KeyText: TypeAlias = Annotated[
    str, StringConstraints(pattern=_NAME_PATTERN, min_length=1, max_length=IDEMPOTENCY_KEY_MAX)
]
TimeUsec: TypeAlias = Annotated[int, Field(ge=0, le=TIME_USEC_MAX)]
FdCount: TypeAlias = Annotated[int, Field(ge=0, le=FDS_PER_FRAME_MAX)]


@with_config(STRICT)
class MetaFields(TypedDict):
    """Protocol §5. Times are in microseconds of CLOCK_MONOTONIC; `gap_usec` is a span."""

    call_id: NotRequired[CallId]
    deadline_usec: NotRequired[TimeUsec]
    gap_usec: NotRequired[Annotated[int, Field(ge=1, le=TIME_USEC_MAX)]]
    credit: NotRequired[Annotated[int, Field(ge=1, le=CREDIT_MAX)]]
    fds: NotRequired[FdCount]
    idempotency_key: NotRequired[KeyText]
    idempotency_since_usec: NotRequired[TimeUsec]


@with_config(STRICT)
class ReplyMeta(TypedDict):
    """What may stand beside a result."""

    fds: NotRequired[FdCount]


#: The meta of a message that has none.
NO_META: Final[MetaFields] = {}


# --- the values --------------------------------------------------------------------------------------------------


class Request(NamedTuple):
    """A call that wants an answer. `params` is JSON data, or a model where the parser knows the method.

    `received` is what the parser keeps of the descriptors that came with it; None where none came. `fingerprint` tells
    a repeat of the same call from another call, where it has an idempotency key (§20); None where it has none.
    """

    id: RequestId
    method: str
    params: Any
    meta: MetaFields = NO_META
    received: Any = None
    fingerprint: bytes | None = None

    @property
    def call_id(self) -> str | None:
        """Its name in the logs, if the caller gave one."""
        return self.meta.get("call_id")


class Notification(NamedTuple):
    """A call that wants none. Otherwise as a Request."""

    method: str
    params: Any
    meta: MetaFields = NO_META
    received: Any = None
    fingerprint: bytes | None = None

    @property
    def call_id(self) -> str | None:
        """Its name in the logs, if the caller gave one."""
        return self.meta.get("call_id")


class Result(NamedTuple):
    """The answer to a call that succeeded."""

    id: RequestId
    value: Any


#: Makes a Result of a pair, for each call: the class itself does it by a function in Python.
new_result: Final[Callable[[tuple[RequestId, Any]], Result]] = partial(tuple.__new__, Result)


class Failure(NamedTuple):
    """The answer to a call that did not, or, with id None, to something that was no call."""

    id: RequestId | None
    error: ErrorObject


class Mismatch(NamedTuple):
    """A legal result that the caller's own model of it refuses; `faults` as in the data of -32602."""

    id: RequestId
    faults: list[dict[str, Any]]


Reply: TypeAlias = Result | Failure | Mismatch


class MessageRefused(RemoteProtocolError):
    """A body that is not a legal message. The connection lives; `id` is where to send the error."""

    def __init__(self, error: ErrorObject, request_id: RequestId | None = None) -> None:
        """Keep the message's id, where it has a legal one."""
        super().__init__(error)
        self.id = request_id


class ItemRefused(MessageRefused):
    """An item with descriptors that does not fit its contract. Unlike with other refusals, they are closed already."""


# --- what a legal message looks like -------------------------------------------------------------------------


@with_config(STRICT)
class _NotificationFields(TypedDict):
    jsonrpc: Literal["2.0"]
    method: str
    params: NotRequired[Any]
    meta: NotRequired[MetaFields]


@with_config(STRICT)
class _CallFields(_NotificationFields):
    id: NotRequired[IdField]


@with_config(STRICT)
class _ResultFields(TypedDict):
    jsonrpc: Literal["2.0"]
    id: IdField
    result: Any
    meta: NotRequired[ReplyMeta]


@with_config(STRICT)
class _ErrorFields(TypedDict):
    code: int
    message: str
    data: NotRequired[dict[str, Any]]


@with_config(STRICT)
class _FailureFields(TypedDict):
    jsonrpc: Literal["2.0"]
    id: IdField | None
    error: _ErrorFields


#: Every name of a member that a message or a part of it may have.
_MEMBERS: Final = frozenset(
    name
    for fields in (_CallFields, _ResultFields, _FailureFields, _ErrorFields, MetaFields)
    for name in fields.__annotations__
)


@functools.cache
def _adapter(fields: type[T]) -> TypeAdapter[T]:
    """Made when it is first asked for: neither a start nor the usual message needs one."""
    return TypeAdapter(fields)


@functools.cache
def _id_adapter() -> TypeAdapter[RequestId]:
    return TypeAdapter(IdField, config=ConfigDict(strict=True))


# --- reading -------------------------------------------------------------------------------------------------


def parse_call(body: bytes, fds: Sequence[int] = ()) -> Request | Notification:
    """Read what a client sent, with the descriptors that came with it; raises MessageRefused."""
    value = parse_json(body)
    try:
        fields = _adapter(_CallFields).validate_python(cut_members(value, "meta"))
    except ValidationError as error:
        raise MessageRefused(_invalid_request(value, error), _legal_id(value)) from None
    params: Any = fields.get("params", {})
    meta = fields.get("meta", NO_META)
    check_fds(meta.get("fds", 0), fds, fields.get("id"))
    received = fds or None
    mark = fingerprint(fields["method"], params) if "idempotency_key" in meta else None
    if "id" in fields:
        return Request(fields["id"], fields["method"], params, meta, received, mark)
    return Notification(fields["method"], params, meta, received, mark)


#: Bytes of a fingerprint: too many for two calls of one user to have the same by chance.
FINGERPRINT_SIZE: Final = 16


def fingerprint(method: str, params: object) -> bytes:
    """What two calls have in common whose method is the same, and whose params, with their members in one order (§20.4)."""
    digest = hashlib.blake2b(method.encode(), digest_size=FINGERPRINT_SIZE)
    digest.update(b"\0" + to_json(params, inf_nan_mode="strings"))
    return digest.digest()


def cut_members(value: Any, *inner: str) -> Any:
    """An object, and those in it that `inner` names, without more members than it could take to see what is wrong."""
    if not isinstance(value, dict):
        return value
    if len(value) > FAULTS_EXAMINED_MAX:
        known = {name: value[name] for name in _MEMBERS if name in value}
        value = known | dict(islice(value.items(), FAULTS_EXAMINED_MAX + len(known) + 1))
    long = {name: cut_members(value[name]) for name in inner if name in value}
    return value | long if long else value


def check_fds(declared: int, fds: Sequence[int], request_id: RequestId | None) -> None:
    """Raise MessageRefused unless as many descriptors came as the message declares (§15)."""
    if declared != len(fds):
        message = f"the message declares {declared} descriptors, and {len(fds)} came with it"
        faults = {"errors": [{"loc": ["meta", "fds"], "type": "fd_count", "msg": message}]}
        raise MessageRefused(ErrorObject(ErrorCode.INVALID_REQUEST, message, faults), request_id)


def parse_reply(body: bytes) -> Result | Failure | Notification:
    """Read what a server sent; raises MessageRefused. Whether its descriptors came is for the call's own reader."""
    value = cut_members(parse_json(body), "meta", "error")
    try:
        if isinstance(value, dict) and "method" in value:
            call = _adapter(_NotificationFields).validate_python(value)
            return Notification(call["method"], call.get("params", {}), call.get("meta", NO_META))
        if isinstance(value, dict) and "error" in value:
            failure = _adapter(_FailureFields).validate_python(value)
            error = failure["error"]
            return Failure(failure["id"], ErrorObject(error["code"], error["message"], error.get("data", {})))
        fields = _adapter(_ResultFields).validate_python(value)
        return Result(fields["id"], fields["result"])
    except ValidationError as error:
        faults = list_faults(error)
        raise MessageRefused(ErrorObject(ErrorCode.INVALID_REQUEST, "not a legal reply", faults)) from None


def parse_json(body: bytes) -> Any:
    """Read a JSON text as §3 has it; raises MessageRefused with the offset of the fault."""
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise MessageRefused(_parse_error(body, str(error))) from None


_PLACE = re.compile(r" at line (\d+) column (\d+)$")


def _parse_error(body: bytes, reason: str) -> ErrorObject:
    offset = _fault_offset(body, reason)
    where = "" if offset is None else f" at byte {offset}"
    data = {} if offset is None else {"offset": offset}
    return ErrorObject(ErrorCode.PARSE_ERROR, f"not JSON: {_PLACE.sub('', reason)}{where}", data)


def _fault_offset(body: bytes, reason: str) -> int | None:
    """Turn the parser's line and column into an offset in bytes."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        invalid_text: int | None = error.start
    else:
        invalid_text = None
    if "unicode" in reason and invalid_text is not None:
        return invalid_text  # the parser's column for this fault differs between its releases
    if reason.startswith("EOF"):
        return len(body)
    place = _PLACE.search(reason)
    if place is None:
        return None
    line, column = int(place[1]), int(place[2])
    return _line_start(body, line) + column - 1  # column 0 is the line feed itself


def _line_start(body: bytes, line: int) -> int:
    """Where a line begins, the first being 1. By halves: there may be as many lines as bytes."""
    start, end, before = 0, len(body), line - 1
    while before and end - start > 1:
        middle = (start + end) // 2
        feeds = body.count(b"\n", start, middle)
        if feeds >= before:
            end = middle
        else:
            start, before = middle, before - feeds
    return start + (before > 0)


def _invalid_request(value: object, error: ValidationError) -> ErrorObject:
    if isinstance(value, list):
        message = "batches are not supported: send the requests one after another without waiting"
    else:
        message = "not a request"
    return ErrorObject(ErrorCode.INVALID_REQUEST, message, list_faults(error))


def _legal_id(value: object) -> RequestId | None:
    try:
        return _id_adapter().validate_python(value.get("id")) if isinstance(value, dict) else None
    except ValidationError:
        return None


# --- faults ---------------------------------------------------------------------------------------------------

#: Cuts on what a fault may say: its place holds names that the peer chose.
_LOC_PARTS_MAX: Final = 32
_LOC_TEXT_MAX: Final = 64
_MSG_TEXT_MAX: Final = 200

#: The kinds of faults whose sentences are pydantic's own, and never repeat more than a character of the input.
_OWN_TYPES: Final = frozenset(get_args(core_schema.ErrorType)) - {"value_error", "assertion_error"} | {
    "too_many_faults"
}

#: What stands for faults that are too many to be looked at.
_TOO_MANY: Final = {
    "loc": [],
    "type": "too_many_faults",
    "msg": f"More than {FAULTS_EXAMINED_MAX} faults, too many to look at",
}


def list_faults(error: ValidationError, *, skip: int = 0) -> dict[str, Any]:
    """The faults as §8 has them: `errors`, and `omitted` where there are more. `skip` cuts the head of each place."""
    count = error.error_count()
    if count > FAULTS_EXAMINED_MAX:
        return {"errors": [dict(_TOO_MANY)], "omitted": count}
    details = error.errors(include_url=False, include_context=True, include_input=False)
    data: dict[str, Any] = {"errors": [_fault(detail, skip) for detail in details[:FAULTS_LISTED_MAX]]}
    if count > FAULTS_LISTED_MAX:
        data["omitted"] = count - FAULTS_LISTED_MAX
    return data


def hide_sentences(faults: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The faults without what a model's own validators say: it may hold what they looked at."""
    return [each if each["type"] in _OWN_TYPES else {**each, "msg": "Input is not valid"} for each in faults]


def _fault(detail: ErrorDetails, skip: int) -> dict[str, Any]:
    loc = [
        part[:_LOC_TEXT_MAX] if isinstance(part, str) else part
        for part in detail["loc"][skip:][:_LOC_PARTS_MAX]
    ]
    message = detail["msg"]
    if detail["type"] == "union_tag_invalid":  # pydantic's sentence repeats the input
        message = f"Input tag does not match any of the expected tags: {detail['ctx']['expected_tags']}"
    return {"loc": loc, "type": detail["type"], "msg": message[:_MSG_TEXT_MAX]}


# --- writing ---------------------------------------------------------------------------------------------------


def dump_request(request_id: RequestId, method: str, params: bytes, meta: bytes = b"") -> bytes:
    """Write a request around `params`, which is JSON already, and `meta`, which `dump_meta` made."""
    return b'{"jsonrpc":"2.0","id":%b,"method":%b,"params":%b%b}' % (
        dump_id(request_id),
        to_json(method),
        params,
        meta,
    )


def request_head(method: str) -> bytes:
    """What stands between the id and the params of every request for `method`."""
    return b',"method":%b,"params":' % to_json(method)


def dump_notification(method: str, params: bytes, meta: bytes = b"") -> bytes:
    """Write a notification around `params`, which is JSON already, and `meta`, which `dump_meta` made."""
    return b'{"jsonrpc":"2.0","method":%b,"params":%b%b}' % (to_json(method), params, meta)


def dump_meta(
    call_id: str | None = None,
    *,
    deadline_usec: int | None = None,
    gap_usec: int | None = None,
    credit: int | None = None,
    fds: int = 0,
    idempotency_key: str | None = None,
    idempotency_since_usec: int | None = None,
) -> bytes:
    """Write the member `meta` with a comma before it; nothing where there is nothing to say."""
    # A call id and a key have only characters that need no escape (§5).
    members = [] if call_id is None else [b'"call_id":"%b"' % call_id.encode()]
    if deadline_usec is not None:
        members.append(b'"deadline_usec":%d' % deadline_usec)
    if gap_usec is not None:
        members.append(b'"gap_usec":%d' % gap_usec)
    if credit is not None:
        members.append(b'"credit":%d' % credit)
    if fds:
        members.append(b'"fds":%d' % fds)
    if idempotency_key is not None:
        members.append(b'"idempotency_key":"%b"' % idempotency_key.encode())
    if idempotency_since_usec is not None:
        members.append(b'"idempotency_since_usec":%d' % idempotency_since_usec)
    return b',"meta":{%b}' % b",".join(members) if members else b""


def dump_result(request_id: RequestId, value: bytes, fds: int = 0) -> bytes:
    """Write a result around `value`, which is JSON already, and to which `fds` descriptors belong."""
    meta = b',"meta":{"fds":%d}' % fds if fds else b""
    return b'{"jsonrpc":"2.0","id":%b,"result":%b%b}' % (dump_id(request_id), value, meta)


def dump_failure(request_id: RequestId | None, error: ErrorObject) -> bytes:
    """Write a failure."""
    fields = {"code": int(error.code), "message": error.message, "data": error.data}
    return to_json({"jsonrpc": "2.0", "id": request_id, "error": fields}, inf_nan_mode="null")


def dump_id(request_id: RequestId) -> bytes:
    """Write an id."""
    return b"%d" % request_id if isinstance(request_id, int) else to_json(request_id)
