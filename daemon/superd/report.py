"""What the daemon says of itself: the answer of `superd.status`, and the line that `systemctl status` shows."""

import asyncio
import functools
import os
import re
import resource
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from superd import __version__
from superd.listeners import Listener
from superd.peer import Caller
from superd.quota import Quota, Quotas, Totals
from superd.registry import Registry
from superd.sd.notify import Notifier
from superd.sd.watchdog import Watchdog
from superd.settings import Settings
from superd.stats import Stats
from superd_client.builtin import Hello, ProtocolRange, ServiceInfo, Status, Usage
from superd_client.builtin import Listener as ListenerStatus
from superd_client.units import Units, units_from_cgroup
from superd_client.wire.limits import (
    FDS_PER_CONNECTION_MAX,
    FDS_PER_FRAME_MAX,
    IDEMPOTENCY_KEY_MAX,
    NESTING_MAX,
    STREAM_CREDIT_DEFAULT,
)

#: Seconds between two changes of the line that `systemctl status` shows.
STATUS_INTERVAL: Final = 1.0

#: The version of the protocol that is spoken here.
PROTOCOL_VERSION: Final = 1

#: What `rpc.hello` names: the parts of version 1 that a smaller server may lack.
FEATURES: Final = (
    "cancellation",
    "deadlines",
    "goaway",
    "idempotency_keys",
    "notifications",
    "streams",
    "uploads",
)

_SYSTEMCTL_TIMEOUT: Final = 5.0


class Reporter:
    """Looks at the parts of the daemon and says how they are."""

    def __init__(
        self,
        *,
        registry: Callable[[], Registry],
        listeners: Iterable[Listener],
        stats: Stats,
        watchdog: Watchdog,
        limits: Mapping[str, int],
        quotas: Quotas,
    ) -> None:
        """The registry is asked for late: it holds the service that asks us."""
        self._registry = registry
        self._quotas = quotas
        #: What `rpc.hello` says of limits.
        self.limits = limits
        #: What the line of `systemctl status` says beside the counts.
        self.warning: str | None = None
        self._listeners = tuple(
            ListenerStatus(address=each.address, name=each.name, activated=each.activated)
            for each in listeners
        )
        self._stats = stats
        self._watchdog = watchdog
        self._invocation_id = os.environ.get("INVOCATION_ID")

    async def status(self, caller: Caller) -> Status:
        """Everything that `superd.status` answers to `caller`: who holds most is for the privileged."""
        shows_users = caller.uid in self._quotas.privileged
        version = await asyncio.to_thread(systemd_version)
        counts = self._stats.snapshot()._asdict()
        return Status(
            version=__version__,
            pid=os.getpid(),
            unit=own_unit(),
            invocation_id=self._invocation_id,
            systemd_version=version,
            listeners=self._listeners,
            services=tuple(
                ServiceInfo(name=service.name, version=service.version, methods=len(service.endpoints))
                for service in self._registry().services
            ),
            connections=counts.pop("connections_open"),
            descriptors_max=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            loop_lag_usec=self._watchdog.lag_usec,
            loop_lag_max_usec=self._watchdog.lag_max_usec,
            usage=tuple(
                _usage(quota, shows_users=shows_users) for quota in self._quotas.all() if quota.users()
            ),
            **counts,
        )

    def hello(self) -> Hello:
        """Everything that `rpc.hello` answers."""
        return Hello(
            protocol=ProtocolRange(min=PROTOCOL_VERSION, max=PROTOCOL_VERSION),
            features=FEATURES,
            limits=dict(self.limits),
            version=__version__,
            unit=own_unit(),
            invocation_id=self._invocation_id,
        )

    def line(self) -> str:
        """The counts in one line, and a warning if there is one."""
        stats = self._stats
        return (
            f"{stats.connections_open} connections; calls: {stats.calls_in_flight} in flight, "
            f"{stats.calls_served} served, {stats.calls_failed} failed, {stats.calls_refused} refused"
            + (f"; {self.warning}" if self.warning else "")
        )


def _usage(quota: Quota, *, shows_users: bool) -> Usage:
    uid, used = quota.fullest() if shows_users else (None, None)
    return Usage(
        resource=quota.name,
        used=quota.used_by_all,
        limit=quota.pool,
        users=len(quota.users()),
        fullest_uid=uid,
        fullest_used=used,
    )


def totals_in_force(settings: Settings) -> Totals:
    """What the settings say of quotas."""
    return Totals(
        connections=settings.connections,
        calls=settings.total_calls,
        streams=settings.total_streams,
        buffered=settings.total_bytes,
        descriptors=settings.total_descriptors,
        call_rate=settings.call_rate,
    )


def limits_in_force(settings: Settings) -> dict[str, int]:
    """What `rpc.hello` says of limits."""
    return {
        "frame_size_default": settings.frame_size,
        "calls_in_flight_default": settings.calls_in_flight,
        "write_buffer_default": settings.write_buffer,
        "streams_default": settings.streams,
        "stream_credit_default": STREAM_CREDIT_DEFAULT,
        "calls_per_user_default": settings.total_calls // 2,
        "streams_per_user_default": settings.total_streams // 2,
        "bytes_per_user_default": settings.total_bytes // 2,
        "fds_per_frame_max": FDS_PER_FRAME_MAX,
        "fds_per_connection_max": FDS_PER_CONNECTION_MAX,
        "fds_per_user_max": settings.total_descriptors // 2,
        "nesting_max": NESTING_MAX,
        "idempotency_key_max": IDEMPOTENCY_KEY_MAX,
        "idempotency_age_default": round(settings.idempotency_age * 1_000_000),
        "idempotency_entries_default": settings.idempotency_entries,
        "idempotency_bytes_default": settings.idempotency_bytes,
    }


class StatusLine:
    """Keeps STATUS= up to date: at most once in an interval, and never while nothing changes."""

    def __init__(self, notifier: Notifier, text: Callable[[], str]) -> None:
        """Send what `text` returns."""
        self._notifier = notifier
        self._text = text
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin; without systemd there is nothing to do."""
        if self._notifier.enabled:
            self._loop = loop

    def changed(self) -> None:
        """Send a new line before long."""
        if self._timer is None and self._loop is not None:
            self._timer = self._loop.call_later(STATUS_INTERVAL, self._send)

    def stop(self) -> None:
        """Send no more."""
        self._loop = None
        if self._timer is not None:
            self._timer.cancel()

    def _send(self) -> None:
        self._timer = None
        self._notifier.status(self._text())


def unit_of_service() -> Units | None:
    """The unit as which systemd started this process; None where it did not (systemd.exec(5), SYSTEMD_EXEC_PID)."""
    if os.environ.get("SYSTEMD_EXEC_PID") != str(os.getpid()):
        return None
    units = _own_units()
    return units if units.name else Units("superd.service")


def own_unit() -> str | None:
    """The systemd unit that this process is in."""
    return _own_units().name


def _own_units() -> Units:
    try:
        return units_from_cgroup(Path("/proc/self/cgroup").read_text("utf-8"))
    except OSError:
        return Units()


@functools.cache
def systemd_version() -> str | None:
    """The version of systemd on this host, None where it does not run (sd_booted(3)). Blocks at its first call."""
    if not Path("/run/systemd/system").is_dir():
        return None
    try:
        done = subprocess.run(
            ["/usr/bin/systemctl", "--version"],
            capture_output=True,
            text=True,
            timeout=_SYSTEMCTL_TIMEOUT,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.match(r"systemd (\S+)", done.stdout)
    return found[1] if found else None
