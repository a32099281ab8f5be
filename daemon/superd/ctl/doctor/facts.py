"""What is known of a superd and its host, gathered once: values alone. `Unknown` stands for what cannot be had."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from superd.ctl.doctor.findings import Unknown
from superd.ctl.doctor.units import Unit
from superd_client.builtin import Status
from superd_client.instances import Instance


class Node(NamedTuple):
    """A file as stat(2) tells of it. `mode` has the permissions alone."""

    is_socket: bool
    mode: int
    uid: int
    gid: int


class Place(NamedTuple):
    """The path of the socket: what is there and in its folder, None for nothing, and how many sockets listen there.

    `answer` is what came of a connect, where one cannot start anything: "" for a connection, else why there is none.
    """

    path: str
    folder: Node | None
    file: Node | None
    listeners: int | Unknown
    answer: str | None = None
    peer_pid: int | None = None


class Space(NamedTuple):
    """What is free for everybody in the file system of a folder."""

    folder: str
    mount: str
    bytes_free: int
    bytes_total: int
    files_free: int
    is_memory: bool


class User(NamedTuple):
    """Who runs superctl, and whether he may connect."""

    uid: int
    name: str
    may_connect: bool
    is_member: bool


class Accounts(NamedTuple):
    """The users and the groups that the units name, and whether this host knows them; the members of the socket's group."""

    users: Mapping[str, int | None]
    groups: Mapping[str, int | None]
    members: tuple[str, ...]


NO_ACCOUNTS: Final = Accounts({}, {}, ())


class Package(NamedTuple):
    """A package of superd as dpkg has it: the abbreviation of its state, such as "ii", and files that are not as they were."""

    name: str
    version: str
    state: str
    changed: tuple[str, ...] | Unknown


class Fault(NamedTuple):
    """Something in a file, or in another source, that is wrong."""

    source: str
    line: int | None
    key: str
    message: str

    @property
    def place(self) -> str:
        """The source, with the line where it is known."""
        return self.source if self.line is None else f"{self.source}:{self.line}"


class Chosen(NamedTuple):
    """Those settings that must agree with the unit."""

    connections: int
    total_descriptors: int
    drain_timeout: float
    keep_connections: bool
    log_level: str


class Examination(NamedTuple):
    """What a start would read: faults of the settings, of the policy and of services; doubts of the policy.

    `chosen` is None where the settings are wrong. `libraries` has what can be imported, with "" or why it cannot; `mend` is the
    command that completes the installation, where superd itself is among those that cannot.
    """

    settings: tuple[Fault, ...]
    policy: tuple[Fault, ...]
    doubts: tuple[Fault, ...]
    services: tuple[str, ...]
    addresses: tuple[str, ...]
    chosen: Chosen | None
    libraries: Mapping[str, str]
    mend: str = ""


class Exposure(NamedTuple):
    """The score of systemd-analyze security, in tenths, and the settings that cost most."""

    tenths: int
    costs: tuple[tuple[str, float], ...]


class Journal(NamedTuple):
    """Whether the caller may read what superd writes there, and whether it outlives a boot."""

    is_readable: bool
    is_persistent: bool


class Probe(NamedTuple):
    """A first call through the socket: how long it took, or why it failed."""

    usec: int
    failure: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What can be known of a server at any address."""

    address: str
    place: Place | None
    caller: User
    version: str
    #: The manager's version, or why no unit is known; None where systemd does not run the host.
    systemd: str | Unknown | None
    #: None where it was not asked: nothing runs, or the caller may not.
    daemon: Status | Unknown | None = None
    probe: Probe | None = None
    instance: Instance | None = None
    service: Unit | Unknown | None = None
    socket: Unit | Unknown | None = None
    accounts: Accounts = NO_ACCOUNTS


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitFacts(Facts):
    """All of it, where the address is that of units of systemd."""

    systemd: str | Unknown
    instance: Instance
    service: Unit | Unknown
    socket: Unit | Unknown
    kernel: tuple[int, int]
    #: All sockets of the host.
    sockets: tuple[Unit, ...] | Unknown
    packages: tuple[Package, ...]
    examination: Examination | Unknown
    #: The limit of the process that runs.
    descriptors: int | Unknown | None
    exposure: Exposure | Unknown | None
    journal: Journal
    run: Space | None
    state: Space | None
