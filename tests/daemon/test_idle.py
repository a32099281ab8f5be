"""A superd that has nothing to do: what it has loaded to get there, and that nothing wakes it up."""

import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.bench.machine import wakeups
from tests.daemon.process import PROGRAMS, Superd, clean_environment, superd
from tests.daemon.raw import PATIENCE, RawClient, echo, frame

#: Seconds without a wake-up that count as sleep: many times the interval of every timer that superd has while it is busy,
#: with QUICK.
QUIET = 0.3

#: What stalls is looked for 40 times a second then.
QUICK = {"SUPERD_WRITE_TIMEOUT": "0.1"}


def assert_sleeps(daemon: Superd, client: RawClient) -> None:
    """In the end nothing wakes the daemon up, and it says nothing."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        before = wakeups(daemon.process.pid)
        assert select.select([client.sock], [], [], QUIET)[0] == []
        if wakeups(daemon.process.pid) == before:
            return
    pytest.fail("it wakes up again and again")


@pytest.mark.parametrize("program", sorted(PROGRAMS))
def test_an_idle_superd_sleeps(tmp_path: Path, program: str) -> None:
    with (
        superd(path=tmp_path / "s", program=PROGRAMS[program], environment=QUICK) as daemon,
        daemon.client() as client,
    ):
        assert client.ask(echo())["id"] == 1
        assert_sleeps(daemon, client)
        message = frame(echo(request_id=2))
        client.send_raw(message[:-1])
        client.send_raw(message[-1:])
        assert client.receive()["id"] == 2
        assert_sleeps(daemon, client)


#: What a start does without: superd needs it later, or never.
NOT_AT_START = {
    "difflib",
    "readline",
    "superd.ctl",
    "superd.datagrams",
    "superd.openrpc",
    "superd_client.aio",
    "superd_client.blob",
    "superd_client.calls",
    "superd_client.sockets",
    "superd_client.sync",
    "superd_client.wire.client",
    "systemd",
}

#: Starts superd, shows how many new objects were searched for garbage at once meanwhile, and what is loaded, and ends it.
START = """
import gc, os, sys
from superd.__main__ import main
from superd.lifecycle import Input, Lifecycle
advance = Lifecycle.advance
searched = [0]
def search(phase, _):
    if phase == "start":
        searched.append(gc.get_count()[0])
def show(self, step, **more):
    advance(self, step, **more)
    if step is Input.STARTED:
        print(gc.isenabled(), max(searched), *sys.modules)
        os.kill(os.getpid(), 15)
Lifecycle.advance = show
gc.callbacks.append(search)
sys.exit(main(["--listen", sys.argv[1]]))
"""


def run_program(program: str, folder: Path) -> str:
    """What a program that starts a superd writes, until it ends."""
    done = subprocess.run(
        [sys.executable, "-c", program, f"unix:{folder / 's'}"],
        capture_output=True,
        text=True,
        check=True,
        env=clean_environment(),
        timeout=PATIENCE,
    )
    return done.stdout


def test_what_a_start_does_without(tmp_path: Path) -> None:
    is_enabled, searched, *loaded = run_program(START, tmp_path).split()
    assert "superd.server" in loaded
    assert not NOT_AT_START & set(loaded)
    assert is_enabled == "True"
    assert int(searched) < 5_000  # some times what Python collects after, and a part of what a start makes


#: Starts superd, and ends it once it has what the first rpc.discover needs.
LATE = """
import asyncio, os, sys
import superd.app
from superd.__main__ import main
superd.app.LATE_IMPORT_SECONDS = 0.0
class Finder:
    def find_spec(self, name, path, target=None):
        if name == "superd.openrpc":
            asyncio.get_running_loop().call_soon(lambda: (print(name in sys.modules), os.kill(os.getpid(), 15)))
sys.meta_path.insert(0, Finder())
sys.exit(main(["--listen", sys.argv[1]]))
"""


def test_nothing_is_left_to_be_imported_from_files_of_another_version(tmp_path: Path) -> None:
    assert run_program(LATE, tmp_path) == "True\n"


#: Makes contracts of models, and shows how many validators and serializers were made beside those that the models have.
COUNT = """
import pydantic_core
made = []
def counting(kind):
    def make(*arguments, **options):
        made.append(kind.__name__)
        return kind(*arguments, **options)
    return make
import superd_client.schemas as schemas
import pydantic.type_adapter as adapters
from superd_client.contract import Message, Method
from superd_client.streams import Stream
class Params(Message):
    names: list[str]
class Result(Message):
    names: list[str]
for module in (schemas, adapters):
    for name in ("SchemaValidator", "SchemaSerializer", "create_schema_validator"):
        if hasattr(module, name):
            setattr(module, name, counting(getattr(module, name)))
Method("a.b", Params, Result, errors=[Params])
Stream("a.c", Params, Result)
print(len(made))
"""


def test_contracts_of_models_make_nothing_of_their_own() -> None:
    done = subprocess.run(
        [sys.executable, "-c", COUNT], capture_output=True, text=True, check=True, env=clean_environment()
    )
    assert int(done.stdout) == 2  # of the stream's result, which is nothing
