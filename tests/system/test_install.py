"""`make install`: everything is where systemd and the shell look for it, and nothing else is anywhere."""

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.system.conftest import ROOT, make_install
from tests.system.guest import Guest

FILES = {
    "etc/superd/policy.d/README",
    "etc/superd/superd.toml",
    "etc/superd/superd.d/50-inventory.toml",
    "usr/bin/romd",
    "usr/bin/superctl",
    "usr/bin/superd",
    "usr/lib/systemd/catalog/superd.catalog",
    "usr/lib/systemd/system/romd.service",
    "usr/lib/systemd/system/superd.service",
    "usr/lib/systemd/system/superd.socket",
    "usr/lib/systemd/system/superd@.service",
    "usr/lib/systemd/system/superd@.socket",
    "usr/lib/systemd/user/superd.service",
    "usr/lib/systemd/user/superd.socket",
    "usr/lib/systemd/user/superd@.service",
    "usr/lib/systemd/user/superd@.socket",
    "usr/lib/sysusers.d/romd.conf",
    "usr/lib/sysusers.d/superd.conf",
    "usr/lib/tmpfiles.d/superd.conf",
    "usr/share/bash-completion/completions/superctl",
    "usr/share/bash-completion/completions/superd",
    "usr/share/fish/vendor_completions.d/superctl.fish",
    "usr/share/fish/vendor_completions.d/superd.fish",
    "usr/share/zsh/site-functions/_superctl",
    "usr/share/zsh/site-functions/_superd",
}
FOLDERS = ("usr/lib/superd/", "usr/lib/superd-services/", "usr/share/doc/superd/", "usr/share/man/")


def test_every_file_has_its_place(staged: Path) -> None:
    found = {str(path.relative_to(staged)) for path in staged.rglob("*") if not path.is_dir()}
    assert {each for each in found if not each.startswith(FOLDERS)} == FILES
    assert {"usr/lib/superd/superd/app.py", "usr/lib/superd/superd_client/py.typed"} <= found
    assert {"usr/lib/superd-services/inventoryd/api.py", "usr/lib/superd-services/romd/__main__.py"} <= found


def test_packages_come_compiled_and_without_programs_and_tests(staged: Path) -> None:
    library = staged / "usr/lib/superd"
    assert list(library.glob("superd/__pycache__/app.*.pyc"))
    assert not (library / "bin").exists()
    assert not [path for path in library.rglob("*") if path.name in {"tests", "test"}]


def test_nothing_names_the_folder_that_it_was_staged_in(staged: Path) -> None:
    for path in staged.rglob("*"):
        if path.is_file():
            assert os.fsencode(staged) not in path.read_bytes(), path
            assert os.fsencode(f"file://{ROOT}") not in path.read_bytes(), path


def test_only_root_may_change_anything(staged: Path) -> None:
    assert [path for path in staged.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o022] == []


@pytest.mark.parametrize("prefix", ["/usr/local", "/opt/superd"])
def test_units_name_the_programs_under_the_prefix(prefix: str, tmp_path: Path) -> None:
    make_install(tmp_path, prefix=prefix)
    unit = configparser.RawConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[method-assign,assignment]
    unit.read(tmp_path / prefix[1:] / "lib/systemd/system/superd.service")
    assert unit["Service"]["ExecStart"] == f"{prefix}/bin/superd"
    assert (tmp_path / prefix[1:] / "bin/superd").exists()
    assert unit["Service"]["ExecPaths"] == ("/usr" if prefix == "/usr/local" else "/usr /opt/superd")


def test_a_configuration_that_is_there_is_kept(staged: Path, tmp_path: Path) -> None:
    shutil.copytree(staged, tmp_path, dirs_exist_ok=True, symlinks=True)
    files = [tmp_path / "etc/superd/superd.toml", tmp_path / "etc/superd/superd.d/50-inventory.toml"]
    for file in files:
        file.write_text("# mine\n")
    make_install(tmp_path)
    make_install(tmp_path, "install-examples")
    assert [file.read_text() for file in files] == ["# mine\n", "# mine\n"]


def test_uninstall_leaves_configuration_alone_and_nothing_else(staged: Path, tmp_path: Path) -> None:
    shutil.copytree(staged, tmp_path, dirs_exist_ok=True, symlinks=True)
    make_install(tmp_path, "uninstall")
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if not path.is_dir()}
    assert left == {
        "etc/superd/policy.d/README",
        "etc/superd/superd.toml",
        "etc/superd/superd.d/50-inventory.toml",
    }


def test_uninstall_does_nothing_while_a_unit_is_in_use(listening: Guest) -> None:
    listening.write("/etc/superd/instances/inventory.toml", "")
    listening.systemctl("enable", "--now", "superd@inventory.socket")
    # By standard input: the guest need not see this folder.
    makefile = (ROOT / "Makefile").read_text()
    done = listening.exec("make", "--file=-", "uninstall", "PREFIX=/usr", check=False, stdin=makefile)
    assert done.returncode != 0
    (advice,) = re.findall(r"systemctl disable --now (.*)", done.stderr)
    assert {"superd.socket", "superd@inventory.socket"} <= {*advice.split()}
    assert listening.path("/usr/bin/superd").exists()
    listening.systemctl("disable", "--now", "superd@inventory.socket")
    listening.path("/etc/superd/instances/inventory.toml").unlink()


def test_links_of_the_installed_pages_lead_to_installed_pages(staged: Path) -> None:
    folder = staged / "usr/share/doc/superd"
    for page in folder.rglob("*.md"):
        for link in re.findall(r"\]\(([^)#:]+)[)#]", page.read_text()):
            assert (page.parent / link).exists(), (page, link)


def test_the_installed_programs_start_and_find_the_configuration_right(installed: Guest) -> None:
    installed.exec("superd", "--check")
    for program in ("superd", "superctl", "romd"):
        assert program in installed.exec(program, "--help").stdout


def test_programs_run_without_the_callers_environment_and_folder(installed: Guest) -> None:
    installed.write("/tmp/trap/superd/__init__.py", "raise SystemExit('trapped')\n")
    trapped = ["env", "--chdir=/tmp/trap", "PYTHONPATH=/tmp/trap", "superctl", "--help"]
    assert "superctl" in installed.exec(*trapped).stdout


def test_systemd_has_nothing_to_say_about_the_units(installed: Guest) -> None:
    said = installed.exec(
        "systemd-analyze", "verify", "--man=no", "superd.socket", "superd.service", "romd.service"
    )
    assert said.stdout + said.stderr == ""


def test_enabling_superd_means_enabling_its_socket(guest: Guest) -> None:
    guest.systemctl("enable", "superd.service")
    assert guest.exec("systemctl", "is-enabled", "superd.socket").stdout == "enabled\n"
    assert guest.path("/etc/systemd/system/sockets.target.wants/superd.socket").is_symlink()
    guest.systemctl("disable", "superd.service")


def test_the_help_of_make_names_every_target() -> None:
    said = subprocess.run(["make", "-C", ROOT, "help"], capture_output=True, text=True, check=True).stdout
    for target in (
        "setup",
        "run",
        "test",
        "lint",
        "format",
        "fuzz",
        "chaos",
        "install",
        "uninstall",
        "clean",
    ):
        assert f"make {target} " in said
