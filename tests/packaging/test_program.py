"""packaging/program.in: a program whose installation is not complete says so, and how to mend it."""

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
TEMPLATE: Final = ROOT / "packaging/program.in"
MEND: Final = "apt install --reinstall superd"

#: What /usr/lib/superd/vendor has, and what Debian adds.
MODULES: Final = (
    "annotated_types",
    "orjson",
    "pydantic",
    "pydantic_core",
    "structlog",
    "systemd",
    "typing_extensions",
    "typing_inspection",
    "uvloop",
)


def location(module: str) -> Path:
    """The file or the folder of a module."""
    file = Path(str(importlib.import_module(module).__file__))
    return file.parent if file.name.startswith("__init__") else file


@pytest.fixture
def vendor(tmp_path: Path) -> Path:
    folder = tmp_path / "vendor"
    folder.mkdir()
    for module in MODULES:
        source = location(module)
        (folder / source.name).symlink_to(source)
    return folder


def start(
    vendor: Path,
    program: str,
    module: str,
    *arguments: str,
    paths: tuple[Path, ...] = (ROOT / "daemon", ROOT / "client"),
) -> subprocess.CompletedProcess[str]:
    text = TEMPLATE.read_text()
    # -S: what the environment of the tests has is not there.
    for name, value in {
        "PYTHON": f"{sys.executable} -IS",
        "PATHS": ", ".join(f'"{path}"' for path in (vendor, *paths)),
        "MODULE": module,
        "PROGRAM": program,
        "MEND": MEND,
    }.items():
        text = text.replace(f"@{name}@", value)
    assert not re.search("@[A-Z]+@", text)
    file = vendor.parent / program
    file.write_text(text)
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-IS", file, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment,
    )


def remove(vendor: Path, module: str) -> None:
    (vendor / location(module).name).unlink()


def assert_says_so(done: subprocess.CompletedProcess[str], program: str, what: str) -> None:
    assert done.returncode == 78
    assert done.stdout == ""
    assert re.fullmatch(rf"{program}: the installation is not complete \(.*\). As root: .+\n", done.stderr), (
        done.stderr
    )
    assert what in done.stderr


def test_a_whole_installation_starts(vendor: Path) -> None:
    done = start(vendor, "superd", "superd.__main__", "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("superd ")


@pytest.mark.parametrize(
    "module",
    ["annotated_types", "pydantic", "pydantic_core", "structlog", "typing_extensions", "typing_inspection"],
)
def test_superd_names_the_module_that_is_missing(vendor: Path, module: str) -> None:
    remove(vendor, module)
    assert_says_so(start(vendor, "superd", "superd.__main__", "--version"), "superd", module)


def test_superd_itself_may_be_missing(vendor: Path) -> None:
    done = start(vendor, "superd", "superd.__main__", paths=())
    assert_says_so(done, "superd", "superd")
    assert done.stderr.endswith(f"As root: {MEND}\n")


def test_the_half_of_another_version_is_found(vendor: Path) -> None:
    source = location("pydantic_core")
    remove(vendor, "pydantic_core")
    shutil.copytree(source, vendor / "pydantic_core", symlinks=True)
    init = vendor / "pydantic_core/__init__.py"
    init.write_text(init.read_text() + "\n__version__ = '2.0.0'\n")
    done = start(vendor, "superd", "superd.__main__", "--version")
    assert_says_so(done, "superd", "SystemError")
    assert "2.0.0" in done.stderr


def test_superctl_says_it_when_a_command_needs_the_module(vendor: Path) -> None:
    remove(vendor, "pydantic_core")
    done = start(vendor, "superctl", "superd.ctl.__main__", "status")
    assert_says_so(done, "superctl", "pydantic_core")


def test_the_status_of_the_program_is_its_own(vendor: Path) -> None:
    done = start(vendor, "superd", "superd.__main__", "--no-such-option")
    assert done.returncode == 2
    assert "not complete" not in done.stderr
