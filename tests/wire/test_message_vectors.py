"""Runs the golden vectors of messages, which are written by hand from docs/reference/protocol.md."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from superd_client.wire import limits
from superd_client.wire.control import (
    Cancel,
    Control,
    ControlRefused,
    Credit,
    End,
    Goaway,
    ItemHead,
    dump_cancel,
    dump_credit,
    dump_end,
    dump_goaway,
    may_be_control,
    parse_control,
    read_item,
)
from superd_client.wire.envelope import (
    Failure,
    MessageRefused,
    Notification,
    Request,
    RequestId,
    Result,
    dump_failure,
    dump_meta,
    dump_notification,
    dump_request,
    dump_result,
    parse_call,
    parse_reply,
)
from superd_client.wire.errors import ErrorCode, ErrorObject, RemoteProtocolError
from tests.wire.golden import Vector, compact, every
from tests.wire.items import dump_item

#: What `expect` calls them.
CONTROLS: Final[Mapping[str, type[Control]]] = {
    "cancel": Cancel,
    "credit": Credit,
    "item": ItemHead,
    "end": End,
    "goaway": Goaway,
}

WRITERS: Final[Mapping[str, Callable[[Any], bytes]]] = {
    "rpc.cancel": lambda message: dump_cancel(message["params"]["id"]),
    "rpc.credit": lambda message: dump_credit(message["params"]["id"], message["params"]["n"]),
    "rpc.item": lambda message: dump_item(
        message["params"]["id"],
        message["params"]["seq"],
        compact(message["params"]["item"]),
        message.get("meta", {}).get("fds", 0),
    ),
    "rpc.end": lambda message: dump_end(message["params"]["id"]),
    "rpc.goaway": lambda message: dump_goaway(),
}


def same_id(actual: RequestId | None, expected: RequestId | None) -> bool:
    """Whether two ids are equal in value and type: 7, "7" and true are three."""
    return type(actual) is type(expected) and actual == expected


def check_call(call: Request | Notification, fields: dict[str, Any]) -> None:
    if "id" in fields:
        assert isinstance(call, Request)
        assert same_id(call.id, fields["id"])
    if "method" in fields:
        assert call.method == fields["method"]
    if "params" in fields:
        assert call.params == fields["params"]
        assert type(call.params) is type(fields["params"])
    assert call.meta == fields.get("meta", {})


def check_refusal(refused: MessageRefused, expect: dict[str, Any]) -> None:
    codes = expect["code"] if isinstance(expect["code"], list) else [expect["code"]]
    assert refused.error.code in codes
    assert same_id(refused.id, expect["id"])
    data = refused.error.data
    if "offset" in expect:
        assert data.get("offset", expect["offset"]) == expect["offset"]
    if "loc" in expect:
        assert {tuple(fault["loc"]) for fault in data["errors"]} == {tuple(loc) for loc in expect["loc"]}
    if "listed" in expect:
        assert len(data["errors"]) == expect["listed"]
        assert data.get("omitted") == expect["omitted"]
    check_data(refused.error)


def check_data(error: ErrorObject) -> None:
    """What §8 says of every refusal."""
    json.dumps(error.data)
    if error.code == ErrorCode.INVALID_REQUEST:
        assert 0 < len(error.data["errors"]) <= limits.FAULTS_LISTED_MAX
        for fault in error.data["errors"]:
            assert list(fault) == ["loc", "type", "msg"]
            assert all(isinstance(part, str | int) for part in fault["loc"])
            assert isinstance(fault["type"], str)
            assert isinstance(fault["msg"], str)


def judge(body: bytes, fds: range) -> Request | Notification | Control:
    """Read a body as a server does."""
    control = parse_control(body) if may_be_control(body) else None
    return parse_call(body, fds) if control is None else control


def check_control(control: Control, body: bytes, expect: dict[str, Any]) -> None:
    ((kind, fields),) = expect.items()
    assert type(control) is CONTROLS[kind]
    if isinstance(control, Goaway):
        return
    assert same_id(control.id, fields["id"])
    if isinstance(control, Credit):
        assert control.n == fields["n"]
    if isinstance(control, ItemHead):
        assert control.seq == fields["seq"]
        value = read_item(body)["params"]["item"]
        assert value == fields.get("value", value)


def check_no_control(refused: ControlRefused, expect: dict[str, Any]) -> None:
    check_refusal(refused, {"code": ErrorCode.INVALID_REQUEST, "id": None, "loc": expect["loc"]})
    assert same_id(refused.named, expect["names"])
    assert refused.error_of_call.code == ErrorCode.INVALID_PARAMS
    assert len(refused.error_of_call.data["errors"]) == len(expect["loc"])


@every("messages_to_server.json")
def test_a_message_to_the_server(vector: Vector) -> None:
    expect = vector.case["expect"]
    body, fds = vector.data(vector.case["body"]), range(vector.case.get("fds", 0))
    try:
        message = judge(body, fds)
    except ControlRefused as refused:
        check_no_control(refused, expect["no_control"])
    except MessageRefused as refused:
        check_refusal(refused, expect["refused"] if "refused" in expect else expect["or_refused"])
    else:
        if isinstance(message, Request | Notification):
            assert isinstance(message, Request if "request" in expect else Notification)
            check_call(message, expect["request"] if "request" in expect else expect["notification"])
        else:
            check_control(message, body, expect)


@every("messages_to_client.json")
def test_a_message_to_the_client(vector: Vector) -> None:
    expect = vector.case["expect"]
    body = vector.data(vector.case["body"])
    try:
        control = parse_control(body) if may_be_control(body) else None
        message = parse_reply(body) if control is None else control
    except RemoteProtocolError:
        assert expect.get("protocol_error") or expect["or_protocol_error"]
        return
    if isinstance(message, Notification):
        check_call(message, expect["notification"])
    elif isinstance(message, Result):
        check_result(message, expect["result"])
    elif isinstance(message, Failure):
        check_failure(message, expect["failure"])
    else:
        check_control(message, body, expect)


def check_result(message: Result, fields: dict[str, Any]) -> None:
    if "id" in fields:
        assert same_id(message.id, fields["id"])
    if "value" in fields:
        assert message.value == fields["value"]
        assert type(message.value) is type(fields["value"])


def check_failure(message: Failure, fields: dict[str, Any]) -> None:
    assert same_id(message.id, fields["id"])
    assert message.error == ErrorObject(fields["code"], fields["message"], fields.get("data", {}))
    assert type(message.error.code) is int


# --- writing --------------------------------------------------------------------------------------------------


def dump(message: dict[str, Any]) -> bytes:
    """Write a message with the function for its kind."""
    if message.get("method") in WRITERS:
        return WRITERS[message["method"]](message)
    meta = dump_meta(**message.get("meta", {}))
    if "method" in message and "id" in message:
        return dump_request(message["id"], message["method"], compact(message["params"]), meta)
    if "method" in message:
        return dump_notification(message["method"], compact(message["params"]), meta)
    if "error" in message:
        return dump_failure(message["id"], ErrorObject(**message["error"]))
    return dump_result(message["id"], compact(message["result"]), message.get("meta", {}).get("fds", 0))


def dump_again(body: bytes) -> bytes:
    """What was read from `body`, written."""
    match parse_control(body):
        case Cancel(request_id):
            return dump_cancel(request_id)
        case Credit(request_id, items):
            return dump_credit(request_id, items)
        case End(request_id):
            return dump_end(request_id)
        case ItemHead(request_id, seq):
            fields = read_item(body)
            return dump_item(
                request_id, seq, compact(fields["params"]["item"]), fields.get("meta", {}).get("fds", 0)
            )
        case _:
            return dump_goaway()


@every("encoding.json")
def test_encoding(vector: Vector) -> None:
    message = vector.case["message"]
    body = dump(message)
    assert json.loads(body) == message
    bodies = vector.case["body"]
    assert body in [text.encode() for text in ([bodies] if isinstance(bodies, str) else bodies)]


@every("encoding.json")
def test_what_was_encoded_is_read_again(vector: Vector) -> None:
    message = vector.case["message"]
    if message.get("method") in WRITERS:
        assert dump_again(dump(message)) == dump(message)
        return
    if "method" in message:
        check_call(parse_call(dump(message), range(vector.case.get("fds", 0))), message)
        return
    reply = parse_reply(dump(message))
    if isinstance(reply, Result):
        assert reply == Result(message["id"], message["result"])
    else:
        assert isinstance(reply, Failure)
        assert reply == Failure(message["id"], ErrorObject(**message["error"]))
