"""One daemon asks another, each in a unit of its own."""

from tests.system.guest import Guest, now


def test_romd_asks_under_its_own_uid_and_logs_what_it_learns(listening: Guest) -> None:
    since = now()
    listening.systemctl("start", "romd.service")
    entry = listening.wait_for_entry("_SYSTEMD_UNIT=romd.service", "PRIORITY=6", since=since)
    romd, superd = (listening.exec("id", "-u", user).stdout.strip() for user in ("romd", "superd"))
    assert entry["_UID"] == romd
    assert romd not in {"0", superd}
    # Its first call is what starts superd.
    listening.wait_for_state("superd.service", "active")
