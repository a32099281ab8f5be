"""How the server side of each system is started, as shipped: its programs, its defaults, and what an operator would set."""

import os
import resource
import shutil
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from tests.bench.processes import ROOT, Processes

#: What `make bench` makes and installs, and nothing else does.
BUILT: Final = ROOT / "build" / "bench"

#: Connections up to which superd's default is enough for one user. Who has more says so in the configuration, and so
#: does a scenario that opens more.
CONNECTIONS_BY_DEFAULT: Final = 1_100


#: glibc gives large buffers back to the kernel at each free, which makes large messages up to four times slower. Everybody
#: but superd gets these thresholds, on both sides; superd has what it ships, and no more.
GENEROUS: Final = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}


class Place(NamedTuple):
    """Where a server side runs: its processes, its core, the path of its socket; how many will connect; what it is given."""

    processes: Processes
    core: int
    address: str
    connections: int
    environment: Mapping[str, str]


class AbsentError(Exception):
    """A system is not installed here; the text says what is missing."""


Start = Callable[[Place], None]


def python_server(module: str) -> Start:
    """A Python library's server, in a process of its own."""

    def start(place: Place) -> None:
        server = place.processes.module(
            "tests.bench.serve",
            f"tests.bench.systems.{module}",
            place.address,
            core=place.core,
            environment=place.environment,
        )
        place.processes.wait_for_line(server)

    return start


def nothing(place: Place) -> None:
    """A system that has no server side."""


def pingpong(place: Place) -> None:
    """Compile both halves of pingpong.c, and start the server."""
    source = str(ROOT / "tests" / "bench" / "pingpong.c")
    for output, options in ((f"{place.address}.so", ["-shared", "-fPIC"]), (f"{place.address}.bin", [])):
        compiler = place.processes.spawn(["cc", "-O2", *options, "-o", output, source], place.core)
        if compiler.wait():
            raise AbsentError(f"cc: {place.processes.last_words()}")
    server = place.processes.spawn([f"{place.address}.bin", place.address], place.core, place.environment)
    place.processes.wait_for_socket(server, place.address)


# --- superd ---------------------------------------------------------------------------------------------------------


def superd_command(place: Place, *services: str, settings: str = "") -> list[str]:
    """The daemon with a configuration folder as an installation has it: superd.toml as shipped, a drop-in, a policy.

    `settings` are lines of the drop-in. `make bench` measures what `make install` has installed; the tests run what is in
    the tree.
    """
    folder = place.processes.folder
    (folder / "superd.d").mkdir()
    (folder / "policy.d").mkdir()
    shutil.copy(ROOT / "systemd" / "superd.toml", folder)
    drop_in = f"services = {list(services)}\npolicy_dir = '{folder / 'policy.d'}'\n{settings}"
    if place.connections > CONNECTIONS_BY_DEFAULT:
        drop_in += f"connections = {_admitting(place.connections)}\n"
    (folder / "superd.d" / "50-bench.toml").write_text(drop_in, "utf-8")
    (folder / "policy.d" / "50-bench.toml").write_text(POLICY, "utf-8")
    in_bench = Path(sys.prefix) == BUILT / "venv"
    program = [str(BUILT / "root" / "bin" / "superd")] if in_bench else [sys.executable, "-m", "superd"]
    return [*program, "--config", str(folder / "superd.toml")]


