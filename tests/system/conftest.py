"""One guest for the whole session, with superd and its examples installed as an operator does it."""

import fcntl
import os
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import FIGURES
from tests.system.guest import PATIENCE, Guest, Moment, must_boot, now, reason_against_booting, since_option

ROOT: Final = Path(__file__).resolve().parents[2]
INSIDE: Final = Path(__file__).with_name("inside")

#: Held while `make install` runs: workers share what it builds.
LOCK: Final = ROOT / "build/install.lock"

#: Seconds for one test: the first one pays for the installation, which builds what has changed since the last.
TIMEOUT: Final = 600

BEGUN: Final = pytest.StashKey[Moment]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(TIMEOUT))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the guest's journal says of a test that failed."""
    report = yield
    guest = item.funcargs.get("guest") if isinstance(item, pytest.Function) else None
    if report.failed and call.when == "call" and isinstance(guest, Guest):
        options = ["--no-hostname", "--output=short-precise", *since_option(item.stash.get(BEGUN, None))]
        lines = guest.exec("journalctl", *options, check=False)
        report.sections.append(("journal of the guest", lines.stdout[-20_000:]))
    return report


def make_install(stage: Path, target: str = "install", prefix: str = "/usr") -> None:
    """`make install` into a folder, the way a package is built; one after the other, since they share what they build."""
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = _make_install(stage, target, prefix)
    assert done.returncode == 0, f"make {target}:\n{done.stdout}{done.stderr}"


def _make_install(stage: Path, target: str, prefix: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", "-C", ROOT, target, f"DESTDIR={stage}", f"PREFIX={prefix}"],
        env={
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("COVERAGE_", "MAKE", "MFLAGS"))
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )


@pytest.fixture(scope="session")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """superd and the examples, installed into a folder."""
    stage = tmp_path_factory.mktemp("stage")
    make_install(stage)
    make_install(stage, "install-examples")
    return stage


@pytest.fixture(scope="session")
def booted() -> Iterator[Guest]:
    """A booted guest; skips with the reason, or fails where CI says that it must not."""
    if reason := reason_against_booting():
        if must_boot():
            pytest.fail(f"CI=true, and no systemd can be booted: {reason}")
        pytest.skip(f"no systemd can be booted: {reason}")
    with Guest(f"test-{os.getpid()}") as guest:
        yield guest


@pytest.fixture(scope="session")
def installed(booted: Guest, staged: Path) -> Guest:
    """The guest with superd in it, after what `make install` says to do next, and the tests' own accounts and files."""
    booted.copy_tree(staged)
    booted.exec("systemd-sysusers")
    booted.exec("systemd-tmpfiles", "--create", "superd.conf")
    booted.exec("journalctl", "--update-catalog")
    booted.systemctl("daemon-reload")
    # A member of the group superd, and a stranger.
    booted.exec("useradd", "--system", "--no-create-home", "--groups", "superd", "member")
    booted.exec("useradd", "--system", "--no-create-home", "stranger")
    for source in sorted(INSIDE.glob("*.py")):
        booted.write(f"/usr/lib/superd-services/{source.name}", source.read_text())
    return booted


@pytest.fixture
def guest(installed: Guest, request: pytest.FixtureRequest) -> Iterator[Guest]:
    """The guest as it is after installation: no unit of ours runs, none has failed, no drop-in is there."""
    assert isinstance(request.node, pytest.Item)
    request.node.stash[BEGUN] = now()
    yield installed
    installed.exec(
        "systemctl", "stop", "romd.service", "superd.service", "superd.socket", timeout=2 * PATIENCE
    )
    installed.exec("systemctl", "reset-failed")
    installed.forget_drop_ins()
    for each in installed.path("/etc/superd/superd.d").glob("*-test.toml"):
        each.unlink()


@pytest.fixture
def listening(guest: Guest) -> Guest:
    """The guest with superd.socket started, and the service not."""
    guest.systemctl("start", "superd.socket")
    assert guest.show("superd.service", "ActiveState") == "inactive"
    return guest


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> list[str]:
    """Lines that the run's summary shows: what was measured, and is not judged."""
    found: list[str] = []
    # With the report they reach the process that writes the summary.
    request.node.user_properties.append((FIGURES, found))
    return found
