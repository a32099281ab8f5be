"""What users catch: classes, outcomes, texts."""

import pytest
from pydantic import BaseModel

from superd_client import errors
from superd_client.contract import Message, Method, UntypedMethod
from superd_client.errors import (
    ApplicationError,
    CallFailed,
    CallRefused,
    CallTimeout,
    InvalidResult,
    Outcome,
    RemoteError,
    SuperdError,
    remote_error,
    unwrap,
)
from superd_client.wire.envelope import Failure, Mismatch, Result
from superd_client.wire.errors import ErrorCode, ErrorObject


class Nothing(Message):
    pass


class Lost(Message):
    sku: str


lookup = Method("a.lookup", Nothing, int, errors=[Lost])


def failure(code: int, **data: object) -> Failure:
    return Failure(1, ErrorObject(code, "a sentence", dict(data)))


@pytest.mark.parametrize(
    ("code", "kind", "outcome"),
    [
        (ErrorCode.PARSE_ERROR, errors.InvalidRequest, Outcome.REFUSED),
        (ErrorCode.INVALID_REQUEST, errors.InvalidRequest, Outcome.REFUSED),
        (ErrorCode.METHOD_NOT_FOUND, errors.MethodNotFound, Outcome.REFUSED),
        (ErrorCode.INVALID_PARAMS, errors.InvalidParams, Outcome.REFUSED),
        (ErrorCode.PERMISSION_DENIED, errors.PermissionDenied, Outcome.REFUSED),
        (ErrorCode.RESOURCE_EXHAUSTED, errors.ResourceExhausted, Outcome.REFUSED),
        (ErrorCode.UNAVAILABLE, errors.Unavailable, Outcome.REFUSED),
        (ErrorCode.APPLICATION_ERROR, ApplicationError, Outcome.FAILED),
        (ErrorCode.INTERNAL_ERROR, errors.InternalError, Outcome.FAILED),
        (ErrorCode.CANCELLED, errors.Cancelled, Outcome.FAILED),
        (ErrorCode.FRAME_TOO_LARGE, errors.ResultTooLarge, Outcome.FAILED),
        (ErrorCode.DEADLINE_EXCEEDED, CallFailed, Outcome.FAILED),
        (-31999, CallFailed, Outcome.FAILED),
    ],
)
def test_each_code_has_its_class_and_outcome(code: int, kind: type[RemoteError], outcome: Outcome) -> None:
    error = remote_error(failure(code, call_id="c-1", more=2), lookup, None)
    assert type(error) is kind
    assert error.outcome is outcome
    assert (error.code, error.method, error.call_id) == (code, "a.lookup", "c-1")
    assert error.data["more"] == 2
    assert str(error) == f"a.lookup: a sentence (outcome: {outcome.value}) [call c-1]"
    assert isinstance(error, CallRefused) == (outcome is Outcome.REFUSED)


def test_our_own_call_id_goes_before_the_servers() -> None:
    assert remote_error(failure(-32603, call_id="theirs"), lookup, "ours").call_id == "ours"
    assert remote_error(failure(-32603, call_id=7), lookup, None).call_id is None
    assert str(remote_error(failure(-32603), lookup, None)) == "a.lookup: a sentence (outcome: failed)"


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        ({"type": "Lost", "detail": {"sku": "A-1"}}, Lost(sku="A-1")),
        ({"type": "Lost", "detail": {"sku": 1}}, None),
        ({"type": "Lost"}, None),
        ({"type": "Unknown", "detail": {}}, None),
        ({"type": ["Lost"], "detail": {}}, None),
        ({}, None),
    ],
)
def test_a_declared_error_carries_its_model(data: dict[str, object], detail: BaseModel | None) -> None:
    error = remote_error(failure(-32000, **data), lookup, None)
    assert isinstance(error, ApplicationError)
    assert error.detail == detail
    assert error.data == data


def test_an_application_error_without_a_sentence() -> None:
    assert ApplicationError(Lost(sku="a")).message == "Lost"
    assert ApplicationError(None).message == "application error"
    assert ApplicationError(None, "no").message == "no"


def test_unwrap() -> None:
    assert unwrap(Result(1, 42), lookup, None) == 42
    with pytest.raises(InvalidResult) as caught:
        unwrap(Mismatch(1, [{"loc": [], "type": "int_type", "msg": "no"}]), lookup, "c-1")
    assert caught.value.data == {"errors": [{"loc": [], "type": "int_type", "msg": "no"}]}
    assert (caught.value.outcome, caught.value.call_id) == (Outcome.FAILED, "c-1")
    with pytest.raises(ApplicationError) as untyped:
        unwrap(failure(-32000, type="Lost", detail={"sku": "a"}), UntypedMethod("a.lookup"), None)
    assert untyped.value.detail is None


@pytest.mark.parametrize(("sent", "outcome"), [(False, Outcome.NOT_SENT), (True, Outcome.UNKNOWN)])
def test_a_timeout_says_whether_it_was_sent(sent: bool, outcome: Outcome) -> None:
    error = CallTimeout("no reply in time", sent=sent, method="a.b")
    assert error.outcome is outcome
    assert isinstance(error, TimeoutError)
    assert str(error) == f"a.b: no reply in time (outcome: {outcome.value})"


@pytest.mark.parametrize(
    ("kind", "builtin", "outcome"),
    [
        (errors.ConnectFailed, ConnectionError, Outcome.NOT_SENT),
        (errors.ClientClosed, SuperdError, Outcome.NOT_SENT),
        (errors.MessageTooLarge, ValueError, Outcome.NOT_SENT),
        (errors.ConnectionLost, ConnectionError, Outcome.UNKNOWN),
    ],
)
def test_they_are_also_what_python_calls_them(
    kind: type[SuperdError], builtin: type[Exception], outcome: Outcome
) -> None:
    error = kind("what happened")
    assert isinstance(error, builtin)
    assert error.outcome is outcome
    assert str(error) == f"what happened (outcome: {outcome.value})"
