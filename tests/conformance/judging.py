"""Checks, each of which shows some clauses of the protocol, and what comes out of them."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

from tests.conformance.peer import Address


class Failed(Exception):
    """The server did something else than the page says."""

    def __init__(self, expected: object, seen: object) -> None:
        """Put both into words."""
        super().__init__(f"expected {shown(expected)}; saw {shown(seen)}")


class NotApplicable(Exception):
    """This cannot be asked of this server; the text says why."""


#: Characters of a value that a report shows.
_SHOWN: Final = 300


def shown(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text):,} characters)"


class Server(NamedTuple):
    """The server that is judged, and what it was found out about it."""

    address: Address
    #: Seconds that it gets for anything.
    patience: float
    #: What `rpc.hello` said of it; empty if it does not know that.
    hello: dict[str, Any]
    #: Its process, if it may be stopped.
    pid: int | None

    def limit(self, name: str, default: int) -> int:
        """A limit in force, by its name on the page in lower case."""
        limits = self.hello.get("limits")
        value = limits.get(name, default) if isinstance(limits, dict) else default
        return value if isinstance(value, int) else default


Run: TypeAlias = Callable[[Server], None]

STREAM: Final = "stream"
PACKET: Final = "seqpacket"
DATAGRAM: Final = "datagram"
CONNECTED: Final = (STREAM, PACKET)
ALL: Final = (STREAM, PACKET, DATAGRAM)


class Check(NamedTuple):
    """One thing to try, on these types of socket; it shows these clauses."""

    clauses: tuple[str, ...]
    name: str
    sockets: tuple[str, ...]
    run: Run
    #: Whether the server is stopped by it: done last.
    stops: bool


CHECKS: Final[list[Check]] = []


def check(*clauses: str, sockets: tuple[str, ...] = CONNECTED, stops: bool = False) -> Callable[[Run], Run]:
    """Register a check; its docstring says what it tries."""

    def register(run: Run) -> Run:
        CHECKS.append(Check(clauses, (run.__doc__ or run.__name__).strip(), sockets, run, stops))
        return run

    return register


# --- what checks say ---------------------------------------------------------------------------------------------------


def same(seen: object, expected: object) -> None:
    """Fail unless both are equal, and of one type: 1, 1.0 and true are three."""
    if type(seen) is not type(expected) or seen != expected:
        raise Failed(expected, seen)


def holds(condition: object, expected: str, seen: object) -> None:
    if not condition:
        raise Failed(expected, seen)


def is_result(message: dict[str, Any], request_id: object, value: object) -> None:
    same(message, {"jsonrpc": "2.0", "id": request_id, "result": value})


def is_failure(message: dict[str, Any], request_id: object, *codes: int) -> dict[str, Any]:
    """Fail unless it is a failure as §4.4 and §8 have it; returns its data."""
    holds(set(message) == {"jsonrpc", "id", "error"}, f"a failure with one of {codes}", message)
    same(message["jsonrpc"], "2.0")
    same(message["id"], request_id)
    error = message["error"]
    holds(
        isinstance(error, dict) and set(error) <= {"code", "message", "data"}, "code, message and data", error
    )
    holds(error.get("code") in codes, f"one of the codes {codes}", message)
    holds(isinstance(error.get("message"), str), "a message that is a string", error)
    data = error.get("data")
    holds(isinstance(data, dict) and is_call_id(data.get("call_id")), "a data.call_id", error)
    return dict(data or {})


def is_call_id(value: object) -> bool:
    legal = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-"
    return isinstance(value, str) and 1 <= len(value) <= 64 and set(value) <= set(legal)


def has_faults(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Fail unless `errors` lists faults as 8.15 has it; returns them."""
    faults = data.get("errors")
    holds(isinstance(faults, list) and 1 <= len(faults) <= 32, "1 to 32 faults in data.errors", data)
    for fault in faults or []:
        holds(isinstance(fault, dict) and set(fault) == {"loc", "type", "msg"}, "loc, type and msg", fault)
        holds(isinstance(fault["loc"], list) and len(fault["loc"]) <= 32, "a list of at most 32 parts", fault)
        holds(all(isinstance(part, str | int) for part in fault["loc"]), "names and indexes", fault)
        holds(all(len(str(part)) <= 64 for part in fault["loc"]), "names of at most 64 characters", fault)
        holds(isinstance(fault["type"], str), "a type that is a string", fault)
        holds(isinstance(fault["msg"], str) and len(fault["msg"]) <= 200, "at most 200 characters", fault)
    return list(faults or [])
