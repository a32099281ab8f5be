"""Idempotency keys (protocol §20): what tells a server that two calls are one."""

import re
import secrets
import threading
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Final, Self

from typing_extensions import override

from superd_client.wire.limits import IDEMPOTENCY_KEY_MAX

#: Bytes of a key that the client makes, before they are written as text: nobody draws one twice.
_KEY_SIZE: Final = 16

_TEXT: Final = re.compile(r"[A-Za-z0-9._:\-]+")
_STORED: Final = re.compile(r"([0-9a-f]{32})/([0-9]{1,19})/(.+)")


class IdempotencyKey:
    """Names one piece of work, however often it is asked for: all calls that are given it are carried out once.

    Make one for each piece of work. A repeat says since when the key may have been in use, so that a server which
    cannot know it any more refuses the repeat in place of doing the work again. To repeat in another process, store
    `dump()` before the first call, and `load` it there.
    """

    __slots__ = ("_lock", "_since_usec", "_uses", "text")

    def __init__(self, text: str | None = None) -> None:
        """Begin a piece of work, which nobody has asked for: by a random name, or `text`.

        Raises ValueError for a text that is no key: 1 to 64 characters out of A-Z a-z 0-9 . _ : -
        """
        self.text: Final = make_text() if text is None else _check_text(text)
        self._since_usec = now_usec()
        #: Calls that were begun with it and may have reached a server.
        self._uses = 0
        self._lock: Final = threading.Lock()

    @override
    def __repr__(self) -> str:
        """Show the name."""
        return f"<{type(self).__name__} {self.text}>"

    def dump(self) -> str:
        """What another process, or this program after its restart, can `load`."""
        return f"{_boot_id()}/{self._since_usec}/{self.text}"

    @classmethod
    def load(cls, stored: str) -> Self:
        """A key that may have been in use since it was made. After a reboot no server knows anything of it.

        Raises ValueError for what `dump` did not write.
        """
        match = _STORED.fullmatch(stored)
        if match is None:
            message = "not what IdempotencyKey.dump() writes"
            raise ValueError(message)
        boot, since, text = match.groups()
        key = cls(text)
        key._since_usec = int(since) if boot == _boot_id() else 0
        key._uses = 1
        return key

    def begin_use(self) -> int | None:
        """Note that a call begins: since when the key may have been in use, None if this is the first call."""
        with self._lock:
            self._uses += 1
            return self._since_usec if self._uses > 1 else None

    def take_back(self) -> None:
        """Note that a call which had begun was certainly not carried out."""
        with self._lock:
            self._uses -= 1


def make_text() -> str:
    """A key that nobody has used."""
    return secrets.token_hex(_KEY_SIZE)


def now_usec() -> int:
    """Microseconds of CLOCK_MONOTONIC, not later than now."""
    return int(monotonic() * 1_000_000)


def _check_text(text: str) -> str:
    if not _TEXT.fullmatch(text) or len(text) > IDEMPOTENCY_KEY_MAX:
        message = f"{text!r} is not an idempotency key: 1 to {IDEMPOTENCY_KEY_MAX} characters of A-Z a-z 0-9 . _ : -"
        raise ValueError(message)
    return text


@cache
def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip().replace("-", "")
