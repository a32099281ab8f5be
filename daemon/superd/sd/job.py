"""Why systemd ends this process: the job that its unit has."""

import subprocess
import time
from pathlib import Path
from typing import Final

from superd_client.units import Units

_SYSTEMCTL: Final = "/usr/bin/systemctl"

#: By which an unprivileged user asks.
_BUS: Final = Path("/run/dbus/system_bus_socket")

#: Seconds for an answer, and between two attempts: it takes 10 ms, but D-Bus may just be starting. Until then everybody is
#: served.
_TIMEOUT: Final = 2.0
_PAUSE: Final = 0.05


def job_of(units: Units) -> str | None:
    """The type of the job of a process's unit, such as "restart" or "stop", "" where it has none.

    None where that cannot be known. Blocks for at most some seconds. The system's manager is asked over D-Bus, as an
    unprivileged user has to: where there is none, it cannot be known.
    """
    deadline = time.monotonic() + _TIMEOUT
    while (said := _list_jobs(units)) is None and _can_be_asked(units) and time.monotonic() < deadline:
        time.sleep(_PAUSE)
    if said is None:
        return None
    words = said.split()  # 122 superd.service restart running
    return words[2] if len(words) > 2 and words[1] == units.name else ""


def _can_be_asked(units: Units) -> bool:
    return units.user is not None or _BUS.exists()


def _list_jobs(units: Units) -> str | None:
    _, *options = units.systemctl
    try:
        done = subprocess.run(  # noqa: S603 - the unit is the one that systemd has put this process into
            [
                _SYSTEMCTL,
                *options,
                "list-jobs",
                "--no-legend",
                "--no-pager",
                "--plain",
                "--",
                units.name or "",
            ],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
