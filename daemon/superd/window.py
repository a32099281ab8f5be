"""The window of idempotency keys (protocol §20): which calls with a key were begun here, and what became of them.

Everything rests on one rule. A key that is not in the window and that its caller says was never sent before is new.
One that may have been sent before, since T, is new as well if the window is *complete* since T: if whatever was begun
with a key of this user since then is still in it. Else nobody can know, and the call is refused. So what falls out of
the window, by age, for want of room or with the process, costs callers an answer, and never carries a call out twice.

A window is complete since the latest of: its own beginning (`since_usec`), its age before now, and the beginning of
the youngest call of this user that had to go before its time (`gone_usec`).

All times are in microseconds of CLOCK_MONOTONIC, which callers read too.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from superd.window_dump import Dump, Record, check_times, found_record
from superd.window_entry import Answer, Entry, Known, as_record, conflict, end_of, tell_repeat, write_answer
from superd.window_store import WindowStore
from superd_client.wire.errors import ErrorCode, ErrorObject
from superd_client.wire.limits import (
    IDEMPOTENCY_AGE_DEFAULT,
    IDEMPOTENCY_BYTES_DEFAULT,
    IDEMPOTENCY_ENTRIES_DEFAULT,
)

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


class _User:
    """The calls of one user: by key, and those that have ended in the order in which they did."""

    __slots__ = ("ended", "entries", "gone_usec", "size")

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        # Not a dict: to find its first entry after many were removed means to look at all their places.
        self.ended: OrderedDict[str, Entry] = OrderedDict()
        #: Bytes of all answers.
        self.size = 0
        #: When the youngest call began that had to go before its time.
        self.gone_usec = 0


class Window:
    """Remembers calls with keys, within limits by user."""

    def __init__(self, limits: WindowLimits, now_usec: int, store: WindowStore | None = None) -> None:
        """Be complete since now; or go on from what is in `store`, within these limits, and write all down there.

        Raises ValueError for a store that makes no sense.
        """
        self._limits: Final = limits
        self._since_usec = now_usec
        self._store: Final = store
        self._stored_since_usec = 0
        self._users: dict[int, _User] = {}
        #: What has ended, of all users, in the order in which it did.
        self._ended: OrderedDict[Entry, None] = OrderedDict()
        self._count = self._size = 0
        if store is not None:
            self._recover(store, now_usec)

    def __len__(self) -> int:
        """How many calls it remembers."""
        return self._count

    @property
    def size(self) -> int:
        """Bytes of all answers."""
        return self._size

    def close(self) -> None:
        """Write nothing down any more. Who keeps the store has what was written; nothing may be entered or ended after this."""
        if self._store is not None:
            self._store.close()

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
            return tell_repeat(found, fingerprint)
        if since_usec is not None and not self._is_complete(user, since_usec, now_usec):
            self._forget_unused(uid, now_usec)
            return conflict(
                "lost", "the key may have been used, and what became of the call is not known any more"
            )
        entry = Entry(uid, key, fingerprint, call_id, now_usec)
        if not (self._make_room(user) and self._write_down(entry)):
            self._forget_unused(uid, now_usec)
            data = {"resource": RESOURCE, "used": len(user.entries), "limit": self._limits.entries_of_user}
            return ErrorObject(ErrorCode.RESOURCE_EXHAUSTED, "too many calls with keys run", data)
        user.entries[key] = entry
        self._count += 1
        return entry

    def _write_down(self, entry: Entry) -> bool:
        """Write that a call begins, where that is to outlive the process; False where the kernel has no room."""
        if self._store is not None:
            try:
                self._store.begin(entry)
            except OSError:
                return False
        return True

    def promises(self, now_usec: int) -> bool:
        """Whether a call with a key runs, or its answer is still owed to repeats of it."""
        self._forget_old(now_usec)
        return self._count > 0

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
            written = write_answer(answer)
            if self._store is not None and entry.slot >= 0:
                self._store.end(entry, written, now_usec)
            self._end(entry, written, now_usec)

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
            if end_of(entry) > now_usec - self._limits.age_usec:
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
        if oldest.began_usec > self._stored_since_usec:
            # For all users, which costs some of them an answer if this process is killed.
            self._store_since(oldest.began_usec)
        self._remove(user, oldest)
        return True

    def _store_since(self, usec: int) -> None:
        """Write since when what is written is complete."""
        if self._store is not None:
            self._stored_since_usec = usec
            self._store.set_complete_since(usec)

    def _remove(self, user: _User, entry: Entry) -> None:
        del user.entries[entry.key]
        user.ended.pop(entry.key, None)
        self._ended.pop(entry, None)
        user.size -= entry.size
        self._size -= entry.size
        self._count -= 1
        if self._store is not None and entry.slot >= 0:
            self._store.remove(entry)

    # --- from one process to the next --------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """All of it, as JSON data for `load`. What runs now is told as lost: nothing of it will be known."""
        return Dump(
            since_usec=self._since_usec,
            gone_usec={uid: user.gone_usec for uid, user in self._users.items() if user.gone_usec},
            entries=tuple(map(as_record, self._all())),
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
        ends = check_times(dump, now_usec)
        self._since_usec = dump.since_usec
        for uid, gone_usec in dump.gone_usec.items():
            self._users.setdefault(uid, _User()).gone_usec = gone_usec
        written = [self._take(record, usec) for record, usec in zip(dump.entries, ends, strict=True)]
        if all(written):
            # Last, for only now is all of it written.
            self._store_since(max([dump.since_usec, *(user.gone_usec for user in self._users.values())]))

    def _recover(self, store: WindowStore, now_usec: int) -> None:
        """Go on from what another process has written down; what had not ended then is lost."""
        self._since_usec = self._stored_since_usec = store.complete_since_usec
        found = sorted(
            store.read(), key=lambda each: now_usec if each.ended_usec is None else each.ended_usec
        )
        data = Dump.model_validate(
            {"since_usec": self._since_usec, "gone_usec": {}, "entries": [*map(found_record, found)]}
        )
        ends = check_times(data, now_usec)
        for record, ended_usec, each in zip(data.entries, ends, found, strict=True):
            self._take(record, ended_usec, each.slot)

    def _take(self, record: Record, ended_usec: int, slot: int = -1) -> bool:
        """Remember what another process has begun; whether it is written down, as what has a slot is already."""
        user = self._users.setdefault(record.uid, _User())
        self._make_room(user)  # all has ended: there is always something that can go
        entry = Entry(
            record.uid, record.key, bytes.fromhex(record.fingerprint), record.call_id, record.began_usec
        )
        answer = None if record.answer is None else record.answer.encode()
        entry.slot = slot
        written = slot >= 0 or self._write_down(entry)
        if self._store is not None and written and slot < 0:
            self._store.end(entry, answer, ended_usec)
        user.entries[record.key] = entry
        self._count += 1
        self._end(entry, answer, ended_usec)
        return written
