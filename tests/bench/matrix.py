"""What is measured, in one place: the systems, and the scenarios."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Final, Literal, NamedTuple, TypeAlias

from tests.bench import starting
from tests.bench.payload import KIB_64, MIB, SMALL
from tests.bench.starting import (
    INVENTORY,
    INVENTORY_ALONE,
    INVENTORY_ASYNC,
    LOW_LATENCY,
    WAREHOUSE,
    Start,
    python_server,
)

#: How a figure is made from a cell, and what it is called: see judging.FIGURES.
Unit: TypeAlias = Literal[
    "calls/s", "ms", "KB", "MB", "wake-ups/s", "us of CPU", "us, client", "us, server", "ms of CPU/s"
]
Placement: TypeAlias = Literal["same", "split"]


class System(NamedTuple):
    """One row of the table: a server and a client for it. `needs` is what must be importable."""

    name: str
    module: str
    client: str
    start: Start
    needs: tuple[str, ...] = ()

    @property
    def environment(self) -> Mapping[str, str]:
        """What its processes are given beside what they ship."""
        return {} if self.name.startswith("superd") else starting.GENEROUS

    def missing(self) -> str:
        """The first package that is not installed, or nothing."""
        return next((name for name in self.needs if find_spec(name) is None), "")


#: The reference that all ratios are against, and what cannot be passed.
REFERENCE: Final = "raw-uvloop"

SYSTEMS: Final[Mapping[str, System]] = {
    system.name: system
    for system in (
        System("c-pingpong", "pingpong", "PingPong", starting.pingpong),
        System(REFERENCE, "raw", "Raw", python_server("raw")),
        System("superd", "superd_clients", "BlockingSuperd", starting.superd(INVENTORY)),
        System("superd-aio", "superd_clients", "AsyncioSuperd", starting.superd(INVENTORY)),
        System(
            "multiprocessing",
            "multiprocessing_connection",
            "Multiprocessing",
            python_server("multiprocessing_connection"),
        ),
        System(
            "dbus-fast/broker", "dbus", "DBus", starting.over_bus("dbus-broker"), ("dbus_fast", "jeepney")
        ),
        System("dbus-fast/daemon", "dbus", "DBus", starting.over_bus("dbus-daemon"), ("dbus_fast",)),
        System("pyzmq", "pyzmq", "Pyzmq", python_server("pyzmq"), ("zmq",)),
        System("rpyc", "rpyc_", "Rpyc", python_server("rpyc_"), ("rpyc",)),
        System("Pyro5", "pyro", "Pyro", python_server("pyro"), ("Pyro5",)),
        System("python-varlink", "varlink_", "Varlink", python_server("varlink_"), ("varlink",)),
        System(
            "asyncvarlink", "asyncvarlink_", "AsyncVarlink", python_server("asyncvarlink_"), ("asyncvarlink",)
        ),
        System("nats-py", "nats", "Nats", starting.nats, ("nats",)),
        System("FastAPI", "fastapi_", "Http", python_server("fastapi_"), ("fastapi", "uvicorn", "aiohttp")),
        System("grpcio", "grpc_sync", "GrpcSync", python_server("grpc_sync"), ("grpc",)),
        System("grpc.aio", "grpc_aio", "GrpcAio", python_server("grpc_aio"), ("grpc",)),
    )
}

#: Systems that are measured in a few scenarios only: a variant of superd's start, or no system at all.
VARIANTS: Final[Mapping[str, System]] = {
    system.name: system
    for system in (
        System("superd-async", "superd_clients", "BlockingSuperd", starting.superd(INVENTORY_ASYNC)),
        System(
            "superd-low",
            "superd_clients",
            "BlockingSuperdLow",
            starting.superd(INVENTORY, settings=LOW_LATENCY),
        ),
        System(
            "superd-aio-low",
            "superd_clients",
            "AsyncioSuperdLow",
            starting.superd(INVENTORY, settings=LOW_LATENCY),
        ),
        System(
            "superd-watched", "superd_clients", "BlockingSuperd", starting.superd(INVENTORY, watched=True)
        ),
        System("superd-1-method", "superd_clients", "AsyncioSuperd", starting.superd(INVENTORY_ALONE)),
        System(
            "superd-200-methods",
            "superd_clients",
            "AsyncioSuperd",
            starting.superd(INVENTORY_ALONE, WAREHOUSE),
        ),
        System(
            "superd-activated",
            "superd_clients",
            "BlockingSuperd",
            starting.activated(starting.activated_superd, starting.unit_environment()),
        ),
        System("raw-uvloop-activated", "raw", "Raw", starting.activated(starting.activated_module("raw"))),
        System("imports", "raw", "Raw", starting.nothing),
    )
}

EVERYTHING: Final = tuple(SYSTEMS)
#: What the quick form measures beside superd, where all systems would take too long.
FEW: Final = (REFERENCE, "superd", "superd-aio", "multiprocessing")


class Scenario(NamedTuple):
    """One column of the table. `opened` is how many connections there are before the measured section.

    Where time decides, the section takes `longer` times what others take. `same_as` names the scenario whose cells hold
    another figure too: there is nothing to run for this one.
    """

    key: str
    title: str
    load: str
    unit: Unit = "calls/s"
    placement: Placement = "same"
    size: int = SMALL
    opened: int = 1
    width: int = 1
    calls: int = 0
    rate: int = 0
    longer: float = 1
    systems: Sequence[str] = EVERYTHING
    quick: Sequence[str] = FEW
    quick_calls: int = 0
    opened_by: Mapping[str, int] = {}
    load_by: Mapping[str, str] = {}
    same_as: str = ""

    def opened_for(self, system: str) -> int:
        """Connections that are open before the measured section."""
        return self.opened_by.get(system, self.opened)

    def calls_in(self, *, quick: bool) -> int:
        """Calls, items or connections of the measured section; 0: as many as its time allows."""
        return (self.quick_calls if quick else 0) or self.calls

    def connections_of(self, system: str, *, quick: bool) -> int:
        """Connections that are open at the end."""
        more = self.calls_in(quick=quick) if self.load in {"connect", "idle-memory"} else 0
        return self.opened_for(system) + more

    def load_for(self, system: str) -> str:
        """What the client process does: load.LOADS."""
        return self.load_by.get(system, self.load)


SCENARIOS: Final[Mapping[str, Scenario]] = {
    scenario.key: scenario
    for scenario in (
        Scenario(
            "sequential",
            "sequential",
            "sequential",
            systems=(*EVERYTHING, "superd-async", "superd-low"),
            quick=(*EVERYTHING, "superd-async"),
        ),
        Scenario(
            "sequential-split",
            "sequential, two cores",
            "sequential",
            placement="split",
            systems=(*EVERYTHING, "superd-low", "superd-aio-low"),
            quick=(*FEW, "superd-low", "superd-aio-low"),
        ),
        *(
            Scenario(
                f"paced-{rate}",
                f"{rate:,} calls a second, two cores",
                "paced",
                unit="ms of CPU/s",
                placement="split",
                rate=rate,
                longer=4,
                systems=("superd", "superd-low", "superd-aio", "superd-aio-low"),
                quick=("superd", "superd-low") if rate == 2000 else (),
            )
            for rate in (0, 100, 2000)
        ),
        Scenario(
            "in-flight",
            "64 in flight on one connection",
            "in-flight",
            width=64,
            quick=(*FEW, "dbus-fast/broker", "grpc.aio"),
        ),
        Scenario(
            "in-flight-split",
            "64 in flight, two cores",
            "in-flight",
            width=64,
            placement="split",
            systems=(*FEW, "dbus-fast/broker", "pyzmq", "grpc.aio"),
            quick=("superd-aio",),
        ),
        Scenario("connections-64", "64 connections", "spread", opened=64, width=64),
        Scenario(
            "connections-10",
            "10 connections",
            "spread",
            opened=10,
            width=10,
            systems=FEW,
            quick=(REFERENCE, "superd-aio"),
        ),
        Scenario(
            "connections-1000",
            "1,000 connections, 10 active",
            "spread",
            opened=1000,
            width=10,
            systems=FEW,
            quick=(REFERENCE, "superd-aio"),
        ),
        Scenario(
            "connects",
            "1,000 connects with a first reply each",
            "connect",
            unit="ms",
            calls=1000,
            opened=100,
            quick=(REFERENCE, "superd", "superd-aio"),
            quick_calls=200,
        ),
        Scenario("echo-64k", "64 KiB echo", "sequential", size=KIB_64),
        Scenario("echo-1m", "1 MiB echo", "sequential", size=MIB),
        Scenario(
            "stream",
            "stream of 100,000 small items",
            "stream",
            calls=100_000,
            quick=("superd", "superd-aio", "multiprocessing"),
            quick_calls=2_000,
        ),
        Scenario("one-way", "one-way calls", "one-way", quick=("superd", "superd-aio", "multiprocessing")),
        Scenario(
            "idle-1000",
            "idle connection, of 1,000",
            "idle-memory",
            unit="KB",
            calls=1000,
            quick=(REFERENCE, "superd"),
            quick_calls=200,
        ),
        Scenario(
            "idle-10000",
            "idle connection, of 10,000",
            "idle-memory",
            unit="KB",
            calls=10_000,
            systems=(REFERENCE, "superd-aio"),
            quick=("superd-aio",),
            quick_calls=1_000,
        ),
        Scenario(
            "cold-start",
            "cold start: activation to first reply",
            "cold-start",
            unit="ms",
            opened=0,
            systems=("imports", "superd-activated", "raw-uvloop-activated"),
            quick=("imports", "superd-activated"),
            load_by={"imports": "imports"},
        ),
        Scenario(
            "idle",
            "an idle server, its watchdog left out",
            "idle-wakeups",
            unit="wake-ups/s",
            longer=10,
            systems=(
                REFERENCE,
                "superd-watched",
                "multiprocessing",
                "dbus-fast/broker",
                "nats-py",
                "FastAPI",
                "grpcio",
                "grpc.aio",
            ),
            quick=(REFERENCE, "superd-watched"),
        ),
        Scenario(
            "client-cpu", "a sequential call, client", "sequential", unit="us, client", same_as="sequential"
        ),
        Scenario(
            "server-cpu", "a sequential call, server", "sequential", unit="us, server", same_as="sequential"
        ),
        Scenario(
            "idle-resident", "the resident set of an idle server", "idle-wakeups", unit="MB", same_as="idle"
        ),
        Scenario(
            "growth",
            "a call at 10,000 connections and 200 methods",
            "sequential",
            unit="us of CPU",
            systems=("superd-1-method", "superd-200-methods"),
            quick=(),
            opened_by={"superd-200-methods": 10_000},
        ),
    )
}

#: Descriptors for the largest scenario, whoever runs it (starting.superd_command), where the system allows as many.
DESCRIPTORS: Final = 32_000


def system(name: str) -> System:
    """A system or a variant; raises KeyError."""
    return SYSTEMS.get(name) or VARIANTS[name]
