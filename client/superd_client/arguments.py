"""What users give to a client, checked: addresses, timeouts, call ids, limits."""

import itertools
import os
from typing import Final

from pydantic import ConfigDict, TypeAdapter, ValidationError

from superd_client.address import Address, default_address, parse_address
from superd_client.wire.envelope import CallId
from superd_client.wire.limits import CALL_ID_MAX, FRAME_SIZE_MAX, FRAME_SIZE_MIN

#: Seconds that a call may take unless its caller says otherwise: what D-Bus gives a call (peers wait for ever).
DEFAULT_TIMEOUT: Final = 25.0

_call_id: Final = TypeAdapter[str](CallId, config=ConfigDict(strict=True, hide_input_in_errors=True))


class CallIds:
    """Makes call ids that no other client makes: a random prefix, and a number that counts up."""

    __slots__ = ("_numbers", "_prefix")

    def __init__(self) -> None:
        """Draw the prefix."""
        self._prefix: Final = os.urandom(6).hex()
        self._numbers: Final = itertools.count(1)

    def make(self) -> str:
        """The next id. Safe to call from several threads at once."""
        return f"{self._prefix}-{next(self._numbers)}"


def check_address(address: str | Address | None) -> Address:
    """The address that a client was given, read; raises ValueError."""
    if address is None:
        return default_address()
    return parse_address(address) if isinstance(address, str) else address


def check_timeout(seconds: float) -> float:
    """Raise ValueError unless `seconds` are finite and more than 0: no call waits for ever."""
    if not 0 < seconds < float("inf"):
        message = f"a timeout is a finite number of seconds above 0, not {seconds!r}"
        raise ValueError(message)
    return float(seconds)


def check_call_id(call_id: str) -> str:
    """Raise ValueError for a call id against protocol §5."""
    try:
        return _call_id.validate_python(call_id)
    except ValidationError:
        message = (
            f"a call id has 1 to {CALL_ID_MAX} characters out of A-Z a-z 0-9 . _ : -, unlike {call_id!r}"
        )
        raise ValueError(message) from None


def check_frame_limit(size: int) -> int:
    """Raise ValueError for a frame limit that the protocol does not admit (§2)."""
    if not FRAME_SIZE_MIN <= size <= FRAME_SIZE_MAX:
        message = f"a frame limit is between {FRAME_SIZE_MIN} and {FRAME_SIZE_MAX} bytes, not {size!r}"
        raise ValueError(message)
    return size
