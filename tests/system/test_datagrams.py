"""A socket unit with ListenDatagram= beside superd.socket."""

from collections.abc import Iterator
from typing import Final

import pytest

from tests.system.guest import Guest
from tests.system.programs import SOCKET, call, python

UNIT: Final = "/etc/systemd/system/superd-datagrams.socket"
DATAGRAMS: Final = "/run/superd/superd.dgram"

TEXT: Final = f"""
[Socket]
ListenDatagram={DATAGRAMS}
PassCredentials=yes
SocketGroup=superd
SocketMode=0660
Service=superd.service
"""


@pytest.fixture
def with_datagrams(guest: Guest) -> Iterator[Guest]:
    guest.write(UNIT, TEXT)
    guest.systemctl("daemon-reload")
    guest.systemctl("start", "superd-datagrams.socket")
    yield guest
    guest.systemctl("stop", "superd-datagrams.socket", "superd.service")
    guest.path(UNIT).unlink()
    guest.systemctl("daemon-reload")


def test_a_datagram_starts_superd_and_is_answered(with_datagrams: Guest) -> None:
    guest = with_datagrams
    assert guest.show("superd.service", "ActiveState") == "inactive"
    answers = guest.exec(*python("datagrams"), DATAGRAMS).stdout.splitlines()
    assert answers == ["hello", "systemd runs this superd: use systemctl stop superd.service"]
    assert guest.show("superd.service", "ActiveState") == "active"
    status = call(guest, "superd.status")
    assert {each["address"] for each in status["listeners"]} == {
        f"unix:{SOCKET}",
        f"unix-dgram:{DATAGRAMS}",
    }
    assert (status["datagrams_dropped"], status["replies_dropped"]) == (0, 0)


def test_a_member_is_answered_and_may_not_stop_it(with_datagrams: Guest) -> None:
    properties = ["User=member"]
    done = with_datagrams.run(*python("datagrams"), DATAGRAMS, properties=properties)
    assert done.stdout.splitlines() == ["hello", "permission denied"]
