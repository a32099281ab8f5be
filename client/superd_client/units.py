"""Which systemd unit a process is in, by its control group."""

import re
import select
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Final, NamedTuple

#: A unit name as systemd.unit(5) admits it, of the two kinds that hold processes of programs.
_UNIT: Final = re.compile(r"[A-Za-z0-9:_.\\@-]{1,247}\.(?:service|scope)")

#: A user's own service manager: below it the user's units are found.
_USER_MANAGER: Final = re.compile(r"user@[0-9]+\.service")


class Units(NamedTuple):
    """Where a process is: the unit of the system's manager, and, below a user's manager, the user's own unit.

    Only root can make a unit of the system. A user gives the units of his own manager any name.
    """

    system: str | None = None
    user: str | None = None

    @property
    def name(self) -> str | None:
        """The unit that its own manager knows it by."""
        return self.user or self.system

    @property
    def systemctl(self) -> tuple[str, ...]:
        """The command that administers that unit, and its options."""
        return ("systemctl", "--user") if self.user else ("systemctl",)


def is_alive(pidfd: int) -> bool:
    """Whether the process of a pidfd has not ended: until then its pid is its own."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return not poll.poll(0)


def units_of_pid(pid: int) -> Units:
    """The units of a process; none where it cannot be looked at. Hold its pidfd meanwhile: see `is_alive`."""
    if pid <= 0:
        return Units()
    try:
        text = Path(f"/proc/{pid}/cgroup").read_text("ascii", errors="replace")
    except OSError:
        return Units()
    return units_from_cgroup(text)


def is_unit(name: str) -> bool:
    """Whether a service or a scope can have this name."""
    return _UNIT.fullmatch(name) is not None


def units_from_cgroup(text: str) -> Units:
    """The services or scopes that a /proc/PID/cgroup names (cgroups(7)).

    systemd keeps its tree in the unified hierarchy ("0::"), or on older systems in "name=systemd".
    """
    lines = [line.split(":", 2) for line in text.splitlines() if line.count(":") >= 2]
    unified = [path for number, controllers, path in lines if number == "0" and not controllers]
    named = [path for _, controllers, path in lines if "name=systemd" in controllers.split(",")]
    found = (_units_of_path(path) for path in (*unified, *named))
    return next((units for units in found if units.system is not None), Units())


def _units_of_path(path: str) -> Units:
    """The first unit below the slices; what lies below it was delegated, and is the unit's own business."""
    first, second = islice(chain(_parts(path), ("", "")), 2)
    if not _UNIT.fullmatch(first):
        return Units()
    return Units(first, second if _USER_MANAGER.fullmatch(first) and _UNIT.fullmatch(second) else None)


def _parts(path: str) -> Iterator[str]:
    """The parts of a cgroup path that are no slices.

    systemd puts "_" before a name that could be taken for a file of the kernel; the kernel shows "/.." above the
    root of a cgroup namespace and " (deleted)" behind a group that is gone.
    """
    for part in path.removesuffix(" (deleted)").split("/"):
        name = part.removeprefix("_")
        if name not in ("", "..") and not name.endswith(".slice"):
            yield name
