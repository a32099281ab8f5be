"""Errors as values."""

from superd_client.wire.errors import ErrorCode, ErrorObject, InternalFault


def test_a_fault_of_ours_keeps_its_cause_for_the_log_and_tells_nothing() -> None:
    cause = KeyError("secret")
    fault = InternalFault.of(cause)
    assert fault.cause is cause
    assert fault == ErrorObject(ErrorCode.INTERNAL_ERROR, "internal error", {})
    told = fault.with_data(call_id="c")
    assert told == ErrorObject(ErrorCode.INTERNAL_ERROR, "internal error", {"call_id": "c"})
    assert "secret" not in str(told)