def _admitting(connections: int) -> int:
    """The setting that admits so many; raises AbsentError where the system has no descriptors for it.

    Root may have all but the reserve. Others may have half: one user alone is not to take everything.
    """
    asked = (connections + connections // 8) * (1 if os.geteuid() == 0 else 2)
    needed = asked + asked // 4
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit < needed:
        message = f"{needed} descriptors are needed, and the limit here is {limit} (ulimit -Hn)"
        raise AbsentError(message)
    return asked


#: A policy of the size that an installation has. Who measures as root is bound by none of it, and each call is judged.
POLICY: Final = """\
[[deny]]
methods = ["inventory.**"]
users = ["nobody"]

[[allow]]
methods = ["inventory.*", "warehouse.*"]
groups = ["root", "adm"]

[[default]]
methods = ["inventory.*"]
access = "public"
"""

_SERVICES: Final = "tests.bench.systems.superd_service"
INVENTORY: Final = f"{_SERVICES}:inventory"
#: The same with an async handler; with a single method; and 200 methods more.
INVENTORY_ASYNC: Final = f"{_SERVICES}:inventory_async"
INVENTORY_ALONE: Final = f"{_SERVICES}:inventory_alone"
WAREHOUSE: Final = "tests.bench.systems.superd_warehouse:warehouse"

#: What an operator writes into superd.toml for short latencies.
LOW_LATENCY: Final = 'latency = "low"\n'


def unit_environment() -> dict[str, str]:
    """What superd.service sets: an installed superd has it."""
    words = [word for line in _unit_lines("Environment") for word in line.split()]
    return {word.partition("=")[0]: word.partition("=")[2] for word in words}


def watchdog_usec() -> str:
    """The watchdog's time in superd.service, as systemd passes it."""
    [seconds] = _unit_lines("WatchdogSec")
    return str(int(seconds.removesuffix("s")) * 1_000_000)


def _unit_lines(name: str) -> list[str]:
    lines = (ROOT / "systemd" / "superd.service").read_text("utf-8").splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{name}=")]


def superd(*services: str, settings: str = "", watched: bool = False) -> Start:
    """superd as installed, listening by itself; `watched` gives it the watchdog that its unit has."""

    def start(place: Place) -> None:
        command = [*superd_command(place, *services, settings=settings), "--listen", f"unix:{place.address}"]
        environment = unit_environment()
        if watched:
            environment |= {"NOTIFY_SOCKET": place.processes.take_notices(), "WATCHDOG_USEC": watchdog_usec()}
        daemon = place.processes.spawn(command, place.core, environment)
        place.processes.wait_for_socket(daemon, place.address)

    return start


def activated(command: Callable[[Place], list[str]], environment: Mapping[str, str] | None = None) -> Start:
    """Only a socket, as systemd has it; the first connection starts the server."""

    def start(place: Place) -> None:
        words = ["systemd-socket-activate", "--listen", place.address]
        for name in ("PYTHONPATH", *(environment or {})):
            words += ["--setenv", name]
        socket_ = place.processes.spawn([*words, *command(place)], place.core, environment)
        while not Path(place.address).exists():
            if socket_.poll() is not None:
                raise AbsentError(place.processes.last_words())

    return start


def activated_superd(place: Place) -> list[str]:
    """What superd.socket starts."""
    return superd_command(place, INVENTORY)


def activated_module(module: str) -> Callable[[Place], list[str]]:
    """A Python library's server that takes the socket which systemd passes."""
    return lambda _: [sys.executable, "-m", "tests.bench.serve", f"tests.bench.systems.{module}", "systemd"]


# --- systems with a process between the two sides ---------------------------------------------------------------------


def over_bus(bus: str) -> Start:
    """A message bus, and the service that is connected to it; `address` is the bus's."""

    def start(place: Place) -> None:
        if bus == "dbus-broker":
            program = _program("dbus-broker", BUILT / "debian" / "usr" / "bin")
            broker = place.processes.module(
                "tests.bench.systems.broker",
                place.address,
                program,
                core=place.core,
                environment=place.environment,
            )
            place.processes.wait_for_line(broker)
        else:
            configuration = place.processes.folder / "bus.conf"
            configuration.write_text(BUS_CONFIGURATION.format(address=place.address), "utf-8")
            command = [_program(bus), "--nofork", "--nopidfile", f"--config-file={configuration}"]
            daemon = place.processes.spawn(command, place.core, place.environment)
            place.processes.wait_for_socket(daemon, place.address)
        python_server("dbus")(place)

    return start


#: The session bus's policy (session.conf of the package dbus): everything is allowed, and limits are high.
BUS_CONFIGURATION: Final = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={address}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
  <limit name="max_incoming_bytes">1000000000</limit>
  <limit name="max_outgoing_bytes">1000000000</limit>
  <limit name="max_message_size">1000000000</limit>
  <limit name="auth_timeout">240000</limit>
  <limit name="max_completed_connections">100000</limit>
  <limit name="max_incomplete_connections">10000</limit>
  <limit name="max_connections_per_user">100000</limit>
  <limit name="max_names_per_connection">50000</limit>
  <limit name="max_match_rules_per_connection">50000</limit>
  <limit name="max_replies_per_connection">50000</limit>
</busconfig>
"""


def nats(place: Place) -> None:
    """nats-server on a port of its own, since it has no Unix sockets, and the service that is connected to it."""
    program = _program("nats-server", Path(sys.executable).parent)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    configuration = place.processes.folder / "nats.conf"
    configuration.write_text(f"host: 127.0.0.1\nport: {port}\nmax_payload: 8MB\n", "utf-8")
    server = place.processes.spawn([program, "--config", str(configuration)], place.core, place.environment)
    place.processes.wait_for_socket(server, ("127.0.0.1", port))
    Path(f"{place.address}.port").write_text(str(port), "ascii")
    python_server("nats")(place)


def _program(name: str, *folders: Path) -> str:
    found = shutil.which(name, path=":".join(map(str, folders))) or shutil.which(name)
    if found is None:
        raise AbsentError(f"{name} is not installed")
    return found
