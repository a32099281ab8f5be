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
