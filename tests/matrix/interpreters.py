"""Where the interpreters of a machine are. A name on PATH proves nothing: pyenv's are there for versions that are not chosen."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

#: Names interpreters, or folders of them, before all other places: as PATH does, divided by ":".
VARIABLE: Final = "MATRIX_PYTHONS"

_ASK: Final = "import sys; print('%d.%d' % sys.version_info[:2], sys.implementation.name)"
#: An interpreter that has not answered in this many seconds is none.
_PATIENCE: Final = 30.0


def find_interpreter(version: str) -> Path | None:
    """A CPython of `version`, as "3.13"; None where none is found."""
    return next((path for path in _candidates(version) if _is(path, version)), None)


def _candidates(version: str) -> Iterator[Path]:
    name = f"python{version}"
    for place in map(Path, filter(None, os.environ.get(VARIABLE, "").split(os.pathsep))):
        yield place / name if place.is_dir() else place
    for folder in os.get_exec_path():
        yield Path(folder, name)
    yield from (folder / "bin" / name for folder in _pyenv_folders(version))
    # `make setup PYTHON=` may have been given one that has no such name.
    if default := shutil.which("python3"):
        yield Path(default)


def _pyenv_folders(version: str) -> Iterator[Path]:
    """Those of pyenv's versions, the newest first; also where pyenv itself is not on PATH."""
    if pyenv := shutil.which("pyenv"):
        answer = subprocess.run([pyenv, "prefix", version], capture_output=True, text=True, check=False)
        yield from map(Path, answer.stdout.strip().split(os.pathsep) if answer.returncode == 0 else ())
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = [path for path in root.glob(f"versions/{version}.*") if path.name.count(".") == 2]
    yield from sorted(found, key=_patch, reverse=True)


def _patch(folder: Path) -> int:
    patch = folder.name.rpartition(".")[2]
    return int(patch) if patch.isdecimal() else -1


def _is(path: Path, version: str) -> bool:
    """Whether it can be run, and says that it is one."""
    try:
        answer = subprocess.run(
            [path, "-I", "-c", _ASK], capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and answer.stdout.split() == [version, "cpython"]
