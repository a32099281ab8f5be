"""Asking other programs: each within a time, and never through a shell."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from superd.ctl.doctor.findings import Unknown

#: Seconds for a command. They take some ten milliseconds; a manager that does not answer must not hold a doctor.
COMMAND_SECONDS: Final = 5.0

#: What commands see of our environment: no pager, no language, nothing that leads them elsewhere. A user's manager is found by two more.
_ENVIRONMENT: Final[Mapping[str, str]] = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "SYSTEMD_PAGER": "",
    "SYSTEMD_COLORS": "0",
}
_PASSED_ON: Final = ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")


class Answer(NamedTuple):
    """How a command ended, and what it wrote."""

    status: int
    out: str
    err: str


class RunAs(NamedTuple):
    """The user and the group that a command runs as."""

    uid: int
    gid: int


def ask(
    command: Sequence[str],
    *,
    seconds: float = COMMAND_SECONDS,
    environment: Mapping[str, str] | None = None,
    run_as: RunAs | None = None,
) -> Answer | Unknown:
    """Run a command and wait for its end, or end it after `seconds`. `environment` comes beside the usual one."""
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    try:
        process = subprocess.Popen(  # noqa: S603 - a list of words, none of which is a shell's
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**_ENVIRONMENT, **passed, **(environment or {})},
            cwd="/",
            start_new_session=True,
            user=None if run_as is None else run_as.uid,
            group=None if run_as is None else run_as.gid,
            extra_groups=None if run_as is None else [],
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Unknown(f"{command[0]} cannot be run: {getattr(error, 'strerror', None) or error}")
    with process:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            # The session with it: a child of the command may hold the pipes.
            os.killpg(process.pid, signal.SIGKILL)
            return Unknown(f"{command[0]} did not end within {seconds:g} s")
    return Answer(process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))
