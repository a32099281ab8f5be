"""A clean environment: what was built, installed as users install it, and the tests beside it without the sources."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from tests.matrix.cells import ROOT, Cell

#: What the tests read. client/, daemon/ and the packages in examples/ stay behind: nothing can hide what is installed.
KEPT: Final = (
    "tests",
    "docs",
    "systemd",
    "tools/completions",
    "examples/demo.py",
    "pyproject.toml",
    "README.md",
)

#: What would send an interpreter elsewhere, or a program of ours to the superd of the machine.
_FOREIGN: Final = ("PYTHON", "SUPERD_", "VIRTUAL_ENV", "COV_", "COVERAGE_")


class Environment:
    """A virtual environment in `folder`, made anew."""

    def __init__(self, folder: Path, interpreter: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self.folder = folder
        self.python = folder / "bin" / "python"
        subprocess.run([interpreter, "-m", "venv", "--without-pip", folder], check=True, env=variables())

    def install(self, constraints: Path, *arguments: str | Path, **more: str) -> None:
        """What pip is told to, by the pip that runs us: there is none inside."""
        pip: list[str | Path] = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            self.python,
            "-qq",
            "--no-input",
            "install",
        ]
        # As a variable the constraints hold for what builds a dependency, too.
        environment = variables() | {"PIP_CONSTRAINT": str(constraints)} | more
        subprocess.run([*pip, "--disable-pip-version-check", *arguments], check=True, env=environment)


def make_environment(cell: Cell, interpreter: Path, wheels: Iterable[Path]) -> Environment:
    """The environment of a cell, with `wheels` and what the tests need."""
    environment = Environment(cell.folder / "venv", interpreter)
    environment.install(
        write_constraints(cell),
        *wheels,
        "-r",
        ROOT / "requirements" / "test.txt",
        "--no-warn-script-location",
    )
    return environment


def write_constraints(cell: Cell) -> Path:
    """The file for pip."""
    path = cell.folder / "constraints.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(cell.constraints(), "utf-8")
    return path


def copy_tests(folder: Path) -> None:
    """All that the tests read, and no source of what they test."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    ignore = shutil.ignore_patterns("__pycache__", ".*")
    for name in KEPT:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=ignore)
        else:
            shutil.copy2(source, target)


def variables(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours, without what would reach into an environment from outside."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return kept | dict(more or {})
