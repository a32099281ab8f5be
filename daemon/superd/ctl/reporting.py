"""superctl status: the daemon at a glance, as systemctl status shows a unit."""

import argparse
from collections.abc import Iterator

from superd.ctl.console import Console, Painted, Style
from superd.ctl.exits import ExitStatus
from superd.ctl.session import Session
from superd.timespan import format_span
from superd_client.builtin import Listener, Nothing, ServiceInfo, Status, Usage, status


def configure(parser: argparse.ArgumentParser) -> None:
    """`status` has no arguments of its own."""


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Ask for the status and write it."""
    answer = session.ask(status, Nothing(), timeout=getattr(arguments, "timeout", None))
    out = session.streams.out
    if getattr(arguments, "as_json", False):
        out.json(answer.model_dump(mode="json"))
    else:
        _write(answer, out)
    return ExitStatus.OK


def _write(answer: Status, out: Console) -> None:
    out.line(Painted("●", Style.GOOD), " ", Painted("superd", Style.STRONG), f" {answer.version}")
    rows = list(_rows(answer))
    column = max(len(label) for label, _ in rows)
    shown = ""
    for label, text in rows:
        # A label stands once above the lines that it is for.
        head = f"{label}: " if label != shown else "  "
        out.line(head.rjust(column + 2), text)
        shown = label


def _rows(answer: Status) -> Iterator[tuple[str, str]]:
    yield "Uptime", format_span(answer.uptime_usec)
    yield "PID", str(answer.pid)
    yield "Unit", answer.unit or "none"
    if answer.invocation_id:
        yield "Invocation", answer.invocation_id
    yield "systemd", answer.systemd_version or "not running"
    yield from (("Listeners", _listener(each)) for each in answer.listeners)
    yield (
        "Connections",
        (
            f"{answer.connections:,} open, {answer.connections_accepted:,} accepted, {answer.connections_refused:,} refused"
        ),
    )
    yield (
        "Calls",
        (
            f"{answer.calls_in_flight:,} in flight, {answer.calls_served:,} served, "
            f"{answer.calls_failed:,} failed, {answer.calls_refused:,} refused"
        ),
    )
    yield from (("Quotas", _usage(each)) for each in answer.usage)
    if answer.descriptors_max is not None:
        yield "Descriptors", f"at most {answer.descriptors_max:,}"
    closed = answer.connections_shed, answer.connections_timed_out
    if any(closed):
        yield "Given up", f"{closed[0]:,} connections for want of descriptors, {closed[1]:,} that stood still"
    if answer.log_lines_left_out:
        yield "Log", f"{answer.log_lines_left_out:,} lines left out"
    yield "Notifications", f"{answer.notifications:,}, {answer.notifications_failed:,} failed"
    yield "Loop lag", _lag(answer.loop_lag_usec, answer.loop_lag_max_usec)
    yield from (("Services", _service(each)) for each in answer.services)


def _listener(listener: Listener) -> str:
    by = f"systemd, {listener.name}" if listener.activated and listener.name else "systemd"
    return f"{listener.address} ({by if listener.activated else 'opened by superd'})"


def _lag(last: int | None, largest: int | None) -> str:
    if last is None:
        return "not measured"
    return format_span(last) if largest is None else f"{format_span(last)}, {format_span(largest)} at most"


def _usage(usage: Usage) -> str:
    users = "user" if usage.users == 1 else "users"
    text = f"{usage.resource}: {usage.used:,} of {usage.limit:,}, {usage.users:,} {users}"
    if usage.fullest_uid is None:
        return text
    return f"{text}, most by uid {usage.fullest_uid}: {usage.fullest_used:,}"


def _service(service: ServiceInfo) -> str:
    return f"{service.name} {service.version} ({service.methods} {'method' if service.methods == 1 else 'methods'})"
