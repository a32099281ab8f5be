"""One call with an idempotency key, and what its repeats are told."""

from typing import Final, Literal, NamedTuple, TypeAlias

from pydantic_core import from_json, to_json

from superd.window_dump import ERROR_MARK, Record
from superd_client.wire.errors import ErrorCode, ErrorObject

#: What became of a call: its result as JSON, or the error to answer with.
Answer: TypeAlias = bytes | ErrorObject

_ERROR: Final = ERROR_MARK.encode()


class Entry:
    """One call with a key. It runs until `ended_usec` is set; then `answer` is what to tell a repeat, None if unknown."""

    __slots__ = ("answer", "began_usec", "call_id", "ended_usec", "fingerprint", "key", "slot", "uid")

    def __init__(self, uid: int, key: str, fingerprint: bytes, call_id: str, began_usec: int) -> None:
        self.uid: Final = uid
        self.key: Final = key
        self.fingerprint: Final = fingerprint
        #: Names the first call in the log.
        self.call_id: Final = call_id
        self.began_usec: Final = began_usec
        self.ended_usec: int | None = None
        #: Where it is written down, if it is.
        self.slot = -1
        #: As JSON: a result, or behind a zero byte an error.
        self.answer: bytes | None = None

    @property
    def size(self) -> int:
        """Bytes of its answer."""
        return 0 if self.answer is None else len(self.answer)


class Known(NamedTuple):
    """A repeat: the answer to the first call, which had this call id."""

    answer: Answer
    call_id: str


def tell_repeat(entry: Entry, fingerprint: bytes) -> Known | ErrorObject:
    """What to answer to a call whose key is that of `entry`."""
    if entry.fingerprint != fingerprint:
        return conflict("different", "the key was used for another call: other params, or another method")
    if entry.ended_usec is None:
        return conflict("running", "the first call with this key still runs")
    if entry.answer is None:
        return conflict("lost", "the first call with this key was begun, and what became of it is not known")
    return Known(_read(entry.answer), entry.call_id)


def conflict(reason: Literal["different", "running", "lost"], message: str) -> ErrorObject:
    """The refusal of a key, with its reason."""
    return ErrorObject(ErrorCode.CONFLICT, message, {"reason": reason})


def write_answer(answer: Answer | None) -> bytes | None:
    """An answer as an Entry keeps it."""
    return _ERROR + to_json(answer, inf_nan_mode="null") if isinstance(answer, ErrorObject) else answer


def _read(answer: bytes) -> Answer:
    return ErrorObject(*from_json(answer[1:])) if answer.startswith(_ERROR) else answer


def as_record(entry: Entry) -> Record:
    """The entry for a dump."""
    return Record(
        uid=entry.uid,
        key=entry.key,
        fingerprint=entry.fingerprint.hex(),
        call_id=entry.call_id,
        began_usec=entry.began_usec,
        ended_usec=entry.ended_usec,
        answer=None if entry.answer is None else entry.answer.decode(),
    )


def end_of(entry: Entry) -> int:
    """When it ended, or began, if it runs."""
    return entry.began_usec if entry.ended_usec is None else entry.ended_usec
