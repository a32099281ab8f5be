"""Somebody who does what a page of the documentation says: its files, its commands, and what they say.

In expected output "…" stands for anything, and a line of "…" alone for any lines.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.examples.processes import PATIENCE, Child, clean_environment, start

TUTORIALS = Path(__file__).resolve().parents[2] / "docs" / "tutorial"

#: A fenced block, and the name of the file that the sentence before it tells to write.
_BLOCK = re.compile(
    r"(?:`(?P<file>[\w.]+)`:\n\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


class Block(NamedTuple):
    kind: str
    file: str | None
    text: str


def blocks(text: str, moved: str, directory: Path) -> Iterator[Block]:
    """The blocks of a page, or of a part of one, with the sockets `moved` to where a test may put them."""
    for match in _BLOCK.finditer(text.replace(moved, f"{directory}/{Path(moved).name}")):
        yield Block(match["kind"], match["file"], match["text"])


def split_commands(text: str) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with its expected output."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def as_pattern(expected: str) -> re.Pattern[str]:
    lines = [
        r"(?:.*\n)*?" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + "\n"
        for line in expected.splitlines()
    ]
    return re.compile("".join(lines))


class Reader:
    """Somebody who does what the page says, in two terminals."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self.environment = clean_environment(NO_COLOR="1", COLUMNS="80")
        self.environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.superd: Child | None = None
        self.checked = 0
        self._stack = stack

    def follow(self, block: Block) -> None:
        if block.file is not None:
            (self.directory / block.file).write_text(block.text, "utf-8")
        elif block.kind == "console":
            for command, output in split_commands(block.text):
                self.type(command, output)
        elif block.kind == "text":
            self.look_at_superd(block.text)

    def type(self, command: str, output: str) -> None:
        words = shlex.split(command)
        if words[0] == "cd":
            self.directory /= words[1]
        elif words[0] == "export":
            name, _, value = words[1].partition("=")
            self.environment[name] = value
        elif "--listen" in words:
            self.superd = self._stack.enter_context(
                start(["env", "-C", str(self.directory), *words], self.environment)
            )
            self.superd.wait_for_lines("started")
        else:
            self.run(command, output)

    def run(self, command: str, output: str) -> None:
        done = subprocess.run(
            # An environment without the console script will do.
            ["bash", "-c", re.sub(r"(^|\$\()superctl ", r"\1python3 -m superd.ctl ", command)],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert as_pattern(output).fullmatch(done.stdout), f"$ {command}\n{done.stdout}\nexpected:\n{output}"
        self.checked += 1

    def look_at_superd(self, expected: str) -> None:
        """Find all of the lines in superd's terminal, in this order."""
        assert self.superd is not None
        if "stopped" in expected:
            self.stop_superd(self.superd)
        position = 0
        for line in expected.splitlines():
            position = self.superd.find_line(as_pattern(line), position) + 1
        self.checked += 1

    def stop_superd(self, superd: Child) -> None:
        """Press Ctrl-C in its terminal."""
        superd.signal(signal.SIGINT)
        assert superd.wait() == 0
