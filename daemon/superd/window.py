"""The window of idempotency keys (protocol §20): which calls with a key were begun here, and what became of them.

Everything rests on one rule. A key that is not in the window and that its caller says was never sent before is new.
One that may have been sent before, since T, is new as well if the window is *complete* since T: if whatever was begun
with a key of this user since then is still in it. Else nobody can know, and the call is refused. So what falls out of
the window, by age, for want of room or with the process, costs callers an answer, and never carries a call out twice.

A window is complete since the latest of: its own beginning (`since_usec`), its age before now, and the beginning of
the youngest call of this user that had to go before its time (`gone_usec`).

All times are in microseconds of CLOCK_MONOTONIC, which callers read too.
"""

import operator
from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from pydantic_core import from_json, to_json

from superd.window_dump import ERROR_MARK, Dump, Record
from superd_client.wire.errors import ErrorCode, ErrorObject
from superd_client.wire.limits import (
    IDEMPOTENCY_AGE_DEFAULT,
    IDEMPOTENCY_BYTES_DEFAULT,
    IDEMPOTENCY_ENTRIES_DEFAULT,
)

#: What became of a call: its result as JSON, or the error to answer with.
Answer: TypeAlias = bytes | ErrorObject

#: The largest part of a user's bytes that one answer may take: a large one does not push out all others.
ANSWER_SHARE: Final = 8

#: How many times of what one user may have there may be in all.
USERS_SHARE: Final = 16

RESOURCE: Final = "idempotency_entries"


class WindowLimits(NamedTuple):
    """How long answers are kept after their calls ended; how many calls, and bytes of answers, of one user."""

    age_usec: int
    entries_of_user: int
    bytes_of_user: int


DEFAULT_LIMITS: Final = WindowLimits(
    IDEMPOTENCY_AGE_DEFAULT, IDEMPOTENCY_ENTRIES_DEFAULT, IDEMPOTENCY_BYTES_DEFAULT
)


class Entry:
    """One call with a key. It runs until `ended_usec` is set; then `answer` is what to tell a repeat, None if unknown."""

    __slots__ = ("answer", "began_usec", "call_id", "ended_usec", "fingerprint", "key", "uid")

    def __init__(self, uid: int, key: str, fingerprint: bytes, call_id: str, began_usec: int) -> None:
        self.uid: Final = uid
        self.key: Final = key
        self.fingerprint: Final = fingerprint
        #: Names the first call in the log.
        self.call_id: Final = call_id
        self.began_usec: Final = began_usec
        self.ended_usec: int | None = None
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


class _User:
    """The calls of one user: by key, and those that have ended in the order in which they did."""

    __slots__ = ("ended", "entries", "gone_usec", "size")

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.ended: dict[str, Entry] = {}
        #: Bytes of all answers.
        self.size = 0
        #: When the youngest call began that had to go before its time.
        self.gone_usec = 0


