"""The service and the socket as systemd has them."""

from collections.abc import Iterator
from typing import Final

from superd.ctl.doctor.facts import UnitFacts
from superd.ctl.doctor.findings import Finding, Unknown, found, unchecked, well
from superd.ctl.doctor.mending import drop_in, install_again, reload_units, start_again, systemctl
from superd.ctl.doctor.units import Unit
from superd.ctl.selection import count
from superd_client.instances import Instance

#: What the exit statuses of superd and of systemd's own part of a start say (systemd.exec(5)).
_STATUSES: Final = {
    "1": "it failed",
    "78": "the configuration is wrong, or the installation not complete",
    "203": "the program cannot be run",
    "209": "its standard output cannot be set up",
    "217": "its user does not exist",
    "226": "its namespaces cannot be set up",
    "233": "a folder of it cannot be made",
    "238": "its state folder cannot be made",
    "243": "a credential cannot be had",
}

#: States of unit files with which a unit is there after a boot.
_ENABLED: Final = frozenset({"enabled", "enabled-runtime", "static", "linked", "generated", "alias"})


def check_service(facts: UnitFacts) -> Iterator[Finding]:
    """Whether the service could be started, and what became of it."""
    unit, instance = facts.service, facts.instance
    if isinstance(unit, Unknown):
        yield unchecked(unit)
        return
    state, result = unit.get("ActiveState"), unit.get("Result")
    if not unit.is_loaded:
        yield _not_loaded(facts, unit, "service")
    elif result == "start-limit-hit":
        yield found(
            "start-limit-hit",
            f"{unit.name} failed too often in a short time, and is not tried any more",
            start_again(instance),
        )
    elif state == "failed":
        yield found("service-failed", f"{unit.name} has failed{_why(unit)}", start_again(instance))
    elif state == "activating" and (tried := _tries(unit)):
        yield found(
            "service-restarting",
            f"{unit.name} does not come up, and is tried again each second ({count(tried, 'failed start')} so far){_why(unit)}",
            f"journalctl {'--user ' if instance.user else ''}--unit={unit.name} --priority=err --lines=10",
        )
    elif unit.is_active:
        yield well(f"{unit.name} runs, process {unit.get('MainPID')}")
    else:
        yield well(f"{unit.name} does not run; the first connection starts it")


def check_unit_files(facts: UnitFacts) -> Iterator[Finding]:
    """Whether systemd has read what the files say, and whether they take away what superd needs."""
    instance = facts.instance
    service, socket = facts.service, facts.socket
    if isinstance(service, Unknown) or isinstance(socket, Unknown):
        yield unchecked(Unknown("systemd cannot be asked"))
        return
    stale = [unit.name for unit in (service, socket) if unit.get("NeedDaemonReload") == "yes"]
    if stale:
        yield found(
            "needs-daemon-reload",
            f"the files of {' and '.join(stale)} have changed since systemd read them",
            f"{reload_units(instance)} && {systemctl(instance, 'try-restart', instance.service_unit)}",
        )
    undone = list(_undone(service, instance))
    yield from undone
    if not stale and not undone:
        yield well(f"drop-ins of {instance.service_unit}: {service.get('DropInPaths') or 'none'}")


def _undone(unit: Unit, instance: Instance) -> Iterator[Finding]:
    """Sandboxing that hides from superd who calls."""
    # A user's manager cannot do without PrivateUsers=, and nobody but the user connects to it.
    if not instance.user and unit.get("PrivateUsers") not in {"", "no"}:
        yield found(
            "private-users",
            f"PrivateUsers={unit.get('PrivateUsers')}: every client but root and superd itself looks like nobody, so rules by user and group do not work",
            drop_in(instance, "PrivateUsers", "no"),
        )
    if unit.get("ProtectProc") not in {"", "default"}:
        yield found(
            "protect-proc",
            f"ProtectProc={unit.get('ProtectProc')}: the units of clients are not seen, so rules by unit do not match",
            drop_in(instance, "ProtectProc", "default"),
        )
    if unit.get("ProtectControlGroupsEx") in {"private", "strict"}:
        yield found(
            "protect-control-groups",
            f"ProtectControlGroups={unit.get('ProtectControlGroupsEx')}: the units of clients are garbled, so rules by unit do not match",
            drop_in(instance, "ProtectControlGroups", "yes"),
        )


