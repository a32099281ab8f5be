"""The descriptors of the process: whether they suffice, and what is said where they do not."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from superd.descriptor_limit import OWN, Reserve, needed, own_limit, room_for
from tests.daemon.process import Superd, clean_environment
from tests.daemon.raw import echo, request

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("less", "fit"), [(-1, 4096), (0, 4096), (1, 4095)])
def test_the_limit_that_suffices(less: int, fit: int) -> None:
    room = room_for(4096, 2048, needed(4096, 2048) - less)
    assert abs(room.connections - fit) <= (less > 0) * 4
    assert (room.doubt is None) == (less <= 0)
    assert room.connections <= 4096


@pytest.mark.parametrize("limit", [1, 2, 24, 256, 512, 1024, 4096, 6000])
def test_with_less_there_is_room_for_all_that_is_promised(limit: int) -> None:
    room = room_for(4096, 2048, limit)
    assert 1 <= room.connections < 4096
    assert room.connections <= limit
    assert room.doubt is not None
    for number in (limit, 4096, room.connections, room.needed):
        assert str(number) in room.doubt
    if limit >= 2 * OWN:
        assert room.connections + room.connections // 16 + OWN <= limit


def test_the_unit_allows_what_the_defaults_need() -> None:
    unit = (ROOT / "systemd/superd.service").read_text("utf-8")
    (limit,) = [line.partition("=")[2] for line in unit.splitlines() if line.startswith("LimitNOFILE=")]
    assert room_for(4096, 2048, int(limit)).doubt is None


def test_the_reserve() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    reserve = Reserve()
    assert reserve.is_full
    assert reserve.fill()
    assert len(list(Path("/proc/self/fd").iterdir())) == before + 1
    assert [reserve.spend(), reserve.is_full, reserve.spend()] == [True, False, False]
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        assert not reserve.fill()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert reserve.fill()
    reserve.close()


def test_the_own_limit_is_the_hard_one() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert own_limit() == hard or hard == resource.RLIM_INFINITY


#: Runs superd with these limits.
LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
from superd.__main__ import main
sys.exit(main())
"""


def limited(soft: int, hard: int) -> list[str]:
    return [sys.executable, "-c", LIMITED.format(soft=soft, hard=hard)]


def test_the_soft_limit_is_raised(tmp_path: Path) -> None:
    path = tmp_path / "s"
    daemon = Superd(f"--listen=unix:{path}", path=path, program=limited(100, 7000))
    try:
        daemon.started()
        assert resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE) == (7000, 7000)
        with daemon.client() as client:
            assert client.ask(request("superd.status", {}))["result"]["descriptors_max"] == 7000
        assert daemon.stop() == 0
        assert "too few descriptors" not in daemon.log
    finally:
        daemon.kill()


def test_with_too_few_it_starts_says_so_and_admits_fewer(tmp_path: Path) -> None:
    path = tmp_path / "s"
    daemon = Superd(f"--listen=unix:{path}", path=path, program=limited(1024, 1024))
    try:
        daemon.started()
        fit = room_for(4096, 2048, 1024)
        assert fit.doubt is not None
        assert "warning" in daemon.log
        assert fit.doubt in daemon.log
        with daemon.client() as client:
            assert client.ask(echo())["id"] == 1
            usage = client.ask(request("superd.status", {}))["result"]["usage"]
        assert [each["limit"] for each in usage if each["resource"] == "connections"] == [fit.connections]
        assert daemon.stop() == 0
    finally:
        daemon.kill()


def test_a_check_tells() -> None:
    done = subprocess.run(
        [*limited(1024, 1024), "--check"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.startswith("warning: 1024 descriptors are too few for 4096 connections")
