"""A booted systemd to do in what an operator does. `boot.sh` beside this file is the machinery."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

BOOT: Final = Path(__file__).with_name("boot.sh")

#: What a command in the guest sees of our environment: nothing. The caller's PATH may lead to another Python.
ENVIRONMENT: Final[Mapping[str, str]] = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "SYSTEMD_PAGER": "cat",
    "SYSTEMD_COLORS": "0",
}

#: Seconds that a command, or a state that somebody waits for, may take. Nothing here takes more than a few.
PATIENCE: Final = 30.0

Completed = subprocess.CompletedProcess[str]
Entry = Mapping[str, str]

#: Microseconds of the wall clock, which host and guest share. Not a cursor of the journal: journalctl 252 with
#: --after-cursor and a match leaves out the first entry.
Moment = int


def now() -> Moment:
    """The present, to be given to `journal` later."""
    return time.time_ns() // 1000


def since_option(since: Moment | None) -> list[str]:
    """journalctl's option for it."""
    return [] if since is None else [f"--since=@{since // 1_000_000}.{since % 1_000_000:06}"]


def reason_against_booting() -> str:
    """Why no guest can be booted here; empty where one can."""
    check = subprocess.run([BOOT, "check"], capture_output=True, text=True, check=False, timeout=PATIENCE)
    return "" if check.returncode == 0 else check.stderr.strip()


class GuestError(AssertionError):
    """A command in the guest failed, or a state did not come. The text has what the command said."""


class Guest:
    """One booted systemd. It ends with this object's context, and also when this process dies."""

    def __init__(self, name: str, *options: str) -> None:
        self.name: Final = name
        self._options: Final = options
        self._holder: subprocess.Popen[str] | None = None
        self._leader = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Boot it, and return once it has."""
        # A session of its own: a Ctrl-C is for pytest, which then closes the pipe.
        self._holder = subprocess.Popen(
            [BOOT, "hold", self.name, *self._options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._holder.stdout is not None
        answer = self._holder.stdout.readline().split()
        if answer[:1] != ["ready"]:
            raise GuestError(f"the guest does not boot:\n{self._end()}")
        self._leader = int(answer[1])

    def stop(self) -> None:
        """Shut it down. Nothing of it is left."""
        if self._holder is not None:
            self._end()

    def _end(self) -> str:
        holder, self._holder = self._holder, None
        assert holder is not None
        _, said = holder.communicate(timeout=2 * PATIENCE)
        return said

    def path(self, inside: str) -> Path:
        """The file of the guest as this process can open it. Symbolic links in it are the host's: use real paths."""
        return Path(f"/proc/{self._leader}/root") / inside.lstrip("/")

    def write(self, inside: str, text: str, mode: int = 0o644) -> None:
        """Write a file, and the folders to it."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def copy_tree(self, source: Path) -> None:
        """Put a staged installation over the guest's root, as root's files; folders that are there stay as they are."""
        pack = ["tar", "--create", "--owner=0", "--group=0", f"--directory={source}", "."]
        unpack = ["tar", "--extract", "--no-overwrite-dir", "--directory=/"]
        with subprocess.Popen(pack, stdout=subprocess.PIPE) as packer:
            subprocess.run(
                self._enter(unpack), stdin=packer.stdout, env=ENVIRONMENT, check=True, timeout=PATIENCE
            )
        assert packer.returncode == 0

    def _enter(self, argv: Sequence[str]) -> list[str]:
        return [str(BOOT), "exec", self.name, *argv]

    def popen(self, *argv: str) -> subprocess.Popen[str]:
        """Start a command that the test talks to. Give it a standard input whose end makes it stop."""
        return subprocess.Popen(
            self._enter(argv),
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def exec(self, *argv: str, check: bool = True, stdin: str = "", timeout: float = PATIENCE) -> Completed:
        """Run a command as root, outside every unit; GuestError if it fails and `check` is set."""
        done = subprocess.run(
            self._enter(argv),
            env=ENVIRONMENT,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        if check and done.returncode != 0:
            raise GuestError(f"{' '.join(argv)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def run(self, *argv: str, properties: Sequence[str] = (), check: bool = True) -> Completed:
        """Run a command in a transient unit with such properties: `User=nobody`."""
        options = [f"--property={each}" for each in properties]
        unit = [
            "systemd-run",
            "--quiet",
            "--pipe",
            "--wait",
            "--collect",
            "--service-type=exec",
            *options,
            "--",
        ]
        return self.exec(*unit, *argv, check=check)

    def systemctl(self, *arguments: str) -> str:
        """What systemctl prints."""
        return self.exec("systemctl", *arguments).stdout

    def show(self, unit: str, prop: str) -> str:
        """One property of a unit."""
        return self.systemctl("show", "--property", prop, "--value", unit).strip()

    def drop_in(self, unit: str, text: str) -> None:
        """Change a unit until the guest ends or `forget_drop_ins`."""
        self.write(f"/run/systemd/system/{unit}.d/50-test.conf", text)
        self.systemctl("daemon-reload")

    def forget_drop_ins(self) -> None:
        """Undo `drop_in`, for all units."""
        changed = list(self.path("/run/systemd/system").glob("*.d/50-test.conf"))
        for each in changed:
            each.unlink()
        if changed:
            self.systemctl("daemon-reload")

    def wait_until(self, what: str, holds: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Ask again and again; `holds` is paced by the command that it runs in the guest."""
        deadline = time.monotonic() + patience
        while not holds():
            if time.monotonic() > deadline:
                raise GuestError(f"still not so after {patience:.0f} s: {what}")

    def wait_for_state(self, unit: str, state: str) -> None:
        """Wait for an ActiveState of a unit."""
        self.wait_until(f"{unit} is {state}", lambda: self.show(unit, "ActiveState") == state)

    def journal(self, *matches: str, since: Moment | None = None) -> list[Entry]:
        """The entries that match, the oldest first, all fields as text."""
        self.exec("journalctl", "--sync")
        options = ["--output=json", "--all", "--quiet", *since_option(since)]
        lines = self.exec("journalctl", *options, *matches).stdout.splitlines()
        return [_as_text(json.loads(line)) for line in lines]

    def wait_for_entry(self, *matches: str, since: Moment | None = None) -> Entry:
        """The first entry that matches, once it is there."""
        found: list[Entry] = []

        def holds() -> bool:
            found.extend(self.journal(*matches, since=since)[:1])
            return bool(found)

        self.wait_until(f"an entry {' '.join(matches)} in the journal", holds)
        return found[0]


def _as_text(entry: Mapping[str, object]) -> Entry:
    """journalctl gives bytes that are no text as a list of numbers, and a repeated field as a list of values."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in entry.items()}


def must_boot() -> bool:
    """Whether a guest that cannot be booted is a failure, not a reason to skip."""
    return os.environ.get("CI") == "true"
