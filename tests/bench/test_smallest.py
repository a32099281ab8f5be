"""The smallest form: it starts, every system answers rightly, and a wrong answer is no figure. Nothing is timed."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from multiprocessing.connection import Listener
from pathlib import Path

import pytest

from tests.bench.matrix import SCENARIOS, SYSTEMS, System, system
from tests.bench.payload import SMALL, WrongAnswerError
from tests.bench.running import Plan, cell, run
from tests.bench.starting import nothing, python_server
from tests.bench.systems.multiprocessing_connection import Multiprocessing
from tests.bench.systems.raw import Raw

SMALLEST = Plan(scenarios=[], systems=[], rounds=1, seconds=0.01, quick=True)


@pytest.mark.parametrize(
    ("key", "system"),
    [
        ("sequential", "raw-uvloop"),
        ("sequential", "superd"),
        ("sequential", "multiprocessing"),
        ("in-flight", "superd-aio"),
        ("one-way", "superd"),
        ("paced-2000", "superd"),
    ],
)
def test_a_system_answers_rightly(key: str, system: str) -> None:
    found = cell(SMALLEST, SCENARIOS[key], SYSTEMS[system])
    assert found.get("calls", 0) > 0, found


def test_a_run_has_its_rounds() -> None:
    scenario = SCENARIOS["idle-1000"]._replace(quick=("raw-uvloop",), quick_calls=5)
    said: list[str] = []
    found = run(SMALLEST._replace(scenarios=[scenario]), said.append)
    [only] = found["idle-1000"]
    assert only["cells"]["raw-uvloop"]["bytes"] >= 0
    assert "1 cells, in about 0.0 minutes" in said[0]
    assert "raw-uvloop" in said[1]


def test_an_idle_server_is_watched_as_by_systemd() -> None:
    """The watchdog of the unit is fed; that is no wake-up of its own."""
    scenario = SCENARIOS["idle"]._replace(longer=10)
    found = cell(SMALLEST, scenario, system("superd-watched"))
    assert found["resident"] > 0, found
    assert found["wakeups"] >= found["watchdog"] >= 0


def test_what_is_not_installed_and_what_fails_are_cells_too() -> None:
    absent = System("absent", "nothing", "Nothing", nothing, ("no_such_package_here",))
    assert cell(SMALLEST, SCENARIOS["sequential"], absent) == {
        "cannot": "no_such_package_here is not installed"
    }
    broken = System("broken", "no_such_module", "Nothing", python_server("no_such_module"))
    assert "no_such_module" in cell(SMALLEST, SCENARIOS["sequential"], broken)["failed"]
    cannot = cell(SMALLEST, SCENARIOS["stream"], SYSTEMS["raw-uvloop"])
    assert cannot == {"cannot": "no streams"}


@pytest.fixture
def liar(tmp_path: Path) -> Iterator[str]:
    """A multiprocessing server that always answers the same."""
    address = str(tmp_path / "s")
    listener = Listener(address, "AF_UNIX")

    def serve() -> None:
        with listener.accept() as connection:
            connection.recv()
            connection.send({"sku": "another"})

    thread = threading.Thread(target=serve)
    thread.start()
    yield address
    thread.join()
    listener.close()


def test_a_wrong_answer_is_noticed(liar: str) -> None:
    client = Multiprocessing(liar, SMALL)
    with pytest.raises(WrongAnswerError):
        client.open(1)
    client.close()


def test_wrong_bytes_are_noticed(tmp_path: Path) -> None:
    address = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(connection.recv(4096)[:-1] + b"!")
                connection.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        client = Raw(address, SMALL)
        with pytest.raises(WrongAnswerError):
            client.open(1)
        client.close()
        thread.join()
        asyncio.set_event_loop(None)
