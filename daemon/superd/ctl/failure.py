"""What went wrong with a call, told to a person: what, where, what it means for trying again, where to look."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from superd.ctl.console import Console, Painted, Style, compact_json
from superd.ctl.exits import ExitStatus
from superd_client.errors import (
    ApplicationError,
    InvalidParams,
    MethodNotFound,
    Outcome,
    RemoteError,
    ResourceExhausted,
    SuperdError,
)

_STATUS: Final[Mapping[Outcome, ExitStatus]] = {
    Outcome.NOT_SENT: ExitStatus.NOT_SENT,
    Outcome.UNKNOWN: ExitStatus.UNKNOWN,
    Outcome.REFUSED: ExitStatus.REFUSED,
    Outcome.FAILED: ExitStatus.FAILED,
}

_MEANING: Final[Mapping[Outcome, str]] = {
    Outcome.NOT_SENT: "not sent, trying again is safe",
    Outcome.UNKNOWN: "unknown, it was sent and may have been carried out",
    Outcome.REFUSED: "refused, it was not carried out",
    Outcome.FAILED: "failed, it was carried out or begun",
}


def status_of(error: SuperdError) -> ExitStatus:
    """The exit status is the outcome."""
    return _STATUS[error.outcome]


def report(error: SuperdError, console: Console) -> None:
    """Write the failure, the sentence first."""
    subject = f"{error.method}: " if error.method else ""
    console.line(Painted("superctl: ", Style.BAD), subject, Painted(_sentence(error), Style.STRONG))
    for line in (*_details(error), *getattr(error, "__notes__", ())):
        console.line("  ", line)
    if error.outcome is not Outcome.NOT_SENT:
        console.line("  ", Painted(f"outcome: {_MEANING[error.outcome]}", Style.FAINT))
    if error.call_id and error.outcome is not Outcome.NOT_SENT:
        console.line("  ", Painted(f"journalctl SUPERD_CALL_ID={error.call_id}", Style.FAINT))


def _sentence(error: SuperdError) -> str:
    """The message, without what `_details` says line by line."""
    if isinstance(error, InvalidParams) and _listed(error):
        return "invalid params"
    if isinstance(error, MethodNotFound):
        return "no such method"
    return error.message


def _details(error: SuperdError) -> Iterator[str]:
    if isinstance(error, MethodNotFound):
        nearest = error.data.get("nearest")
        yield from (
            (f"did you mean {', '.join(map(str, nearest))}?",)
            if isinstance(nearest, list) and nearest
            else ()
        )
    elif isinstance(error, ApplicationError):
        yield from _declared(error.data)
    elif isinstance(error, ResourceExhausted):
        yield from (
            f"{name}: {error.data[name]}" for name in ("resource", "used", "limit") if name in error.data
        )
    elif isinstance(error, RemoteError):
        yield from _listed(error)


def _declared(data: Mapping[str, Any]) -> Iterator[str]:
    """The name and the value of a declared error."""
    if "type" in data:
        detail = data.get("detail")
        yield f"{data['type']}: {compact_json(detail)}" if detail else str(data["type"])


def _listed(error: RemoteError) -> list[str]:
    """One line for each fault that the server listed (protocol §8)."""
    faults = error.data.get("errors")
    if not isinstance(faults, list):
        return []
    lines = [_fault(fault) for fault in faults if isinstance(fault, Mapping)]
    omitted = error.data.get("omitted")
    return [*lines, f"and {omitted} more"] if omitted else lines


def _fault(fault: Mapping[str, Any]) -> str:
    loc = fault.get("loc")
    place = ".".join(map(str, loc)) if isinstance(loc, list) and loc else "params"
    return f"{place}: {fault.get('msg', 'does not fit')}"
