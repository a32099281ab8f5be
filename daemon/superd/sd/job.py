"""Why systemd ends this process: the job that its unit has."""

import subprocess
from typing import Final

_SYSTEMCTL: Final = "/usr/bin/systemctl"

#: Seconds for systemctl to answer; it takes 10 ms. Until then everybody is served.
_TIMEOUT: Final = 2.0


def job_of(unit: str) -> str | None:
    """The type of a unit's job, such as "restart" or "stop", "" where it has none; None where that cannot be known.

    Blocks. An unprivileged user asks over D-Bus: where there is none, it cannot be known.
    """
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
    words = done.stdout.split()  # 122 superd.service restart running
    return words[2] if len(words) > 2 and words[1] == unit else ""
