"""All checks, in the order of a report: what is wrong first is as a rule the cause of what follows."""

from collections.abc import Iterable, Iterator
from typing import Final

from superd.ctl.doctor import check_files, check_running, check_socket, check_units
from superd.ctl.doctor.facts import Facts
from superd.ctl.doctor.findings import Finding, Unknown, found
from superd.ctl.doctor.outcomes import Check, Outcome

CHECKS: Final = (
    Check("packages", "Installation", check_files.check_packages),
    Check("libraries", "Installation", check_files.check_libraries),
    Check("accounts", "Installation", check_socket.check_accounts),
    Check("version", "Installation", check_files.check_version, of_units=False),
    Check("systemd", "Host", check_running.check_systemd),
    Check("run", "Host", check_socket.check_room),
    Check("state", "Host", check_running.check_state),
    Check("journal", "Host", check_running.check_journal),
    Check("service", "Service", check_units.check_service),
    Check("unit-files", "Service", check_units.check_unit_files),
    Check("exposure", "Service", check_running.check_exposure),
    Check("socket-unit", "Socket", check_units.check_socket_unit),
    Check("neighbours", "Socket", check_units.check_neighbours),
    Check("socket-file", "Socket", check_socket.check_file, of_units=False),
    Check("socket-mode", "Socket", check_socket.check_mode),
    Check("callers", "Socket", check_socket.check_callers, of_units=False),
    Check("configuration", "Configuration", check_files.check_configuration),
    Check("policy", "Configuration", check_files.check_policy),
    Check("descriptors", "Limits", check_running.check_descriptors),
    Check("times", "Limits", check_running.check_times),
    Check("daemon", "Daemon", check_running.check_daemon, of_units=False),
    Check("watchdog", "Daemon", check_running.check_watchdog),
)

_ALONE: Final = Check("scope", "Host", lambda _: ())


def examine_all(facts: Facts, checks: Iterable[Check] = CHECKS) -> tuple[Outcome, ...]:
    """Run the checks that make sense. What is well, or could not be looked at, has the id of its check."""
    return tuple(_outcomes(facts, checks))


def _outcomes(facts: Facts, checks: Iterable[Check]) -> Iterator[Outcome]:
    alone = facts.instance is None
    if alone:
        yield Outcome(_ALONE, (_why_alone(facts),))
    for check in checks:
        if alone and check.of_units:
            continue
        findings = tuple(each if each.id else each._replace(id=check.id) for each in check.run(facts))
        if findings:
            yield Outcome(check, findings)


def _why_alone(facts: Facts) -> Finding:
    why = facts.systemd.why if isinstance(facts.systemd, Unknown) else "systemd does not run this host"
    return found("socket-only", f"{why}: only the socket {facts.address} was looked at")
