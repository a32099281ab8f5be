"""What users give to a client, checked: addresses, timeouts, call ids, limits."""

import itertools
import os
from typing import Final

from pydantic import ConfigDict, TypeAdapter, ValidationError

from superd_client.address import Address, SocketKind, default_address, parse_address
from superd_client.polling import LATENCIES, Latency
from superd_client.units import is_unit
from superd_client.wire.envelope import CallId
from superd_client.wire.limits import CALL_ID_MAX, FRAME_SIZE_MAX, FRAME_SIZE_MIN

#: Seconds that a call may take unless its caller says otherwise: what D-Bus gives a call (peers wait for ever).
DEFAULT_TIMEOUT: Final = 25.0

#: Seconds that a call waits for a server that is not there: as long as a Python daemon takes to start again whose
#: socket systemd does not hold, and short enough that a person who forgot to start it does not wonder.
WAIT_FOR_SERVER: Final = 1.0

_call_id: Final = TypeAdapter[str](CallId, config=ConfigDict(strict=True, hide_input_in_errors=True))


class _Process:
    """What tells the call ids of this process from those of all others: drawn anew in each forked child."""

    prefix: str | None = None
    clients = itertools.count(1)

    @classmethod
    def draw(cls) -> str:
        """The prefix, which stays as it is until `renew`."""
        if cls.prefix is None:
            cls.prefix = os.urandom(6).hex()
        return cls.prefix

    @classmethod
    def renew(cls) -> None:
        cls.prefix = None


os.register_at_fork(after_in_child=_Process.renew)


class CallIds:
    """Makes call ids that no other client makes: a random prefix, the client's number, and one that counts up."""

    __slots__ = ("_numbers", "_prefix")

    def __init__(self) -> None:
        """Take the next number of this process; its first client draws the prefix."""
        self._prefix: Final = f"{_Process.draw()}{next(_Process.clients):x}"
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


def check_wait_for_server(seconds: float) -> float:
    """Raise ValueError unless `seconds` are 0 or more; infinity is as long as the call may take."""
    if not seconds >= 0:
        message = f"wait_for_server is 0 or more seconds, not {seconds!r}"
        raise ValueError(message)
    return float(seconds)


def check_expect_unit(unit: str | None, address: Address) -> str | None:
    """Raise ValueError unless `unit` can be the name of a service or scope, and the server at `address` be proved."""
    if unit is None:
        return None
    if not is_unit(unit):
        message = f"expect_unit is the name of a service or scope, such as superd.service, not {unit!r}"
        raise ValueError(message)
    if address.kind is SocketKind.DATAGRAM:
        message = f"expect_unit needs a connection, which {address} has not: use a stream or seqpacket socket"
        raise ValueError(message)
    return unit


def check_latency(latency: Latency, address: Address) -> Latency:
    """Raise ValueError for anything else than a Latency, and for "low" without a connection to poll."""
    if latency not in LATENCIES:
        message = f'latency is "normal" or "low", not {latency!r}'
        raise ValueError(message)
    if latency == "low" and address.kind is SocketKind.DATAGRAM:
        message = (
            f'latency="low" needs a connection, which {address} has not: use a stream or seqpacket socket'
        )
        raise ValueError(message)
    return latency


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
