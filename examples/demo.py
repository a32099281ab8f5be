"""What `make run` shows: one daemon asks another over a socket-activated Unix socket, and everything is checked.

superd is started by systemd-socket-activate(1), as systemd would start it, and hosts inventoryd. romd runs beside it and
asks. This program plays the people: it fills the shelf, and makes some mistakes. Exit status 0 says that every reply was
the expected one and that nothing is left behind; 1, that something was not, and what.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn, TypeVar

from pydantic import BaseModel

from inventoryd.api import AddStock, Item, Lookup, OutOfStock, TakeStock, UnknownSku, add, lookup, take
from superd_client import ApplicationError, Client, InvalidParams, Method, Outcome, SuperdError

P = TypeVar("P", bound=BaseModel)
R = TypeVar("R")

#: Seconds that a program may run. All takes one or two; on a machine that builds something beside it, some more.
TIME_LIMIT: Final = 60.0
#: Seconds for one call, the start of superd (with the first one) included.
CALL_TIMEOUT: Final = 20.0

#: Colours of who speaks, as SGR parameters (ECMA-48).
COLOURS: Final = {"demo": "1", "systemd": "35", "superd": "36", "romd": "33"}

SUPERD_TOML: Final = """\
# Show successful calls too, and show them here.
log_level = "debug"
log_target = "stderr"
"""


#: Variables of the unit, shell or session that this program runs in; its children are not to take them for theirs.
FOREIGN: Final = (
    *("LISTEN_", "NOTIFY_", "WATCHDOG_", "SYSTEMD_", "JOURNAL_STREAM", "STATE_DIRECTORY"),
    *("SUPERD_", "ROMD_"),
)

HAMMERS: Final = Item(sku="A-1", name="claw hammer", quantity=3)
NAILS: Final = Item(sku="B-2", name="wire nail", quantity=500)

#: What romd asks in two rounds for two items.
ROMD_CALLS: Final = 4


class Unexpected(Exception):
    """Something was not as it should be; the text says what."""


class Stage:
    """Where everyone's lines are shown, each with its speaker."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def scene(self, title: str) -> None:
        """Say what comes next."""
        with self._lock:
            print(flush=True)
        self.say("demo", title)

    def say(self, who: str, text: str) -> None:
        """Show one line."""
        name = f"{who:>8}"
        if self._colours:
            name = f"\x1b[{COLOURS[who]}m{name}\x1b[0m"
        with self._lock:
            print(f"{name} │ {text}", flush=True)


