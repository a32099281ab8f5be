"""The README's programs, commands and links: what a stranger tries first must work as it is written."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.examples.processes import PATIENCE, Child, clean_environment, start

ROOT: Final = Path(__file__).resolve().parents[2]
README: Final = (ROOT / "README.md").read_text("utf-8")

#: The Python programs by name: each block begins with a comment that says it.
PROGRAMS: Final = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", README, re.DOTALL))
#: Commands in `console` blocks with what they write; in `sh` blocks, those of superctl.
SESSION: Final = dict(re.findall(r"^\$ ([^\n]+)\n((?:[^$`\n][^\n]*\n)*)", README, re.MULTILINE))
ONE_LINERS: Final = re.findall(r"^superctl [^#\n]*", README, re.MULTILINE)
LINKS: Final = re.findall(r"\]\(([^)#]+)", README)
SERVICE: Final = next(
    command for command in SESSION if command.startswith("python -m superd") and command.endswith("&")
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the reader has put the three programs."""
    place = tmp_path_factory.mktemp("readme")
    for name, text in PROGRAMS.items():
        (place / name).write_text(text, "utf-8")
    return place


@pytest.fixture(scope="module")
def environment(folder: Path) -> dict[str, str]:
    return clean_environment(SUPERD_SOCKET=f"unix:{folder}/users.sock", PYTHONPATH=str(folder))


@pytest.fixture(scope="module", autouse=True)
def superd(folder: Path, environment: dict[str, str]) -> Iterator[Child]:
    """superd, started as the README says but for the place of its socket, and stopped in order."""
    words = SERVICE.removesuffix("&").replace("/tmp", str(folder)).split()
    with start([sys.executable, *words[1:]], environment) as child:
        child.wait_for_lines("started")
        yield child
        assert child.stop() == 0


def run(command: list[str], environment: dict[str, str]) -> str:
    """What a command writes to standard output; fails unless its exit status is 0."""
    done = subprocess.run(
        [sys.executable, *command],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_are_a_contract_a_service_and_a_client() -> None:
    assert list(PROGRAMS) == ["users_api.py", "users_service.py", "users_client.py"]
    assert all(text.count("\n") <= 20 for text in PROGRAMS.values())


def test_the_client_writes_what_is_shown(folder: Path, environment: dict[str, str]) -> None:
    shown = SESSION["python users_client.py"]
    assert shown.count("\n") == 3
    assert run([str(folder / "users_client.py")], environment) == shown


@pytest.mark.parametrize("line", ONE_LINERS, ids=str.strip)
def test_superctl_does_what_is_shown(line: str, environment: dict[str, str]) -> None:
    run(["-m", "superd.ctl", *shlex.split(line)[1:]], environment)


def test_superctl_is_shown() -> None:
    assert {line.split()[1] for line in ONE_LINERS} == {
        "list",
        "describe",
        "call",
        "status",
        "doctor",
        "shell",
        "policy",
    }


@pytest.mark.parametrize("link", LINKS)
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


def test_it_is_short() -> None:
    assert README.count("\n") <= 157