class Window:
    """Remembers calls with keys, within limits by user."""

    def __init__(self, limits: WindowLimits, now_usec: int) -> None:
        """Be complete since now."""
        self._limits: Final = limits
        self._since_usec = now_usec
        self._users: dict[int, _User] = {}
        #: What has ended, of all users, in the order in which it did.
        self._ended: dict[Entry, None] = {}
        self._count = self._size = 0

    def __len__(self) -> int:
        """How many calls it remembers."""
        return self._count

    @property
    def size(self) -> int:
        """Bytes of all answers."""
        return self._size

    # --- a call comes ------------------------------------------------------------------------------------------------

    def enter(
        self, uid: int, key: str, fingerprint: bytes, *, since_usec: int | None, call_id: str, now_usec: int
    ) -> Entry | Known | ErrorObject:
        """Begin a call; or what to answer in its place: what the first one came to, or why it is refused.

        `since_usec` is since when its key may have been sent, None if never before. An Entry is to be given to `end`
        or to `cancel`.
        """
        self._forget_old(now_usec)
        user = self._users.get(uid)
        if user is None:
            user = self._users[uid] = _User()
        found = user.entries.get(key)
        if found is not None:
            return _repeated(found, fingerprint)
        if since_usec is not None and not self._is_complete(user, since_usec, now_usec):
            self._forget_unused(uid, now_usec)
            return _conflict(
                "lost", "the key may have been used, and what became of the call is not known any more"
            )
        if not self._make_room(user):
            self._forget_unused(uid, now_usec)
            data = {"resource": RESOURCE, "used": len(user.entries), "limit": self._limits.entries_of_user}
            return ErrorObject(ErrorCode.RESOURCE_EXHAUSTED, "too many calls with keys run", data)
        entry = user.entries[key] = Entry(uid, key, fingerprint, call_id, now_usec)
        self._count += 1
        return entry

    def knows(self, uid: int, key: str) -> bool:
        """Whether a call with this key is remembered."""
        user = self._users.get(uid)
        return user is not None and key in user.entries

    def _is_complete(self, user: _User, since_usec: int, now_usec: int) -> bool:
        """Whether all calls with a key that this user has begun since then are still here; not so for what is to come."""
        known = max(self._since_usec, user.gone_usec, now_usec - self._limits.age_usec)
        return known < since_usec <= now_usec

    def _make_room(self, user: _User) -> bool:
        """Have room for one entry more of this user; False where all there is runs."""
        # The share of a user: one place, where quotas by user may decide in the place of the number.
        if len(user.entries) >= self._limits.entries_of_user and not self._evict(user):
            return False
        return self._count < USERS_SHARE * self._limits.entries_of_user or self._evict_any(
            user, len(user.entries) * len(self._users) > self._count
        )

    # --- a call ends -------------------------------------------------------------------------------------------------

    def end(self, entry: Entry, answer: Answer | None, now_usec: int) -> None:
        """Keep what a call came to; None where that is not known, or cannot be told again. Has an effect once."""
        if entry.ended_usec is None:
            self._end(entry, _written(answer), now_usec)

    def cancel(self, entry: Entry, now_usec: int) -> None:
        """Forget a call whose handler did not run. Has no effect on one that has ended."""
        if entry.ended_usec is None:
            self._remove(self._users[entry.uid], entry)
            self._forget_unused(entry.uid, now_usec)

    def _end(self, entry: Entry, answer: bytes | None, now_usec: int) -> None:
        user = self._users[entry.uid]
        entry.ended_usec = now_usec
        if answer is not None and self._keeps(user, len(answer)):
            entry.answer = answer
            user.size += entry.size
            self._size += entry.size
        user.ended[entry.key] = entry
        self._ended[entry] = None

    def _keeps(self, user: _User, size: int) -> bool:
        """Have room for an answer; False for one that is too large to be kept."""
        of_user = self._limits.bytes_of_user
        if size > of_user // ANSWER_SHARE:
            return False
        while user.size + size > of_user:
            self._evict(user)
        while self._size + size > USERS_SHARE * of_user:
            self._evict_any(user, user.size * len(self._users) > self._size)
        return True

    # --- what goes ---------------------------------------------------------------------------------------------------

    def _forget_old(self, now_usec: int) -> None:
        """Forget what ended longer ago than the age."""
        while self._ended:
            entry = next(iter(self._ended))
            if _end_of(entry) > now_usec - self._limits.age_usec:
                return
            self._remove(self._users[entry.uid], entry)
            self._forget_unused(entry.uid, now_usec)

    def _forget_unused(self, uid: int, now_usec: int) -> None:
        """Forget a user of whom there is nothing to know."""
        user = self._users[uid]
        if not user.entries and user.gone_usec <= max(0, now_usec - self._limits.age_usec):
            del self._users[uid]

    def _evict_any(self, user: _User, has_most: bool) -> bool:
        """Make room for `user`: by its own oldest if it has more than its share, else by the oldest of all."""
        oldest = next(iter(self._ended), None)
        if has_most and user.ended:
            return self._evict(user)
        return oldest is not None and self._evict(self._users[oldest.uid])

    def _evict(self, user: _User) -> bool:
        """Forget what ended first, before its time; False where nothing has ended."""
        oldest = next(iter(user.ended.values()), None)
        if oldest is None:
            return False
        user.gone_usec = max(user.gone_usec, oldest.began_usec)
        self._remove(user, oldest)
        return True

    def _remove(self, user: _User, entry: Entry) -> None:
        del user.entries[entry.key]
        user.ended.pop(entry.key, None)
        self._ended.pop(entry, None)
        user.size -= entry.size
        self._size -= entry.size
        self._count -= 1

    # --- from one process to the next --------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """All of it, as JSON data for `load`. What runs now is told as lost: nothing of it will be known."""
        return Dump(
            since_usec=self._since_usec,
            gone_usec={uid: user.gone_usec for uid, user in self._users.items() if user.gone_usec},
            entries=tuple(map(_as_record, self._all())),
        ).model_dump(mode="json")

    def _all(self) -> Iterator[Entry]:
        """All entries: those that have ended in the order in which they did, then those that run."""
        yield from self._ended
        for user in self._users.values():
            yield from (entry for entry in user.entries.values() if entry.ended_usec is None)

    def load(self, data: object, now_usec: int) -> None:
        """Go on from what another process has dumped, within this one's limits; to be called before any `enter`.

        Raises ValueError for what `dump` did not write, or not before now on this host, and changes nothing then.
        """
        dump = Dump.model_validate(data)
        ends = [now_usec if each.ended_usec is None else each.ended_usec for each in dump.entries]
        times = [dump.since_usec, *dump.gone_usec.values(), *ends]
        begins = [each.began_usec for each in dump.entries]
        if max(times) > now_usec or ends != sorted(ends) or any(map(operator.gt, begins, ends)):
            message = "the times of the window are not in order"
            raise ValueError(message)
        if len({(each.uid, each.key) for each in dump.entries}) < len(dump.entries):
            message = "a key stands in the window twice"
            raise ValueError(message)
        self._since_usec = dump.since_usec
        for uid, gone_usec in dump.gone_usec.items():
            self._users.setdefault(uid, _User()).gone_usec = gone_usec
        for record, ended_usec in zip(dump.entries, ends, strict=True):
            self._take(record, ended_usec)

    def _take(self, record: Record, ended_usec: int) -> None:
        user = self._users.setdefault(record.uid, _User())
        self._make_room(user)  # all has ended: there is always something that can go
        entry = Entry(
            record.uid, record.key, bytes.fromhex(record.fingerprint), record.call_id, record.began_usec
        )
        user.entries[record.key] = entry
        self._count += 1
        self._end(entry, None if record.answer is None else record.answer.encode(), ended_usec)


