"""All checks, in the order of a report: what is wrong first is as a rule the cause of what follows."""

from collections.abc import Iterable, Iterator
from typing import Final

from superd.ctl.doctor import check_files, check_running, check_socket, check_units
from superd.ctl.doctor.facts import Facts, UnitFacts
from superd.ctl.doctor.findings import Finding, Unknown, found
from superd.ctl.doctor.outcomes import Check, Outcome, UnitCheck

CHECKS: Final[tuple[Check | UnitCheck, ...]] = (
    UnitCheck("packages", "Installation", check_files.check_packages),
    UnitCheck("libraries", "Installation", check_files.check_libraries),
    UnitCheck("accounts", "Installation", check_socket.check_accounts),
    Check("version", "Installation", check_files.check_version),
    UnitCheck("systemd", "Host", check_running.check_systemd),
    UnitCheck("run", "Host", check_socket.check_room),
    UnitCheck("state", "Host", check_running.check_state),
    UnitCheck("journal", "Host", check_running.check_journal),
    UnitCheck("configuration", "Configuration", check_files.check_configuration),
    UnitCheck("policy", "Configuration", check_files.check_policy),
    UnitCheck("service", "Service", check_units.check_service),
    UnitCheck("unit-files", "Service", check_units.check_unit_files),
    UnitCheck("exposure", "Service", check_running.check_exposure),
    UnitCheck("socket-unit", "Socket", check_units.check_socket_unit),
    UnitCheck("neighbours", "Socket", check_units.check_neighbours),
    Check("socket-file", "Socket", check_socket.check_file),
    UnitCheck("socket-mode", "Socket", check_socket.check_mode),
    Check("callers", "Socket", check_socket.check_callers),
    UnitCheck("descriptors", "Limits", check_running.check_descriptors),
    UnitCheck("times", "Limits", check_running.check_times),
    Check("daemon", "Daemon", check_running.check_daemon),
    UnitCheck("watchdog", "Daemon", check_running.check_watchdog),
)

_ALONE: Final = Check("scope", "Host", lambda _: ())


def examine_all(facts: Facts) -> tuple[Outcome, ...]:
    """Run the checks that make sense. What is well, or could not be looked at, has the id of its check."""
    return tuple(outcome for outcome in _outcomes(facts) if outcome.findings)


def _outcomes(facts: Facts) -> Iterator[Outcome]:
    if not isinstance(facts, UnitFacts):
        yield Outcome(_ALONE, (_why_alone(facts),))
    for check in CHECKS:
        yield Outcome(check, _named(check.id, _run(check, facts)))


def _run(check: Check | UnitCheck, facts: Facts) -> Iterable[Finding]:
    if isinstance(check, Check):
        return check.run(facts)
    return check.run(facts) if isinstance(facts, UnitFacts) else ()


def _named(check: str, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(each if each.id else each._replace(id=check) for each in findings)


def _why_alone(facts: Facts) -> Finding:
    why = facts.systemd.why if isinstance(facts.systemd, Unknown) else "systemd does not run this host"
    return found("socket-only", f"{why}: only the socket {facts.address} was looked at")
