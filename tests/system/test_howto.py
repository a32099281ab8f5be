"""The how-tos for operators, done as they are written, in a guest."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest
from typing_extensions import override

from tests.examples.pages import HOWTO, Reader, as_pattern, blocks
from tests.system.guest import Guest

#: What a page may have written, and the next test must not find.
LEFT: Final = ("/etc/superd/policy.d/50-inventory.toml", "/etc/superd/superd.d/99-debug.toml")


class Operator(Reader):
    """A reader who is root in the guest, and looks into the journal until what is to be there has come."""

    def __init__(self, guest: Guest, directory: Path, stack: ExitStack) -> None:
        super().__init__(directory, stack)
        self._guest = guest

    @override
    def execute(self, command: str) -> tuple[int, str]:
        done = self._guest.exec("bash", "-c", f"exec 2>&1\n{command}", check=False)
        return done.returncode, done.stdout

    @override
    def run(self, command: str, output: str | None) -> None:
        if output is not None and re.search(r"journalctl|superctl why", command):
            pattern = as_pattern(output)
            self._guest.wait_until(
                f"the journal has it: {command}", lambda: bool(pattern.fullmatch(self.execute(command)[1]))
            )
        super().run(command, output)


@pytest.fixture
def operated(listening: Guest) -> Iterator[Guest]:
    """A guest in which superd was enabled and has begun to run, with the users whom the pages name."""
    if listening.exec("id", "guest", check=False).returncode:
        listening.exec("useradd", "--system", "--no-create-home", "--groups", "superd", "guest")
    listening.systemctl("enable", "superd.socket")
    listening.exec("superctl", "status")
    yield listening
    listening.systemctl("disable", "superd.socket")
    for file in LEFT:
        listening.path(file).unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("page", "checks"),
    [
        ("debug-with-journalctl.md", 16),
        ("restrict-who-may-call.md", 11),
        ("run-and-administer.md", 4),
        ("upgrade.md", 4),
    ],
)
def test_an_operator_does_what_a_page_says(page: str, checks: int, operated: Guest, tmp_path: Path) -> None:
    with ExitStack() as stack:
        reader = Operator(operated, tmp_path, stack)
        for block in blocks((HOWTO / page).read_text("utf-8"), tmp_path):
            if block.kind in {"console", "sh"}:
                reader.follow(block)
    assert reader.checked == checks
