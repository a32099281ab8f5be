"""A default installation, and a user who tries everything: nothing comes of it but what the policy gives."""

import json
from collections.abc import Iterator
from typing import Final, NamedTuple

from superd.settings import Settings
from tests.chaos.load import program
from tests.chaos.stage import HOSTILE, STRANGER, Stage
from tests.chaos.table import Finding
from tests.system.guest import PATIENCE, now
from tests.system.programs import SOCKET

#: What a default installation gives to everybody who may connect, by its documentation.
PUBLIC: Final = frozenset({"echo.echo", "rpc.discover", "rpc.hello", "superd.status"})

#: All else is as installed; only nobody wants to wait for as long as a frame may take.
IMPATIENT: Final = 'frame_timeout = "2s"\n' if "frame_timeout" in Settings.model_fields else ""

DENIED: Final = "-32001"
UNKNOWN: Final = "-32601"

#: What is allowed to come of attempts, by their area: for who may connect, and for who may not.
_REFUSED: Final = frozenset({"-32600", "-32602"})
_NEVER_DONE: Final = frozenset({"bind", "unlink", "signal", "read", "write", "prlimit"})


class Attempt(NamedTuple):
    """What was tried, and how it ended."""

    area: str
    what: str
    ended: str


def is_harmless(attempt: Attempt, *, may_connect: bool) -> bool:
    """Whether nothing came of it but what the policy gives."""
    area, what, ended = attempt
    may = {
        "method": ended not in {"closed", "silence"} if what in PUBLIC else ended in {DENIED, UNKNOWN},
        "notification": ended == "result",
        "socket": ended != "done" or (may_connect and what == f"{SOCKET} as stream"),
        "forge": ended in {"PermissionError", DENIED},
        "notify": True,  # everybody may send there; that superd is what it was is looked at in the end
        "descriptor": ended in _REFUSED or what.endswith("cut short"),
    }
    return may.get(area, area in _NEVER_DONE and ended != "done")


def intruder(stage: Stage) -> Iterator[Finding]:
    """A member of the group superd, who may connect and is nobody else; and a stranger."""
    yield _try_all(stage, HOSTILE, may_connect=True)
    yield _try_all(stage, STRANGER, may_connect=False)


def _try_all(stage: Stage, user: str, *, may_connect: bool) -> Finding:
    guest = stage.guest
    stage.stop()
    guest.write("/etc/superd/superd.d/90-test.toml", IMPATIENT)
    guest.systemctl("start", "superd.socket")
    guest.systemctl("start", "superd.service")
    since, pid = now(), stage.pid
    document = json.loads(guest.exec("superctl", "call", "rpc.discover").stdout)
    methods = [each["name"] for each in document["methods"]]
    before = stage.descriptors()
    command = program(user, "tests.chaos.inside.intruder", json.dumps(methods), str(pid))
    lines = guest.exec(*command, timeout=2 * PATIENCE).stdout.splitlines()
    attempts = [Attempt(*json.loads(line)) for line in lines]
    losses = [
        f"{each.area}: {each.what}: {each.ended}"
        for each in attempts
        if not is_harmless(each, may_connect=may_connect)
    ]
    if any(each.area == "method" for each in attempts) is not may_connect:
        losses.append(f"{user} {'cannot' if may_connect else 'can'} connect")
    if stage.pid != pid:
        losses.append("superd ended")
    losses += filter(None, [stage.leaked(before)])
    said = [entry["MESSAGE"] for entry in guest.journal(f"_PID={pid}", since=since)]
    losses += [text for text in said if "Traceback" in text or "internal error" in text]
    answered = sum(each.area == "method" and each.ended == "result" for each in attempts)
    return Finding(
        "intruder",
        f"{user}, who {'may connect and nothing else' if may_connect else 'may not connect'}, tries everything",
        f"{len(attempts)} attempts ({len(methods)} methods); {answered} methods answered, all public; "
        "the rest refused",
        tuple(losses),
    )
