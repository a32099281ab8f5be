"""Why systemd ends this process: the job that its unit has."""

import subprocess
import time
from pathlib import Path
from typing import Final

_SYSTEMCTL: Final = "/usr/bin/systemctl"

#: By which an unprivileged user asks.
_BUS: Final = Path("/run/dbus/system_bus_socket")

#: Seconds for an answer, and between two attempts: it takes 10 ms, but D-Bus may just be starting. Until then everybody is
#: served.
_TIMEOUT: Final = 2.0
_PAUSE: Final = 0.05


def job_of(unit: str) -> str | None:
    """The type of a unit's job, such as "restart" or "stop", "" where it has none; None where that cannot be known.

    Blocks for at most some seconds. An unprivileged user asks over D-Bus: where there is none, it cannot be known.
    """
    deadline = time.monotonic() + _TIMEOUT
    while (said := _list_jobs(unit)) is None and _BUS.exists() and time.monotonic() < deadline:
        time.sleep(_PAUSE)
    if said is None:
        return None
    words = said.split()  # 122 superd.service restart running
    return words[2] if len(words) > 2 and words[1] == unit else ""


def _list_jobs(unit: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - the unit is the one that systemd has put this process into
            [_SYSTEMCTL, "list-jobs", "--no-legend", "--no-pager", "--plain", "--", unit],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
