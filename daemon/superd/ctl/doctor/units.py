"""Units as `systemctl show` describes them: properties, which are made for programs, not the text for people."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from superd.ctl.doctor.asking import Answer, ask
from superd.ctl.doctor.findings import Unknown
from superd.timespan import parse_span

#: What is asked of a service and of a socket; one has not all of them, and an older systemd does not know the last ones.
PROPERTIES: Final = (
    "Id",
    "LoadState",
    "LoadError",
    "ActiveState",
    "SubState",
    "Result",
    "UnitFileState",
    "NeedDaemonReload",
    "FragmentPath",
    "DropInPaths",
    "WantedBy",
    "RequiredBy",
    "MainPID",
    "NRestarts",
    "ExecMainStatus",
    "ExecStart",
    "Environment",
    "User",
    "DynamicUser",
    "StatusText",
    "LimitNOFILE",
    "TimeoutStopUSec",
    "WatchdogUSec",
    "FileDescriptorStoreMax",
    "StateDirectory",
    "PrivateUsers",
    "ProtectProc",
    "Listen",
    "SocketUser",
    "SocketGroup",
    "SocketMode",
    "ProtectControlGroupsEx",
)

#: What is asked of all other sockets of the host.
_LISTENER_PROPERTIES: Final = ("Id", "ActiveState", "Listen")

_ARGV: Final = re.compile(r"argv\[\]=(.*?) ; ignore_errors=")

#: How systemctl writes a limit or a time that is none.
_INFINITY: Final = "infinity"


class Unit(NamedTuple):
    """The properties of a unit, each with its lines: `Listen` has one for each socket."""

    properties: Mapping[str, Sequence[str]]

    def get(self, name: str) -> str:
        """A property; "" where there is none of the name."""
        return next(iter(self.properties.get(name, ())), "")

    @property
    def name(self) -> str:
        """What systemd calls it."""
        return self.get("Id")

    @property
    def is_loaded(self) -> bool:
        """Whether systemd could read it, and may start it."""
        return self.get("LoadState") == "loaded"

    @property
    def is_active(self) -> bool:
        """Whether it runs, or listens."""
        return self.get("ActiveState") in {"active", "reloading"}

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths on which it listens."""
        return tuple(listen.rpartition(" (")[0] for listen in self.properties.get("Listen", ()))

    @property
    def argv(self) -> tuple[str, ...]:
        """The command line that it starts."""
        found = _ARGV.search(self.get("ExecStart"))
        return tuple(found[1].split()) if found else ()

    @property
    def environment(self) -> dict[str, str]:
        """The variables of `Environment=`."""
        pairs = (word.partition("=") for word in shlex.split(self.get("Environment")))
        return {name: value for name, equals, value in pairs if equals}

    def number(self, name: str) -> int | None:
        """A property that is a number; None for one that is none, or has no bound."""
        text = self.get(name)
        return int(text) if text.isascii() and text.isdigit() else None

    def seconds(self, name: str) -> float | None:
        """A property that is a time; None where it is not given, or has no bound."""
        text = self.get(name)
        if text in {"", _INFINITY}:
            return None
        try:
            return parse_span(text)
        except ValueError:
            return None


def read_show(text: str) -> Iterator[Unit]:
    """The units in what `systemctl show` writes: a block of NAME=VALUE for each, parted by empty lines."""
    for block in text.split("\n\n"):
        properties: dict[str, list[str]] = {}
        for line in block.splitlines():
            name, equals, value = line.partition("=")
            if equals:
                properties.setdefault(name, []).append(value)
        if properties:
            yield Unit(properties)


def show_units(systemctl: Sequence[str], names: Sequence[str]) -> tuple[Unit, ...] | Unknown:
    """The units of these names, in their order; one that does not exist is there, too, and says so in LoadState."""
    units = _show(systemctl, PROPERTIES, names)
    if isinstance(units, Unknown) or len(units) == len(names):
        return units
    return Unknown(f"systemctl tells of {len(units)} units, and was asked for {len(names)}")


def show_sockets(systemctl: Sequence[str]) -> tuple[Unit, ...] | Unknown:
    """All socket units that systemd has loaded."""
    return _show(systemctl, _LISTENER_PROPERTIES, ("*.socket",))


def show_version(systemctl: Sequence[str]) -> str | Unknown:
    """The version of the manager that runs, such as "252.39-1~deb12u2"."""
    answer = ask([*systemctl, "show", "--property=Version", "--value"])
    if isinstance(answer, Unknown):
        return answer
    return answer.out.strip() if answer.status == 0 else _refused(answer)


def _show(
    systemctl: Sequence[str], properties: Sequence[str], names: Sequence[str]
) -> tuple[Unit, ...] | Unknown:
    answer = ask([*systemctl, "show", f"--property={','.join(properties)}", "--", *names])
    if isinstance(answer, Unknown):
        return answer
    return tuple(read_show(answer.out)) if answer.status == 0 else _refused(answer)


def _refused(answer: Answer) -> Unknown:
    """Everybody but root needs D-Bus for it."""
    said = answer.err.strip().splitlines()
    return Unknown(
        f"systemd does not answer: {said[0] if said else f'exit status {answer.status}'}; root may be able to ask"
    )
