"""Facts, each asked for once. What can be had without the daemon is; the daemon is asked only where it runs already."""

import os
import platform
import pwd
import re
import time
from pathlib import Path
from typing import Final

from superd import __version__
from superd.ctl.doctor.asking import RunAs
from superd.ctl.doctor.examining import examine
from superd.ctl.doctor.facts import Accounts, Examination, Exposure, Facts, Place, Probe, Space, UnitFacts
from superd.ctl.doctor.findings import Unknown
from superd.ctl.doctor.host import (
    descriptors_of,
    exposure_of,
    find_packages,
    look_at_journal,
    look_up,
    who_calls,
)
from superd.ctl.doctor.places import look_at, room_in
from superd.ctl.doctor.units import Unit, show_sockets, show_units, show_version
from superd.ctl.session import Session
from superd.policy_names import BOOTED
from superd_client.builtin import Nothing, Status, status
from superd_client.errors import SuperdError
from superd_client.instances import Instance

#: Seconds for the daemon to say how it is, where the command line says nothing else. A healthy one takes a millisecond.
STATUS_SECONDS: Final = 5.0

#: Where systemd makes the folders of StateDirectory=.
_STATES: Final = "/var/lib"

#: Where the sockets of the host are.
_SOCKETS: Final = "/run"

#: What a unit has that was never loaded.
_NO_UNIT: Final = Unit({})


def gather(session: Session, *, seconds: float | None, probe: bool) -> Facts:
    """All facts about the superd at the address of the session; `probe` makes a call also where that starts it."""
    instance = session.address.instance if BOOTED.is_dir() else None
    wait = STATUS_SECONDS if seconds is None else seconds
    if instance is None:
        return _socket_alone(session, wait)
    # First: everything else is then seen as it is after it.
    probed = _probe(session, seconds) if probe else None
    units = show_units(instance.systemctl, (instance.service_unit, instance.socket_unit))
    service, socket = (units, units) if isinstance(units, Unknown) else units
    place = look_at(session.address, connect=isinstance(socket, Unit) and not socket.is_active)
    accounts = _accounts(service, socket)
    caller = who_calls(None if place is None or place.file is None else place.path, accounts.members)
    return UnitFacts(
        address=str(session.address),
        place=place,
        caller=caller,
        instance=instance,
        systemd=show_version(instance.systemctl),
        kernel=_kernel(),
        service=service,
        socket=socket,
        sockets=show_sockets(instance.systemctl),
        accounts=accounts,
        packages=find_packages(),
        examination=_examination(service, accounts, instance),
        descriptors=_descriptors(service),
        daemon=_ask(session, service, wait, may_connect=caller.may_connect),
        probe=probed,
        exposure=_exposure(service, instance),
        journal=look_at_journal(),
        run=_room_of(session.address.path),
        state=_state(service, instance),
        version=__version__,
    )


def _socket_alone(session: Session, seconds: float) -> Facts:
    """Where no unit belongs to the address: a connect starts nothing, so it is made."""
    place = look_at(session.address, connect=True)
    return Facts(
        address=str(session.address),
        place=place,
        caller=who_calls(None if place is None or place.file is None else place.path, ()),
        systemd=None if not BOOTED.is_dir() else Unknown("no unit is known for this address"),
        daemon=_say_alone(session, place, seconds),
        version=__version__,
    )


def _say_alone(session: Session, place: Place | None, seconds: float) -> Status | Unknown | None:
    if place is not None and place.answer:
        return Unknown(place.answer) if place.file is not None else None
    return _say(session, seconds)


def _say(session: Session, seconds: float | None) -> Status | Unknown:
    try:
        return session.ask(status, Nothing(), timeout=seconds)
    except SuperdError as error:
        return Unknown(str(error))


def _ask(
    session: Session, service: Unit | Unknown, seconds: float, *, may_connect: bool
) -> Status | Unknown | None:
    """What the daemon says of itself; None where it does not run."""
    if isinstance(service, Unknown) or not service.is_active or not may_connect:
        return None
    return _say(session, seconds)


def _probe(session: Session, seconds: float | None) -> Probe:
    """A first call, which may have to wait for a start: for as long as any call, unless the command line says so."""
    begin = time.monotonic_ns()
    answer = _say(session, seconds)
    usec = (time.monotonic_ns() - begin) // 1000
    return Probe(usec, answer.why if isinstance(answer, Unknown) else None)


def _accounts(service: Unit | Unknown, socket: Unit | Unknown) -> Accounts:
    service = _NO_UNIT if isinstance(service, Unknown) else service
    socket = _NO_UNIT if isinstance(socket, Unknown) else socket
    named = "" if service.get("DynamicUser") == "yes" else service.get("User")
    group = socket.get("SocketGroup")
    return look_up((named, socket.get("SocketUser")), (group,), group)


def _examination(service: Unit | Unknown, accounts: Accounts, instance: Instance) -> Examination | Unknown:
    unit = _NO_UNIT if isinstance(service, Unknown) else service
    return examine(instance, unit.argv, unit.environment, _account(unit, accounts))


def _account(unit: Unit, accounts: Accounts) -> RunAs | None:
    """Who the unit runs as, where we may become it."""
    uid = accounts.users.get(unit.get("User"))
    return None if os.geteuid() != 0 or not uid else RunAs(uid, pwd.getpwuid(uid).pw_gid)


def _descriptors(service: Unit | Unknown) -> int | Unknown | None:
    pid = None if isinstance(service, Unknown) else service.number("MainPID")
    return descriptors_of(pid) if pid else None


def _exposure(service: Unit | Unknown, instance: Instance) -> Exposure | Unknown | None:
    if isinstance(service, Unknown):
        return service
    if instance.user or not service.is_loaded:
        return None
    return exposure_of(instance.service_unit)


def _room_of(path: str | None) -> Space | None:
    """The room where the socket is; in /run for an abstract one, and where the folder is not there."""
    folder = _SOCKETS if path is None else str(Path(path).parent)
    return room_in(folder) or room_in(_SOCKETS)


def _state(service: Unit | Unknown, instance: Instance) -> Space | None:
    """The room for what services keep."""
    if isinstance(service, Unknown) or instance.user:
        return None
    folder, *_ = service.get("StateDirectory").split() or [""]
    return room_in(f"{_STATES}/{folder}") if folder else None


def _kernel() -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", platform.release())
    return (int(found[1]), int(found[2])) if found else (0, 0)
