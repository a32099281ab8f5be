import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from superd.lifecycle import TRANSITIONS, Input, Lifecycle, LifecycleError, State
from superd.sd.notify import Notifier

#: How to get to each state.
WAYS: Final[dict[State, list[Input]]] = {
    State.STARTING: [],
    State.READY: [Input.STARTED],
    State.RELOADING: [Input.STARTED, Input.RELOAD],
    State.DRAINING: [Input.STARTED, Input.STOP],
    State.STOPPED: [Input.STARTED, Input.STOP, Input.DRAINED],
}

#: The table of the module, written down a second time; None is illegal.
EXPECTED: Final[dict[State, dict[Input, State | None]]] = {
    State.STARTING: {
        Input.STARTED: State.READY,
        Input.RELOAD: None,
        Input.RELOADED: None,
        Input.STOP: State.DRAINING,
        Input.DRAINED: None,
        Input.FAILED: State.STOPPED,
    },
    State.RELOADING: {
        Input.STARTED: None,
        Input.RELOAD: None,
        Input.RELOADED: State.READY,
        Input.STOP: State.DRAINING,
        Input.DRAINED: None,
        Input.FAILED: State.STOPPED,
    },
    State.READY: {
        Input.STARTED: None,
        Input.RELOAD: State.RELOADING,
        Input.RELOADED: None,
        Input.STOP: State.DRAINING,
        Input.DRAINED: None,
        Input.FAILED: State.STOPPED,
    },
    State.DRAINING: {
        Input.STARTED: None,
        Input.RELOAD: None,
        Input.RELOADED: State.DRAINING,
        Input.STOP: State.DRAINING,
        Input.DRAINED: State.STOPPED,
        Input.FAILED: State.STOPPED,
    },
    State.STOPPED: {
        Input.STARTED: None,
        Input.RELOAD: None,
        Input.RELOADED: State.STOPPED,
        Input.STOP: State.STOPPED,
        Input.DRAINED: None,
        Input.FAILED: None,
    },
}
CELLS: Final = [(state, event, after) for state, row in EXPECTED.items() for event, after in row.items()]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.setblocking(False)
        yield receiver


@pytest.fixture
def lifecycle(manager: socket.socket) -> Lifecycle:
    return Lifecycle(Notifier(manager.getsockname()))


def received(manager: socket.socket) -> list[str]:
    messages = []
    while True:
        try:
            messages.append(manager.recv(4096).decode())
        except BlockingIOError:
            return messages


def test_the_cells_are_all_pairs() -> None:
    assert {(state, event) for state, event, _ in CELLS} == {
        (state, event) for state in State for event in Input
    }


@pytest.mark.parametrize(("state", "event", "after"), CELLS)
def test_every_cell(lifecycle: Lifecycle, state: State, event: Input, after: State | None) -> None:
    for step in WAYS[state]:
        lifecycle.advance(step)
    assert lifecycle.state is state
    if after is None:
        with pytest.raises(LifecycleError, match=f"'{event.value}' cannot come while {state.value}"):
            lifecycle.advance(event)
        assert lifecycle.state is state
    else:
        assert lifecycle.advance(event) is after
        assert lifecycle.state is after
    assert TRANSITIONS.get((state, event)) is after


def test_a_run_as_systemd_sees_it(lifecycle: Lifecycle, manager: socket.socket) -> None:
    assert received(manager) == []
    lifecycle.advance(Input.STARTED, status="2 listeners")
    assert received(manager) == ["READY=1\nSTATUS=2 listeners\n"]
    lifecycle.advance(Input.STOP, status="finishing 3 calls")
    assert received(manager) == ["STOPPING=1\nSTATUS=finishing 3 calls\n"]
    lifecycle.advance(Input.STOP)
    lifecycle.advance(Input.DRAINED)
    lifecycle.advance(Input.STOP)
    assert received(manager) == []


def test_a_reload_as_systemd_sees_it(lifecycle: Lifecycle, manager: socket.socket) -> None:
    lifecycle.advance(Input.STARTED, status="up")
    before = time.monotonic_ns() // 1000
    lifecycle.advance(Input.RELOAD)
    lifecycle.advance(Input.RELOADED, status="up again")
    up, reloading, again = received(manager)
    assert (up, again) == ("READY=1\nSTATUS=up\n", "READY=1\nSTATUS=up again\n")
    said = dict(line.split("=") for line in reloading.splitlines())
    assert before <= int(said.pop("MONOTONIC_USEC")) <= time.monotonic_ns() // 1000
    assert said == {"RELOADING": "1", "STATUS": "reloading"}


def test_a_reload_that_the_stop_has_overtaken_is_not_told(
    lifecycle: Lifecycle, manager: socket.socket
) -> None:
    for step in (Input.STARTED, Input.RELOAD, Input.STOP):
        lifecycle.advance(step)
    received(manager)
    lifecycle.advance(Input.RELOADED)
    lifecycle.advance(Input.DRAINED)
    lifecycle.advance(Input.RELOADED)
    assert received(manager) == []


def test_a_failed_start_is_never_ready(lifecycle: Lifecycle, manager: socket.socket) -> None:
    lifecycle.advance(Input.FAILED)
    assert received(manager) == []


def test_a_status_need_not_be_given(lifecycle: Lifecycle, manager: socket.socket) -> None:
    lifecycle.advance(Input.STARTED)
    lifecycle.advance(Input.STOP)
    assert received(manager) == ["READY=1\nSTATUS=ready\n", "STOPPING=1\nSTATUS=draining\n"]


def test_the_picture_of_a_restart_is_this_table() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "restart.md"
    drawn = set(re.findall(r"^([A-Z]+) --([a-z]+)--> ([A-Z]+)$", page.read_text("utf-8"), re.MULTILINE))
    assert drawn == {(state.name, event.value, after.name) for (state, event), after in TRANSITIONS.items()}
