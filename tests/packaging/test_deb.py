"""packaging/deb: what it says agrees with what it packages."""

import re
import shlex
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import superd
import superd_client

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGING: Final = ROOT / "packaging"
DEB: Final = PACKAGING / "deb"
RULES: Final = (DEB / "rules").read_text()

#: Debian's names of distributions that are not called python3-NAME there.
DEBIAN_NAMES: Final = {"systemd-python": "python3-systemd"}
#: From Debian on both releases: it is built for the system's libsystemd.
NOT_VENDORED: Final = {"systemd-python", "superd-client"}


def project(folder: str) -> dict[str, object]:
    table: dict[str, object] = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
    return table


def requirements(folder: str) -> list[Requirement]:
    found = project(folder)["dependencies"]
    assert isinstance(found, list)
    return [Requirement(each) for each in found]


def vendored() -> dict[str, list[str]]:
    """Name and version of each wheel, and its hashes."""
    lines = (PACKAGING / "vendor.txt").read_text().replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return {each[0]: each[1:] for each in words if each}


def test_all_versions_are_the_same() -> None:
    changelog = re.match(r"superd \((\S+)-\d+\) unstable; urgency=medium\n", (DEB / "changelog").read_text())
    assert changelog is not None
    versions = {changelog[1], superd.__version__, superd_client.__version__, project("examples")["version"]}
    assert len(versions) == 1


@pytest.mark.parametrize("requirement", requirements("daemon"), ids=str)
def test_debian_asks_for_what_the_daemon_asks_for(requirement: Requirement) -> None:
    if requirement.name == "superd-client":
        # superd has it for itself, of its own version.
        assert "--target $(SUPERD)/$(LIB) $(WHEELS)/superd_client-*.whl" in RULES
        return
    # The packages depend on what the build depends on: debian/rules reads it there.
    lowest = next(each.version for each in requirement.specifier if each.operator == ">=")
    name = DEBIAN_NAMES.get(requirement.name, f"python3-{requirement.name}")
    assert f"{name} (>= {lowest})" in (DEB / "control").read_text()


@pytest.mark.parametrize("requirement", [*requirements("client"), *requirements("daemon")], ids=str)
def test_the_wheels_are_of_versions_that_are_asked_for(requirement: Requirement) -> None:
    if requirement.name in NOT_VENDORED:
        return
    versions = {
        canonicalize_name(name): version for name, _, version in (each.partition("==") for each in vendored())
    }
    assert requirement.specifier.contains(Version(versions[canonicalize_name(requirement.name)]))


def test_the_wheels_are_those_that_the_tests_have() -> None:
    constraints = {
        canonicalize_name(name): version
        for name, _, version in (
            line.partition("==")
            for line in (ROOT / "constraints.txt").read_text().splitlines()
            if "==" in line
        )
    }
    for wheel in vendored():
        name, _, version = wheel.partition("==")
        assert constraints[canonicalize_name(name)] == version


def test_each_wheel_has_its_hashes_and_nothing_else() -> None:
    for wheel, hashes in vendored().items():
        assert hashes, wheel
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in hashes), wheel


def test_no_file_names_a_host() -> None:
    said = re.compile(
        rb"\b(?:https?|ftp)://(?!www\.debian\.org/doc/packaging-manuals/)|--(?:extra-)?index-url"
    )
    for file in PACKAGING.rglob("*"):
        if file.is_file():
            assert not said.search(file.read_bytes()), file


def test_each_file_of_make_install_is_packaged() -> None:
    patterns = [each.rstrip(";") for each in re.findall(r"(?:systemd|examples)/[^\s()$]+", RULES)]
    sources = [*(ROOT / "systemd").rglob("*"), *(ROOT / "examples").glob("*/systemd/*")]
    sources.append(ROOT / "examples/inventoryd/50-inventory.toml")
    for source in sources:
        if source.is_file():
            name = str(source.relative_to(ROOT))
            # Not across folders.
            assert any(
                fnmatch(name, pattern) and name.count("/") == pattern.count("/") for pattern in patterns
            ), name


def test_conffiles_and_state_are_removed_by_a_purge() -> None:
    purge = (DEB / "superd.postrm").read_text().partition("= purge")[2]
    for what in ("/var/lib/superd", "/etc/superd", "userdel superd", "groupdel superd"):
        assert what in purge


@pytest.mark.parametrize("script", sorted(DEB.glob("*.p[or][se]*")), ids=lambda path: path.name)
def test_maintainer_scripts_are_for_any_shell(script: Path) -> None:
    assert script.read_text().startswith("#!/bin/sh\nset -e\n")
    subprocess.run(["sh", "-n", script], check=True)
