"""Whether a client can tell that its server is superd: after socket activation only PID 1 shows."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.system.guest import Guest
from tests.system.programs import python


@contextmanager
def asking(guest: Guest, unit: str, *before: str) -> Iterator["subprocess.Popen[str]"]:
    """The program that asks, as far as it has said who listens."""
    with guest.popen(*before, *python("prove"), unit) as program:
        assert program.stdout is not None
        first = program.stdout.readline()
        assert first == "listens 1\n", (first, program.stderr and program.stderr.read())
        yield program


def line(program: "subprocess.Popen[str]") -> str:
    assert program.stdout is not None
    return program.stdout.readline().strip()


def again(program: "subprocess.Popen[str]") -> str:
    assert program.stdin is not None
    program.stdin.write("\n")
    program.stdin.flush()
    return line(program)


def end(program: "subprocess.Popen[str]") -> None:
    said, complaint = program.communicate(timeout=60)
    assert (said, complaint, program.returncode) == ("", "", 0)


def test_superd_is_proved_although_systemd_listens_and_each_connection_anew(listening: Guest) -> None:
    """As a user in the group superd, by plain group membership. A restart keeps the connection, and what it is."""
    member = ["setpriv", "--reuid=member", "--regid=member", "--init-groups"]
    with asking(listening, "superd.service", *member) as program:
        assert line(program) == "connection 1"
        listening.systemctl("restart", "superd.service")
        assert again(program) == "connection 1"
        listening.systemctl("kill", "--kill-whom=main", "--signal=KILL", "superd.service")
        listening.wait_for_state("superd.service", "active")
        assert again(program) == "connection 2"
        end(program)


def test_another_unit_gets_no_call(listening: Guest) -> None:
    with asking(listening, "romd.service") as program:
        for said in (line(program), again(program)):
            assert said.startswith(
                "WrongServer echo.echo: the server is of superd.service, and romd.service is asked for"
            )
        end(program)


@pytest.mark.parametrize("hidden", ["ProtectProc=invisible"])
def test_a_client_that_may_not_see_the_server_is_told_why(listening: Guest, hidden: str) -> None:
    script = [*python("prove"), "superd.service"]
    done = listening.run(*script, properties=["User=member", hidden], check=False)
    assert "WrongServer" in done.stdout
    assert "no unit of the server's process can be read" in done.stdout
    assert "ProtectProc=" in done.stdout
