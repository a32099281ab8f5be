"""What one process tells the next of its window of idempotency keys: JSON data, checked as strictly as a peer's."""

import functools
import operator
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter
from pydantic_core import from_json

from superd.window_store import Found
from superd_client.wire.envelope import FINGERPRINT_SIZE, CallId, KeyText, TimeUsec
from superd_client.wire.errors import ErrorObject

#: What stands before an answer that is an error; a JSON text does not begin so.
ERROR_MARK: Final = "\0"


@functools.cache
def _error() -> TypeAdapter[ErrorObject]:
    return TypeAdapter(ErrorObject)


def _check_answer(answer: str) -> str:
    """It is put into messages as it is, so that it must be JSON."""
    if answer.startswith(ERROR_MARK):
        _error().validate_json(answer[1:], strict=True)
    else:
        from_json(answer, allow_inf_nan=False)
    return answer


class _Part(BaseModel):
    # defer_build: only what follows a restart reads one, and every start would wait for it.
    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True
    )


class Record(_Part):
    """One call. `ended_usec` is None while it runs, `answer` where there is none to tell."""

    uid: Annotated[int, Field(ge=0, lt=1 << 32)]
    key: KeyText
    fingerprint: Annotated[str, Field(pattern=rf"^[0-9a-f]{{{2 * FINGERPRINT_SIZE}}}\z")]
    call_id: CallId
    began_usec: TimeUsec
    ended_usec: TimeUsec | None
    answer: Annotated[str, AfterValidator(_check_answer)] | None


class Dump(_Part):
    """A window. The entries that have ended stand first, in the order in which they did."""

    since_usec: TimeUsec
    gone_usec: dict[Annotated[int, Field(ge=0, lt=1 << 32, strict=False)], TimeUsec]
    entries: Annotated[tuple[Record, ...], Field(strict=False)]


def check_times(dump: Dump, now_usec: int) -> list[int]:
    """When each call ended, now where it ran; raises ValueError where that is not in order, or a key stands there twice."""
    ends = [now_usec if each.ended_usec is None else each.ended_usec for each in dump.entries]
    begins = [each.began_usec for each in dump.entries]
    latest = max(dump.since_usec, *dump.gone_usec.values(), *ends, 0)
    if latest > now_usec or ends != sorted(ends) or any(map(operator.gt, begins, ends)):
        message = "the times of the window are not in order"
        raise ValueError(message)
    if len({(each.uid, each.key) for each in dump.entries}) < len(dump.entries):
        message = "a key stands in the window twice"
        raise ValueError(message)
    return ends


def found_record(found: Found) -> dict[str, Any]:
    """What was written down, as a Record reads it."""
    return {
        "uid": found.uid,
        "key": found.key,
        "fingerprint": found.fingerprint.hex(),
        "call_id": found.call_id,
        "began_usec": found.began_usec,
        "ended_usec": found.ended_usec,
        "answer": None if found.answer is None else found.answer.decode(),
    }
