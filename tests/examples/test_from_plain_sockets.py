"""From plain sockets to superd: each part done as it is written, with a terminal for who types at a prompt."""

import re
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest
from typing_extensions import override

from tests.ctl.terminal import Terminal
from tests.examples.pages import TUTORIALS, Reader, as_pattern, blocks
from tests.examples.processes import Child

PROMPT: Final = "superd> "
PREAMBLE, *PARTS = re.split(
    r"^## ", (TUTORIALS / "from-plain-sockets.md").read_text("utf-8"), flags=re.MULTILINE
)


class Typist(Reader):
    """A reader who has superd end as the page says, by a call or by a kill, and never by Ctrl-C."""

    @override
    def type(self, command: str, output: str) -> None:
        if command == "superctl shell":
            self.type_at_the_prompt(output)
            return
        super().type(command, output)
        if command == "python3 lost.py":
            assert self.superd is not None
            assert self.superd.wait() == -signal.SIGKILL

    def type_at_the_prompt(self, session: str) -> None:
        with Terminal(["shell"], {**self.environment, "XDG_STATE_HOME": str(self.directory)}) as terminal:
            for exchange in session.split(PROMPT)[1:]:
                line, _, output = exchange.partition("\n")
                terminal.expect(PROMPT)
                terminal.type(f"{line}\n")
                shown = re.sub(r"\\n|\n", r"\\r\\n", as_pattern(output).pattern)  # as a terminal does
                terminal.expect(re.escape(line) + r"\r\n" + shown)
                self.checked += 1
            assert terminal.finish() == 0

    @override
    def stop_superd(self, superd: Child) -> None:
        assert superd.wait() == 0


@pytest.mark.parametrize(
    ("part", "checks"),
    list(zip(PARTS, (9, 3, 2, 3, 7), strict=True)),
    ids=("echo", "one-way", "peers", "packets", "prompt"),
)
def test_a_part_does_what_it_says(part: str, checks: int, tmp_path: Path) -> None:
    with ExitStack() as stack:
        reader = Typist(tmp_path, stack)
        for block in blocks(PREAMBLE + part, tmp_path, "/tmp/superd"):
            reader.follow(block)
        assert reader.superd is None or reader.superd.process.returncode == 0
    assert reader.checked == checks + 1  # mkdir is one
    assert not list(tmp_path.glob("superd*"))