def check_socket_unit(facts: UnitFacts) -> Iterator[Finding]:
    """Whether systemd listens, where clients look, and will after the next boot."""
    unit, instance = facts.socket, facts.instance
    if isinstance(unit, Unknown):
        yield unchecked(unit)
        return
    if not unit.is_loaded:
        yield _not_loaded(facts, unit, "socket")
        return
    faults = [*_not_listening(unit, instance), *_elsewhere(facts, unit, instance)]
    yield from faults or [well(f"{unit.name} listens on {', '.join(unit.paths)}")]
    wanted = [each for each in _words(unit, "WantedBy", "RequiredBy") if each != instance.service_unit]
    if unit.is_active and unit.get("UnitFileState") not in _ENABLED and not wanted:
        yield found(
            "socket-not-enabled",
            f"{unit.name} listens now, and will not after the next boot: it is {unit.get('UnitFileState') or 'not enabled'}",
            systemctl(instance, "enable", unit.name),
        )


def check_neighbours(facts: UnitFacts) -> Iterator[Finding]:
    """Whether another unit listens on the same path: the one that came last has it, and the other hears nothing."""
    if isinstance(facts.sockets, Unknown):
        yield unchecked(facts.sockets)
        return
    instance, path = facts.instance, facts.place.path if facts.place else ""
    others = [
        unit
        for unit in facts.sockets
        if unit.name != instance.socket_unit and path in unit.paths and unit.is_active
    ]
    for other in others:
        yield found(
            "socket-path-shared",
            f"{other.name} listens on {path}, too: who connects reaches the one that was started last",
            f"{systemctl(instance, 'disable', '--now', other.name)} && {systemctl(instance, 'restart', instance.socket_unit)}",
        )
    if not others:
        yield well(f"no other unit listens on {path}")


def _not_listening(unit: Unit, instance: Instance) -> Iterator[Finding]:
    if unit.get("ActiveState") == "failed":
        yield found(
            "socket-failed",
            f"{unit.name} has failed ({unit.get('Result')}): nobody can connect",
            start_again(instance),
        )
    elif not unit.is_active:
        yield found(
            "socket-stopped",
            f"{unit.name} does not listen: nobody can connect",
            systemctl(instance, "enable", "--now", unit.name),
        )


def _elsewhere(facts: UnitFacts, unit: Unit, instance: Instance) -> Iterator[Finding]:
    path = facts.place.path if facts.place else ""
    if unit.paths and path not in unit.paths:
        yield found(
            "socket-elsewhere",
            f"{unit.name} listens on {', '.join(unit.paths)}, and clients look at {path}",
            drop_in(instance, "ListenStream", rf"\nListenStream={path}", section="Socket"),
        )


def _not_loaded(facts: UnitFacts, unit: Unit, kind: str) -> Finding:
    """A unit that systemd will not start."""
    instance, state = facts.instance, unit.get("LoadState")
    if state == "masked":
        unmask = systemctl(instance, "unmask", unit.name)
        start = f" && {systemctl(instance, 'start', unit.name)}" if kind == "socket" else ""
        return found(f"{kind}-masked", f"{unit.name} is masked: nothing can start it", f"{unmask}{start}")
    if state == "not-found":
        return found(f"{kind}-not-found", f"there is no {unit.name}", install_again(facts))
    said = unit.get("LoadError").partition(" ")[2].strip('"')
    return found(
        f"{kind}-bad-unit",
        f"systemd cannot read {unit.name} ({state}){f': {said}' if said else ''}",
        f"systemd-analyze {'--user ' if instance.user else ''}verify {unit.name}",
    )


def _tries(unit: Unit) -> int:
    """How often it has failed to come up; 0 where it is on its way for the first time."""
    waits = unit.get("SubState").startswith("auto-restart")
    return (unit.number("NRestarts") or 0) + waits


def _why(unit: Unit) -> str:
    status = unit.get("ExecMainStatus")
    said = unit.get("StatusText")
    if said:
        return f": {said}"
    known = f", {_STATUSES[status]}" if status in _STATUSES else ""
    return f": {unit.get('Result')}{f', status {status}' if status not in {'', '0'} else ''}{known}"


def _words(unit: Unit, *names: str) -> list[str]:
    return [word for name in names for word in unit.get(name).split()]
