"""Facts that stand in two files, and files that must not be."""

import configparser
import re
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

import superd
import superd_client
from superd.settings import Settings

ROOT: Final = Path(__file__).resolve().parents[2]
DISTRIBUTIONS: Final = ("client", "daemon", "examples")


def read_unit(path: Path) -> configparser.RawConfigParser:
    """A unit; of a directive that is given twice, the last."""
    unit = configparser.RawConfigParser(strict=False, interpolation=None, delimiters="=")
    unit.optionxform = str  # type: ignore[method-assign,assignment]
    unit.read(path)
    return unit


def read_project(distribution: str) -> dict[str, Any]:
    project = tomllib.loads((ROOT / distribution / "pyproject.toml").read_text())["project"]
    assert isinstance(project, dict)
    return project


def requirement_names(lines: list[str]) -> set[str]:
    names = (re.match(r"[A-Za-z0-9._-]+", line) for line in lines if not line.startswith("#"))
    return {re.sub(r"[-_.]+", "-", name[0]).lower() for name in names if name}


def test_no_folder_hides_python_systemd() -> None:
    assert not list(ROOT.glob("systemd/**/*.py"))
    assert not list(ROOT.glob("packaging/**/__init__.py"))
    assert not (ROOT / "tests/systemd").exists()


def test_every_folder_of_tests_is_a_package() -> None:
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_all_distributions_have_one_version() -> None:
    assert superd_client.__version__ == superd.__version__ == read_project("examples")["version"]


@pytest.mark.parametrize(
    "package", ["client/superd_client", "daemon/superd", "examples/inventoryd", "examples/romd"]
)
def test_every_package_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()


def test_constraints_name_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [
        line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*|#.*", line)
    ] == []


def test_everything_that_is_required_is_constrained() -> None:
    constrained = requirement_names((ROOT / "constraints.txt").read_text().splitlines())
    for distribution in DISTRIBUTIONS:
        assert (
            requirement_names(read_project(distribution)["dependencies"]) - {"superd-client"} <= constrained
        )
    for name in ("bench", "build", "dev", "test"):
        assert (
            requirement_names((ROOT / f"requirements/{name}.txt").read_text().splitlines()) <= constrained
        ), name


def directives(name: str) -> list[str]:
    """The lines of a unit that systemd reads, in order."""
    lines = (ROOT / "systemd" / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def differences(one: str, other: str) -> tuple[list[str], list[str]]:
    """The directives that one unit alone has, and those of the other; what both have is in one order."""
    ours, theirs = directives(one), directives(other)
    assert [line for line in ours if line in theirs] == [line for line in theirs if line in ours]
    return [line for line in ours if line not in theirs], [line for line in theirs if line not in ours]


def test_an_instance_is_locked_up_and_kept_alive_as_the_plain_superd_is() -> None:
    assert differences("superd.service", "superd@.service") == (
        [
            "Description=superd, local IPC daemon",
            "Requires=superd.socket",
            "After=superd.socket",
            "ExecStart=/usr/bin/superd",
            "ExecReload=/usr/bin/superctl reload",
            "User=superd",
            "Group=superd",
            "StateDirectory=superd",
            "Also=superd.socket",
        ],
        [
            "Description=superd, local IPC daemon (%i)",
            "Requires=superd@%i.socket",
            "After=superd@%i.socket",
            "ExecStart=/usr/bin/superd --instance %i",
            "ExecReload=!/usr/bin/superctl --instance %i reload",
            "User=superd-%i",
            "Group=superd-%i",
            "StateDirectory=superd-%i",
            "Also=superd@%i.socket",
        ],
    )


def test_an_instance_listens_as_the_plain_superd_does() -> None:
    plain, instance = differences("superd.socket", "superd@.socket")
    assert plain == [
        "Description=superd, local IPC daemon (socket)",
        "ListenStream=/run/superd/superd.sock",
    ]
    assert [line for line in instance if not line.startswith("ExecStartPre=")] == [
        "Description=superd, local IPC daemon (%i, socket)",
        "ListenStream=/run/superd/%i.sock",
    ]


@pytest.mark.parametrize(("plain", "users"), [("superd", "user/superd"), ("superd@", "user/superd@")])
def test_a_user_has_what_his_service_manager_can_give(plain: str, users: str) -> None:
    """All lines of his unit are the system's but those that name places; what is missing is the sandbox's."""
    missing, other = differences(f"{plain}.service", f"{users}.service")
    name = "" if plain == "superd" else " --instance %i"
    assert other == [
        f"Description=superd, local IPC daemon{' (%i)' if name else ''} of a user",
        f"ExecStart=/usr/bin/superd --user{name}",
        f"ExecReload=/usr/bin/superctl --user{name} reload",
        f"StateDirectory=superd/state{'-%i' if name else ''}",
    ]
    kept = {
        "StartLimitIntervalSec",
        "Type",
        "Restart",
        "WatchdogSec",
        "TimeoutStopSec",
        "LimitNOFILE",
        "UMask",
    }
    assert not {line.partition("=")[0] for line in missing} & kept
    assert differences(f"{plain}.socket", f"{users}.socket")[1][-3:] == [
        f"ListenStream=%t/superd/{'%i' if name else 'superd'}.sock",
        "DirectoryMode=0700",
        "SocketMode=0600",
    ]


def test_the_unit_gives_the_drain_time_enough() -> None:
    service = read_unit(ROOT / "systemd/superd.service")["Service"]
    assert (
        Settings.model_validate({"drain_timeout": service["TimeoutStopSec"]}).drain_timeout
        > Settings().drain_timeout
    )


def test_the_unit_gives_the_connections_descriptors_enough() -> None:
    service = read_unit(ROOT / "systemd/superd.service")["Service"]
    assert int(service["LimitNOFILE"]) > Settings().connections + 100


def test_the_unit_hides_nothing_that_tells_who_calls() -> None:
    service = read_unit(ROOT / "systemd/superd.service")["Service"]
    assert {"PrivateUsers", "ProtectProc"} & set(service) == set()
