"""What docs/howto/give-a-service-more.md gives back is not there before, and is there afterwards."""

from collections.abc import Iterator

import pytest

from tests.architecture.sandbox import read_drop_ins
from tests.system.guest import Guest
from tests.system.programs import call

UNIT = "superd@reach.service"

#: What is tried, the path, and the drop-ins that allow it. Real-time scheduling cannot be tried: nspawn has no right to it.
ATTEMPTS = {
    ("network", ""): "the network",
    ("write", "/srv/counters/file"): "a directory to write to",
    ("device", "/dev/ttyUSB0"): "a device",
    ("read", "/home/alice/counters"): "a folder under /home",
    ("code", ""): "code that is made at run time",
}


@pytest.fixture
def reach(guest: Guest) -> Iterator[Guest]:
    """An instance that tries things, and the things; the device is /dev/null by another name."""
    guest.write("/etc/superd/instances/reach.toml", 'services = ["reach:reach"]\n')
    guest.exec("mkdir", "--parents", "--mode=0777", "/srv/counters", "/home/alice/counters")
    guest.exec("chmod", "0777", "/srv/counters")
    guest.exec("mknod", "--mode=0660", "/dev/ttyUSB0", "c", "1", "3")
    guest.exec("chgrp", "dialout", "/dev/ttyUSB0")
    guest.systemctl("start", "superd@reach.socket")
    yield guest
    guest.systemctl("stop", "superd@reach.socket", UNIT)
    guest.exec("rm", "-rf", "/etc/superd/instances/reach.toml", "/srv/counters", "/dev/ttyUSB0")


def come_of_it(guest: Guest) -> dict[str, str]:
    """What comes of each attempt, by the drop-in."""
    ask = ("--instance=reach", "reach.attempt")
    return {
        drop_in: call(guest, *ask, f"what={what}", f"path={path}")["of_it"]
        for (what, path), drop_in in ATTEMPTS.items()
    }


def test_what_is_forbidden_comes_back_by_drop_ins(reach: Guest) -> None:
    assert come_of_it(reach) == {
        "the network": "Address family not supported by protocol",
        "a directory to write to": "Read-only file system",
        "a device": "No such file or directory",
        "a folder under /home": "Permission denied",
        "code that is made at run time": "Operation not permitted",
    }
    drop_ins = read_drop_ins()
    reach.drop_in(UNIT, "".join(drop_ins[name] for name in ATTEMPTS.values()))
    reach.systemctl("restart", UNIT)
    assert come_of_it(reach) == dict.fromkeys(ATTEMPTS.values(), "done")