class Program:
    """A process that this one started; its stderr is shown and remembered line by line. It ends with `stack`."""

    def __init__(
        self, stage: Stage, stack: ExitStack, name: str, command: Sequence[str], variables: Mapping[str, str]
    ) -> None:
        self.lines: Final[list[str]] = []
        self._stage = stage
        self._name = name
        self._deadline = time.monotonic() + TIME_LIMIT
        self._news = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        environment = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
        self._process = subprocess.Popen(  # noqa: S603 - the commands are in this file
            command,
            env={**environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        stack.callback(self._close)
        self._reader.start()

    def wait_for_line(self, pattern: str) -> None:
        """Wait until a line has `pattern` in it; raises Unexpected if none comes."""
        with self._news:
            self._news.wait_for(lambda: self._has(pattern) or self._ended, self._time_left())
            if not self._has(pattern):
                raise Unexpected(f"{self._name} never said {pattern!r}")

    def wait(self) -> int:
        """Wait for the end, of the process and of what it says; returns the exit status."""
        try:
            status = self._process.wait(self._time_left())
        except subprocess.TimeoutExpired:
            raise Unexpected(f"{self._name} did not end") from None
        self._reader.join(self._time_left())
        return status

    def terminate(self) -> int:
        """Ask it to end (SIGTERM) and wait for it; returns the exit status."""
        self._process.terminate()
        return self.wait()

    def _close(self) -> None:
        """Leave nothing behind, whatever happened."""
        self._process.kill()  # does nothing to a process that was waited for
        self._process.wait()
        if self._reader.ident is not None:
            self._reader.join()

    def _read(self) -> None:
        try:
            if self._process.stderr is not None:  # it is a pipe, see above
                with self._process.stderr as stream:
                    for line in stream:
                        self._hear(line.decode(errors="backslashreplace").rstrip("\n"))
        finally:
            with self._news:
                self._ended = True
                self._news.notify_all()

    def _hear(self, line: str) -> None:
        # systemd-socket-activate speaks first, on the same stderr, and becomes superd by exec.
        activating = self._name == "superd" and not self._has("^Execing ")
        self._stage.say("systemd" if activating else self._name, line)
        with self._news:
            self.lines.append(line)
            self._news.notify_all()

    def _has(self, pattern: str) -> bool:
        return any(re.search(pattern, line) for line in self.lines)

    def _time_left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())


class Caller:
    """Somebody who calls superd, shows request and reply, and sees that superd's log names the call."""

    def __init__(self, stage: Stage, client: Client, superd: Program) -> None:
        self.calls = 0
        self._stage = stage
        self._client = client
        self._superd = superd

    def call(self, method: Method[P, R], params: P) -> R:
        """Make a call that is to succeed."""
        call_id = self._ask(method.name, params.model_dump_json(exclude_none=True))
        result = self._client.call(method, params, call_id=call_id)
        self._superd.wait_for_line(rf"call served: .*\[call {call_id}\]")
        self._stage.say("demo", f"← {method.encode_result(result).decode()}")
        return result

    def fail(self, method: Method[P, Any], params: P) -> BaseModel | None:
        """Make a call that is to fail as its method declares; returns the declared error."""
        call_id = self._ask(method.name, params.model_dump_json())
        try:
            result = self._client.call(method, params, call_id=call_id)
        except ApplicationError as error:
            self._superd.wait_for_line(rf"call failed: .*\[call {call_id}\]")
            self._stage.say("demo", f"✗ {error}")
            self._stage.say("demo", f"  {error.detail!r}")
            return error.detail
        raise Unexpected(f"{method.name} was expected to fail, and answered {result!r}")

    def misuse(self, method: str, params: Mapping[str, Any]) -> InvalidParams:
        """Make a call without models that is to be refused; returns the refusal."""
        call_id = self._ask(method, json.dumps(params, separators=(",", ":")))
        try:
            result = self._client.call(method, params, call_id=call_id)
        except InvalidParams as error:
            self._superd.wait_for_line(rf"call refused: .*\[call {call_id}\]")
            self._stage.say("demo", f"✗ {error}")
            for fault in error.data["errors"]:
                self._stage.say("demo", f"  {'.'.join(map(str, fault['loc']))}: {fault['msg']}")
            return error
        raise Unexpected(f"{method} was expected to be refused, and answered {result!r}")

    def _ask(self, method: str, params: str) -> str:
        """Show the request; returns the id that the call gets."""
        self.calls += 1
        self._stage.say("demo", f"→ {method} {params}")
        return f"demo-{self.calls}"


def run(directory: Path, stack: ExitStack) -> None:
    """Run all of it; raises Unexpected or SuperdError."""
    started = time.monotonic()
    stage = Stage()
    address = f"unix:{directory}/superd.sock"
    stage.scene("systemd opens the socket; superd will start with the first connection.")
    superd = start_superd(stage, stack, directory)
    with Client(address, timeout=CALL_TIMEOUT) as client:
        caller = Caller(stage, client, superd)
        stage.scene("Two deliveries arrive.")
        fill_shelf(caller)
        stage.scene("romd, another daemon, asks for both: two rounds of two calls.")
        run_romd(stage, stack, address)
        stage.scene("Somebody takes two hammers, and then two more: a failure that the method declares.")
        take_too_much(caller)
        stage.scene("A program without the models sends nonsense: it is refused before any handler runs.")
        send_bad_params(caller)
        stage.scene("Somebody asks for an item that was never delivered.")
        unknown = caller.fail(lookup, Lookup(sku="Z-9"))
        expect(unknown == UnknownSku(sku="Z-9"), "UnknownSku", unknown)
    stage.scene("superd gets SIGTERM, and stops.")
    status = superd.terminate()
    expect(status == 0, "superd's exit status to be 0", status)
    calls, seconds = caller.calls + ROMD_CALLS, time.monotonic() - started
    stage.scene(f"All {calls} calls were answered as expected, in {seconds:.1f} s.")


def start_superd(stage: Stage, stack: ExitStack, directory: Path) -> Program:
    """Open the socket as systemd does; the process becomes superd once somebody connects."""
    config = directory / "superd.toml"
    config.write_text(SUPERD_TOML)
    command = [
        find_program("systemd-socket-activate"),
        f"--listen={directory}/superd.sock",
        f"--setenv=STATE_DIRECTORY={directory}",
        *(sys.executable, "-m", "superd", f"--config={config}", "--service=inventoryd.service:inventory"),
    ]
    logging = {"SYSTEMD_LOG_LEVEL": "info", "SYSTEMD_LOG_TARGET": "console"}
    superd = Program(stage, stack, "superd", command, logging)
    superd.wait_for_line("^Listening on ")
    return superd


def fill_shelf(caller: Caller) -> None:
    """Deliver hammers and nails."""
    for item in (HAMMERS, NAILS):
        there = caller.call(add, AddStock(sku=item.sku, quantity=item.quantity, name=item.name))
        expect(there == item, str(item), there)


def run_romd(stage: Stage, stack: ExitStack, address: str) -> None:
    """Let romd ask for both, as its unit would, and check what it logs."""
    options = ["--sku=A-1", "--sku=B-2", "--interval=0.2", "--count=2", f"--timeout={CALL_TIMEOUT:g}"]
    command = [sys.executable, "-m", "romd", *options]
    romd = Program(stage, stack, "romd", command, {"SUPERD_SOCKET": address})
    status = romd.wait()
    expect(status == 0, "romd's exit status to be 0", status)
    for item in (HAMMERS, NAILS):
        answer = f"{item.sku}: {item.quantity} of {item.name}"
        times = sum(line.endswith(answer) for line in romd.lines)
        expect(times == 2, f"romd to log {answer!r} twice", times)


def take_too_much(caller: Caller) -> None:
    """Take more than there is."""
    left = caller.call(take, TakeStock(sku="A-1", quantity=2))
    expect(left.quantity == 1, "1 hammer to be left", left)
    shortage = caller.fail(take, TakeStock(sku="A-1", quantity=2))
    expect(shortage == OutOfStock(sku="A-1", wanted=2, available=1), "OutOfStock", shortage)


def send_bad_params(caller: Caller) -> None:
    """Send a number where a text belongs, and a member that does not exist."""
    refusal = caller.misuse("inventory.lookup", {"sku": 7, "colour": "red"})
    expect(refusal.outcome is Outcome.REFUSED, "the outcome to be known: refused", refusal.outcome)
    places = sorted(fault["loc"] for fault in refusal.data["errors"])
    expect(places == [["colour"], ["sku"]], "a fault for each member", places)


def expect(as_it_should_be: bool, what: str, instead: object) -> None:
    """Raise Unexpected unless something is as it should be."""
    if not as_it_should_be:
        raise Unexpected(f"expected {what}, got {instead!r}")


def find_program(name: str) -> str:
    """Return the path of a program; raises Unexpected if it is not installed."""
    path = shutil.which(name)
    if path is None:
        raise Unexpected(f"{name} is not installed; on Debian it is in the package systemd")
    return path


def leave(number: int, _frame: FrameType | None) -> NoReturn:
    """End by a signal, and on the way out stop what was started."""
    sys.exit(128 + number)


def main() -> int:
    """Run the demo; returns the exit status."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot show an arrow shows a question mark
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    try:
        with tempfile.TemporaryDirectory(prefix="superd-demo-") as directory, ExitStack() as stack:
            run(Path(directory), stack)
    except (Unexpected, SuperdError) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
