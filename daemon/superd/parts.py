"""What a daemon is made of, out of its settings: services, sockets, limits; and what is wrong with them."""

import os
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from superd import __version__
from superd.administration import Administrator
from superd.descriptor_limit import Room, own_limit, raise_limit, room_for
from superd.guard import Guard
from superd.journal import MessageId, get_logger
from superd.listeners import Listener, ListenError, activated_listeners, bind_listener, wrong_addresses
from superd.peer import Caller
from superd.policy_load import PolicyError, load_policy
from superd.policy_names import daemon_account
from superd.quota import Quotas
from superd.registry import Registry, ServiceError, load_service
from superd.report import Reporter, limits_in_force, totals_in_force, unit_of_service
from superd.restart import STORED
from superd.sd.activation import ActivationError, Passed, take_passed
from superd.sd.watchdog import Watchdog
from superd.service import Service
from superd.services.echo import echo_service
from superd.services.protocol import protocol_service
from superd.services.status import status_service
from superd.session import SessionLimits
from superd.settings import Settings
from superd.stalls import Timeouts
from superd.stats import Stats
from superd.window import WindowLimits
from superd.window_kept import STORED_WINDOW
from superd_client.address import SocketKind
from superd_client.contract import Method
from superd_client.instances import Instance, instance_at


class ExitStatus(IntEnum):
    """How the process ends; docs/reference/superd.md explains them. 78 is EX_CONFIG of sysexits.h."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CONFIG = 78


class StartError(Exception):
    """The daemon cannot start; the text says why, `status` is what to exit with."""

    def __init__(self, message: str, status: ExitStatus, cause: BaseException | None = None) -> None:
        """Say why, and how to exit; `cause` is what a service's own code raised, for the log."""
        super().__init__(message)
        self.status = status
        self.cause = cause


def load_services(settings: Settings) -> list[Service]:
    """Import the services that the settings name; raises StartError."""
    try:
        return [load_service(name) for name in settings.services]
    except ServiceError as error:
        raise StartError(str(error), ExitStatus.CONFIG, error.__cause__) from error


def make_registry(
    settings: Settings,
    reporter: Reporter,
    guard: Guard,
    administrator: Administrator,
    stop: Callable[[], None],
) -> Registry:
    """The services that the settings ask for, superd's own first; raises StartError.

    `guard` says what callers see, `stop` ends the daemon.
    """
    built_in: dict[str, Callable[[], Service]] = {
        "echo": lambda: echo_service(__version__),
        "status": lambda: status_service(
            __version__, reporter.status, stop, unit_of_service(), administrator.register
        ),
    }

    def visible(caller: Caller) -> tuple[Method[Any, Any], ...]:
        return guard.visible(registry.methods, caller)

    discovers = "discover" in settings.builtin_services
    services = [built_in[name]() for name in settings.builtin_services if name in built_in]
    services.append(protocol_service(__version__, reporter.hello, visible if discovers else None))
    try:
        registry = Registry(services + load_services(settings))
    except ServiceError as error:
        raise StartError(str(error), ExitStatus.CONFIG) from error
    return registry


def offered(settings: Settings) -> Registry:
    """The services of the daemon that the settings describe, to look at and not to serve; raises StartError."""
    reporter = Reporter(
        registry=lambda: registry,
        listeners=(),
        stats=Stats(),
        watchdog=Watchdog(None, lambda: None),
        limits=limits_in_force(settings),
        quotas=make_quotas(settings),
    )
    administrator = Administrator(_nothing_runs, _nothing_runs)
    registry = make_registry(settings, reporter, Guard(), administrator, stop=lambda: None)
    return registry


def make_quotas(settings: Settings) -> Quotas:
    """What users may hold; root and the daemon's own user are privileged."""
    return Quotas(totals_in_force(settings), privileged=(0, os.geteuid()), frame_size=settings.frame_size)


def timeouts_of(settings: Settings) -> Timeouts:
    """How long a peer may hold memory and do nothing about it."""
    return Timeouts(settings.write_timeout, settings.frame_timeout)