def _end_of(entry: Entry) -> int:
    return entry.began_usec if entry.ended_usec is None else entry.ended_usec


def _repeated(entry: Entry, fingerprint: bytes) -> Known | ErrorObject:
    if entry.fingerprint != fingerprint:
        return _conflict("different", "the key was used for another call: other params, or another method")
    if entry.ended_usec is None:
        return _conflict("running", "the first call with this key still runs")
    if entry.answer is None:
        return _conflict("lost", "the first call with this key was begun, and what became of it is not known")
    return Known(_read(entry.answer), entry.call_id)


def _conflict(reason: Literal["different", "running", "lost"], message: str) -> ErrorObject:
    return ErrorObject(ErrorCode.CONFLICT, message, {"reason": reason})


_ERROR: Final = ERROR_MARK.encode()


def _written(answer: Answer | None) -> bytes | None:
    return _ERROR + to_json(answer, inf_nan_mode="null") if isinstance(answer, ErrorObject) else answer


def _read(answer: bytes) -> Answer:
    return ErrorObject(*from_json(answer[1:])) if answer.startswith(_ERROR) else answer


def _as_record(entry: Entry) -> Record:
    return Record(
        uid=entry.uid,
        key=entry.key,
        fingerprint=entry.fingerprint.hex(),
        call_id=entry.call_id,
        began_usec=entry.began_usec,
        ended_usec=entry.ended_usec,
        answer=None if entry.answer is None else entry.answer.decode(),
    )
