"""What a check says: how it is, and the command that mends it. docs/reference/superctl.md lists the ids; a test compares."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple


class Severity(StrEnum):
    """How bad it is. A warning and a fault make the exit status 1."""

    OK = "ok"
    #: It could not be looked at; the message says why.
    UNCHECKED = "unchecked"
    #: Worth to know, and all is well.
    NOTE = "note"
    #: It works, and not as it should.
    WARNING = "warning"
    #: Calls fail, or will at the next start.
    FAULT = "fault"


class Finding(NamedTuple):
    """One line of a report. `id` is stable; of what is well or unchecked it is that of the check."""

    id: str
    severity: Severity
    message: str
    #: Commands of the shell, to be carried out as root where the unit is the system's.
    fix: str | None = None


#: All that may be found, by how bad it is.
SEVERITIES: Final[Mapping[str, Severity]] = {
    **dict.fromkeys(
        (
            "config-invalid",
            "config-unknown-key",
            "config-unreadable",
            "daemon-silent",
            "group-missing",
            "libraries-broken",
            "listen-address-wrong",
            "package-files-changed",
            "package-half-configured",
            "policy-invalid",
            "private-users",
            "probe-failed",
            "run-full",
            "service-bad-unit",
            "service-broken",
            "service-failed",
            "service-masked",
            "service-not-found",
            "service-restarting",
            "socket-bad-unit",
            "socket-elsewhere",
            "socket-failed",
            "socket-file-foreign",
            "socket-file-missing",
            "socket-folder-closed",
            "socket-masked",
            "socket-not-found",
            "socket-of-another",
            "socket-path-shared",
            "socket-stale",
            "socket-stopped",
            "start-limit-hit",
            "systemd-old",
            "user-missing",
        ),
        Severity.FAULT,
    ),
    **dict.fromkeys(
        (
            "caller-may-not-connect",
            "descriptors-few",
            "descriptors-stale",
            "drain-too-long",
            "exposure-high",
            "loop-slow",
            "needs-daemon-reload",
            "policy-doubtful",
            "protect-control-groups",
            "protect-proc",
            "restart-needed",
            "socket-folder-writable",
            "socket-mode",
            "socket-not-enabled",
            "state-full",
            "store-too-small",
        ),
        Severity.WARNING,
    ),
    **dict.fromkeys(
        (
            "journal-rate-limit",
            "journal-unreadable",
            "journal-volatile",
            "nobody-may-connect",
            "orjson-missing",
            "python-systemd-missing",
            "socket-for-everybody",
            "socket-only",
            "uvloop-missing",
            "watchdog-off",
        ),
        Severity.NOTE,
    ),
}


class Unknown(NamedTuple):
    """In the place of a fact that cannot be had, and why not: "need root"."""

    why: str


def found(finding: str, message: str, fix: str | None = None) -> Finding:
    """Something that is not as it should be, or that one should know."""
    return Finding(finding, SEVERITIES[finding], message, fix)


def well(message: str) -> Finding:
    """What a check looked at is as it should be."""
    return Finding("", Severity.OK, message)


def unchecked(unknown: Unknown) -> Finding:
    """A check could not look."""
    return Finding("", Severity.UNCHECKED, f"not checked: {unknown.why}")
