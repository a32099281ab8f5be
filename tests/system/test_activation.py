"""superd.socket: who may connect, and what the first connection starts."""

import statistics

from tests.system.guest import Guest
from tests.system.programs import SOCKET, call, call_as, first_reply_usec, python

ACTIVATIONS = 10


def test_the_socket_belongs_to_root_and_the_group(listening: Guest) -> None:
    assert listening.exec("stat", "--format=%A %U %G", SOCKET).stdout == "srw-rw---- root superd\n"
    assert listening.exec("stat", "--format=%A %U %G", "/run/superd").stdout == "drwxr-xr-x root root\n"


def test_the_first_connection_starts_the_service(listening: Guest) -> None:
    assert call(listening, "echo.echo", "text=hello") == {"text": "hello"}
    assert listening.show("superd.service", "ActiveState") == "active"
    status = call(listening, "superd.status")
    assert status["unit"] == "superd.service"
    assert status["invocation_id"] == listening.show("superd.service", "InvocationID")
    assert status["pid"] == int(listening.show("superd.service", "MainPID"))
    (listener,) = status["listeners"]
    assert listener == {"address": f"unix:{SOCKET}", "name": "superd", "activated": True}


def test_starting_the_service_brings_its_socket(guest: Guest) -> None:
    guest.systemctl("start", "superd.service")
    assert guest.show("superd.socket", "ActiveState") == "active"
    assert call(guest, "echo.echo", "text=hello") == {"text": "hello"}


def test_a_member_of_the_group_is_served(listening: Guest) -> None:
    done = call_as(listening, "member", "echo.echo", "text=mine")
    assert done.returncode == 0, done.stderr
    assert '"mine"' in done.stdout


def test_a_stranger_is_refused_by_the_kernel(listening: Guest) -> None:
    done = listening.run(*python("first_reply"), properties=["User=stranger"], check=False)
    assert "PermissionError: [Errno 13]" in done.stderr
    assert call_as(listening, "stranger", "echo.echo", "text=mine").returncode != 0
    assert listening.show("superd.service", "ActiveState") == "inactive", (
        "nobody was let in, so nothing was started"
    )


def test_systemd_knows_what_superd_does(listening: Guest) -> None:
    call(listening, "echo.echo", "text=hello")
    assert "connection" in listening.show("superd.service", "StatusText")
    assert listening.show("superd.service", "NRestarts") == "0"


def test_a_cold_activation_is_measured(listening: Guest, figures: list[str]) -> None:
    taken = []
    for _ in range(ACTIVATIONS):
        listening.systemctl("stop", "superd.service")
        assert listening.show("superd.socket", "ActiveState") == "active"
        taken.append(first_reply_usec(listening) / 1000)
    figures.append(
        f"cold activation to first reply: median of {ACTIVATIONS} {statistics.median(taken):.0f} ms "
        f"({min(taken):.0f} to {max(taken):.0f} ms)"
    )