def _nothing_runs(*_: object) -> NoReturn:
    raise RuntimeError("these services are not served")


def room_of(settings: Settings, limit: int) -> Room:
    """Whether a limit of descriptors suffices for the settings."""
    return room_for(settings.connections, settings.total_descriptors, limit)


def fit_descriptors(settings: Settings) -> Settings:
    """Raise the limit of descriptors as far as it goes. The settings, with as many connections as there is room for.

    Too few are no reason not to start: a daemon that serves some is of more use than none.
    """
    room = room_of(settings, raise_limit())
    if room.doubt is None:
        return settings
    get_logger().warning(
        "too few descriptors",
        message_id=MessageId.DESCRIPTORS_FEW,
        reason=room.doubt,
        limit=room.limit,
        needed=room.needed,
        connections=room.connections,
    )
    return settings.model_copy(update={"connections": room.connections})


class Findings(NamedTuple):
    """What a start would stumble over, and what it would only warn of."""

    faults: tuple[str, ...]
    doubts: tuple[str, ...]


def examine(settings: Settings) -> Findings:
    """Look at everything that a start needs, short of opening anything."""
    faults = wrong_addresses(settings.listen)
    doubt = room_of(settings, own_limit()).doubt
    doubts: tuple[str, ...] = () if doubt is None else (doubt,)
    if settings.idle_exit and settings.listen:
        doubts = (
            *doubts,
            "idle_exit has no effect beside `listen`: nothing would start superd again for those sockets",
        )
    try:
        loaded = load_policy(settings, offered(settings).accesses, daemon_account(settings.instance))
        doubts = (*doubts, *map(str, loaded.warnings))
    except (StartError, PolicyError) as error:
        faults.append(str(error))
    return Findings(tuple(faults), doubts)


def passed_by_systemd() -> Passed:
    """What systemd passed to this process; raises StartError."""
    try:
        return take_passed(STORED | {STORED_WINDOW})
    except ActivationError as error:
        raise StartError(str(error), ExitStatus.FAILED) from error


def window_limits(settings: Settings) -> WindowLimits:
    """What of calls with keys is remembered."""
    age_usec = round(settings.idempotency_age * 1_000_000)
    return WindowLimits(age_usec, settings.idempotency_entries, settings.idempotency_bytes)


def open_listeners(settings: Settings, passed: Passed) -> list[Listener]:
    """The sockets that systemd passed and those that the settings name; raises StartError."""
    listeners = activated_listeners(passed)
    if wrong := list(filter(None, (_owned_by_another(each, settings.instance) for each in listeners))):
        raise StartError("; ".join(wrong), ExitStatus.FAILED)
    try:
        for address in settings.listen:
            listeners.append(bind_listener(address, settings.socket_mode))
    except (ListenError, ValueError) as error:
        for listener in listeners:
            listener.close()
        status = ExitStatus.CONFIG if isinstance(error, ValueError) else ExitStatus.FAILED
        raise StartError(str(error), status) from error
    if not listeners:
        message = "nothing to listen on: start superd by its socket unit, or use --listen ADDRESS"
        raise StartError(message, ExitStatus.CONFIG)
    return listeners


def _owned_by_another(listener: Listener, instance: Instance) -> str | None:
    """What is wrong with a socket at the place of another superd; None where nothing is.

    systemd lets the socket unit that starts later take a path over. The callers of one would reach the other.
    """
    owner = instance_at(listener.address.removeprefix(f"{SocketKind.STREAM.scheme}:"))
    if owner in (None, instance) or not Path(owner.config_path).exists():
        return None
    return (
        f"{listener.address} is the place of {owner.socket_unit}: see ListenStream= in the units that "
        f"{' '.join((*instance.systemctl, 'cat', instance.socket_unit))} shows"
    )


def session_limits(settings: Settings) -> SessionLimits:
    """What one peer may hold."""
    return SessionLimits(
        settings.frame_size, settings.calls_in_flight, settings.write_buffer, settings.streams
    )
